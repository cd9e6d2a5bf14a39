"""The page: what a hostile or odd run does to it, and whether the outlines are where
the masks are.
"""

import base64
import html
import html.parser
import io
import re
import shlex
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewmask.cleanup import Change, Cleaning, CleanupRule, StructureRule
from fewmask.cleanup.beside import write_cleaning
from fewmask.core.recipe import RECIPES
from fewmask.core.volume import BURNED_IN, LabelMap, Volume
from fewmask.evaluate.intervals import summarise
from fewmask.evaluate.protocols import NOTES
from fewmask.evaluate.scores import CaseScore, score_case
from fewmask.io.nifti import write_labels
from fewmask.io.prepared import Prepared
from fewmask.io.run import CONFIDENCE, CONFIDENCE_COLUMNS, CONFIDENCE_OVER, RunFolder
from fewmask.io.tables import write_csv
from fewmask.io.text import write_json
from fewmask.methods import config_from
from fewmask.report.run import read_outlines, write_report, write_run_report
from fewmask.report.sentence import make_sentence
from fewmask.training import TrainRequest, draw_budget, train
from fewmask.training.stages import plan_stages
from tests.scans import AFFINE, SHAPE, prepare_scans


def _scan_and_masks() -> tuple[Volume, LabelMap, LabelMap]:
    truth = np.zeros(SHAPE, np.uint8)
    truth[8:24, 8:24, 2:6] = 1
    pred = truth.copy()
    pred[8:24, 8:24, 5] = 0  # file slice 5 is missed altogether
    pred[8:9, 8:24, 2] = 0
    scan = np.random.default_rng(0).normal(50, 20, SHAPE).astype(np.int16)
    return (
        Volume.from_file_order(scan, AFFINE),
        LabelMap.from_file_order(pred, AFFINE),
        LabelMap.from_file_order(truth, AFFINE),
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Prepared]:
    """A run of one step, whose only purpose is to have every file that the page reads."""
    folder = tmp_path_factory.mktemp("report")
    prepared = prepare_scans(folder)
    run = train(
        TrainRequest(
            prepared.folder,
            folder / "run",
            method="unet",
            slices=2,
            steps=1,
            amp="off",
            settings=("channels=(8,8)",),
        )
    )
    (run / "predictions").mkdir()
    return run, prepared


class _Reader(html.parser.HTMLParser):
    """Tags, and every address anything on the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.addresses += [
            value or ""
            for name, value in attrs
            if name in ("src", "href", "action", "data", "srcset")
        ]


def test_a_page_about_left_atria_says_that_they_were_cropped(finished) -> None:
    run, prepared = finished
    volume, pred, truth = _scan_and_masks()
    write_labels(run / "predictions" / "case_03.nii.gz", pred)
    kept = (run / "recipe.json").read_bytes()
    pages = []
    for name in ("ct", "left-atrium-half"):
        write_json(run / "recipe.json", RECIPES[name].as_dict())
        pages.append(
            write_report(
                RunFolder.open(run), prepared, [], lambda case: volume, lambda case: truth
            ).read_text()
        )
    (run / "recipe.json").write_bytes(kept)
    assert [NOTES["la-2018"] in page for page in pages] == [False, True]
    assert pages[1].index(NOTES["la-2018"]) < pages[1].index("Every scan, most"), (
        "below the sentence, not at the end"
    )


def test_a_hostile_name_stays_text_and_nothing_is_loaded(finished) -> None:
    run, prepared = finished
    hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    note = '"><iframe src="https://example.org">'
    row = replace(prepared.cases["case_03"], notes=(note,))
    odd = replace(
        prepared,
        cases={**prepared.cases, "case_03": row},
        refused=({"case": hostile, "what": "bad <b>bold</b>"},),
    )
    volume, pred, truth = _scan_and_masks()
    write_labels(run / "predictions" / "case_03.nii.gz", pred)
    scores = score_case("case_03", pred.voxels, truth.voxels, truth.spacing_mm, ("liver",))
    scores = [replace(score, label=hostile) for score in scores]
    page = write_report(
        RunFolder.open(run), odd, scores, lambda case: volume, lambda case: truth
    ).read_text()
    reader = _Reader()
    reader.feed(page)
    assert not {"iframe", "link", "object", "embed", "b"} & set(reader.tags)
    assert reader.tags.count("script") == 1 and reader.tags.count("form") == 1
    loaded = [address for address in reader.addresses if not address.startswith("#")]
    assert loaded and all(address.startswith("data:image/webp;base64,") for address in loaded)
    assert not reader.handlers, "no code beside the one script"
    assert (
        "&lt;script&gt;alert(1)" in page
        and "default-src &#39;none&#39;" not in page
        and "default-src 'none'" in page
    )
    assert str(run) not in page and str(prepared.folder) not in page
    pictures = [Image.open(io.BytesIO(base64.b64decode(a.partition(",")[2]))) for a in loaded]
    assert {picture.width for picture in pictures} == {480, 256}, "large ones, and those of a strip"
    assert len(page) < 200_000


def test_numbers_on_the_page_are_the_scores(finished) -> None:
    run, prepared = finished
    volume, pred, truth = _scan_and_masks()
    for case in ("case_03", "case_04"):
        write_labels(run / "predictions" / f"{case}.nii.gz", pred)
    empty = np.zeros_like(pred.voxels)
    scores = score_case("case_03", pred.voxels, truth.voxels, truth.spacing_mm, ("liver",))
    scores += score_case("case_04", empty, truth.voxels, truth.spacing_mm, ("liver",))
    page = write_report(
        RunFolder.open(run), prepared, scores, lambda case: volume, lambda case: truth
    ).read_text()
    # truth 4 * 256 = 1024, prediction 1024 - 256 - 16 = 752, overlap 752: 2 * 752 / 1776 = 0.847;
    # the other is missed: mean 0.42
    assert (
        "Liver: Dice 0.42 (95 % interval 0.00 to 1.00)" in page and "1 missed, 0 spurious" in page
    )
    assert "<td>0.847</td>" in page and "<td>0.000</td>" in page
    wall = re.findall(r'<article[^>]*data-case="(case_0\d)"', page)
    assert wall[:2] == ["case_04", "case_03"], "worst first"
    assert "2 outlined slices" in page and "on 2 scans the model never saw" in page


def test_the_page_shows_the_clean_up_rule_and_what_it_did(finished, tmp_path) -> None:
    run, prepared = finished
    shutil.copytree(run, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    rule = CleanupRule({"liver": StructureRule("largest", reason="four of four agree")})
    folder.write_cleanup(rule.as_dict())
    volume, pred, truth = _scan_and_masks()
    for case, changed in (("case_03", Change(90, 4.05, 2, 0.09)), ("case_04", Change())):
        write_labels(folder.predictions / f"{case}.nii.gz", pred)
        write_cleaning(folder.predictions, case, Cleaning({"liver": changed}))
    page = write_report(folder, prepared, [], lambda case: volume, lambda case: truth).read_text()
    for words in ("largest part", "four of four agree", "2 of 2 masks were cleaned",
                  "removed 4.0 mL in 1 of 2 scans, filled 0.1 mL"):  # fmt: skip
        assert words in page
    assert '<th scope="row">case_03</th><td class="text">liver</td><td>4.0</td><td>0.1</td>' in page
    write_cleaning(folder.predictions, "case_03", None)
    page = write_report(folder, prepared, [], lambda case: volume, lambda case: truth).read_text()
    assert "1 of 2 masks were cleaned" in page and "removed 0.0 mL in 0 of 1 scan" in page
    folder.cleanup.unlink()
    write_cleaning(folder.predictions, "case_04", None)
    page = write_report(folder, prepared, [], lambda case: volume, lambda case: truth).read_text()
    assert "Clean-up" not in page, "a run of before says nothing"


def test_the_sentence_counts_like_a_person(finished) -> None:
    """Two structures of the same scans share their number; of others each has its own; one is no
    plural.
    """
    run, prepared = finished
    record = RunFolder.open(run).read_record()
    _, pred, truth = _scan_and_masks()
    liver = score_case("case_03", pred.voxels, truth.voxels, truth.spacing_mm, ("liver",))
    both = [*liver, *(replace(score, label="spleen") for score in liver)]
    record = replace(record, provided=replace(record.provided, tagged_scans=1))

    def sentence(scores: list[CaseScore]) -> str:
        return make_sentence(
            summarise(scores, prepared.patients), record, prepared, RunFolder.open(run)
        )

    assert ", Spleen: Dice 0.85" in sentence(both) and "on 1 scan the model never saw" in sentence(
        both
    )
    more = [*both, replace(liver[0], case="case_04")]
    assert re.search(
        r"Liver: [^,]* on 2, Spleen: [^,]* on 1 scans the model never saw", sentence(more)
    )
    assert "the image tags of 1 scan;" in sentence(both)


def page_of(run: Path, prepared: Prepared) -> str:
    """The page of a run without scores, as it is read."""
    volume, _, truth = _scan_and_masks()
    return html.unescape(
        write_report(
            RunFolder.open(run), prepared, [], lambda case: volume, lambda case: truth
        ).read_text()
    )


def command_on(page: str) -> list[str]:
    """Words of the command that does it again."""
    found = re.search(r"<pre>(.*?)</pre>", page, re.DOTALL)
    assert found is not None
    return shlex.split(found[1])


def test_the_command_says_every_setting_that_is_not_default(finished) -> None:
    run, prepared = finished
    words = command_on(page_of(run, prepared))
    assert (
        words[words.index("--set") :] == ["--set", "channels=[8,8]", "--out", "RUN"]
        and "--in-order" not in words
    )
    again = TrainRequest(
        prepared.folder, run, method="unet", slices=2, settings=("channels=[8,8]",)
    )
    (stage,) = plan_stages(again)
    assert stage.config == config_from("unet", RunFolder.open(run).read_record().config)


def test_the_command_says_that_volumes_were_taken_in_order(finished, tmp_path: Path) -> None:
    """Both draw a case of three: of a draw that takes another one than the list's first, the budget
    tells which way it was.
    """
    _, prepared = finished
    base = TrainRequest(
        prepared.folder,
        tmp_path / "a",
        method="unet",
        volumes=1,
        steps=1,
        amp="off",
        settings=("channels=(8,8)",),
    )
    first = draw_budget(replace(base, in_order=True), prepared).volumes
    draw = next(
        n for n in (0, 3, 6, 9) if draw_budget(replace(base, draw=n), prepared).volumes != first
    )
    for folder, in_order in (("a", True), ("b", False)):
        run = train(replace(base, out=tmp_path / folder, draw=draw, in_order=in_order))
        assert ("--in-order" in command_on(page_of(run, prepared))) == in_order


@pytest.mark.parametrize("method", ["cfr", "sfr_plus"])
def test_a_method_with_stages_says_where_its_sam_started(
    finished, tmp_path: Path, method: str
) -> None:
    """Its own config names no weights: those of the stage with the SAM do, by their name and not by
    the folder they lay in.
    """
    run, prepared = finished
    shutil.copytree(run, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    whole = config_from(
        method,
        {"term": "none", "finetune": {"canvas": 256, "weights": "home/jane/own.safetensors"}},
    )
    write_json(
        folder.path / "config.json",
        {**folder.read_record().as_dict(), "method": method, "config": asdict(whole)},
    )
    assert "not known: the run's folder finetune is gone" in page_of(folder.path, prepared)
    (folder.path / "finetune").mkdir()
    pretrained = {"name": "home/jane/own.safetensors", "sha256": "ab" * 32}
    earlier = folder.read_record().as_dict() | {"method": "canvas_sam", "steps": 7}
    earlier |= {"config": asdict(whole.finetune), "pretrained": pretrained}
    write_json(folder.path / "finetune" / "config.json", earlier)
    page = page_of(folder.path, prepared)
    assert (
        "pretrained weights own.safetensors (SHA-256 abababababab)" in page
        and "random numbers" not in page
    )
    settings = [word for word in command_on(page) if "=" in word]
    assert (
        settings == ["term=none", "finetune.weights=own.safetensors", "finetune.canvas=256"]
        and "home/jane" not in page
    )
    assert "<dd>finetune: 7 steps, then 1 step, seed 0" in page.replace("\n", "")


def test_masks_that_nobody_drew_are_told(finished, tmp_path: Path) -> None:
    """Of three scans two were sure enough: the page says by whom, how many, how sure; made in every
    step, that too.
    """
    run, prepared = finished
    shutil.copytree(run, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert "Labelled by a model" not in page_of(folder.path, prepared)
    lines = [("a", "0.9412", "1"), ("b", "0.7032", "0"), ("c", "0.9950", "1")]
    rows = [dict(zip(CONFIDENCE_COLUMNS, line, strict=True)) for line in lines]
    (folder.path / "pseudo").mkdir()
    told_of = (
        "2 of 3 scans without outlines (finetune, its own mean confidence per scan{} 0.70 to 0.99)"
    )
    columns = [*CONFIDENCE_COLUMNS, CONFIDENCE_OVER]
    for pseudo, over, told in (
        ("stored", "", told_of.format("")),  # the table of an earlier version
        ("stored", "all", told_of.format("")),
        ("stored", "structures", told_of.format(" over voxels of structures")),
        ("online", "all", "every unlabelled patch, in every step (finetune)"),
    ):
        said = [{**row, CONFIDENCE_OVER: over} for row in rows] if over else rows
        write_csv(folder.path / "pseudo" / CONFIDENCE, columns[: 4 if over else 3], said)
        patch = {"patch": (32, 64, 64), "finetune": {"patch": (32, 64, 64)}}
        whole = config_from("cfr", {"pseudo": pseudo, **patch})
        write_json(
            folder.path / "config.json",
            {**folder.read_record().as_dict(), "method": "cfr", "config": asdict(whole)},
        )
        assert f"<dt>Labelled by a model, then learned from</dt><dd>{told}</dd>" in page_of(
            folder.path, prepared
        )


def test_a_page_says_whether_masks_came_from_prompts(finished, tmp_path: Path) -> None:
    run, prepared = finished
    shutil.copytree(run, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    for path in folder.predictions.iterdir():
        path.unlink()
    assert "Prompts at test time" not in page_of(folder.path, prepared), (
        "no mask yet: nothing is known"
    )
    write_labels(folder.predictions / "case_03.nii.gz", _scan_and_masks()[1])
    assert "none: masks come from the scan alone" in page_of(folder.path, prepared)
    line = {"d": 3, "present": [0.9], "boxes_raw": [None], "heat": None, "no_prompt": [1]}
    write_json(
        folder.predictions / "case_03.prompts.json", {"classes": ["liver"], "slices": [line]}
    )
    page = page_of(folder.path, prepared)
    assert "automatic: the model's own" in page and "1 slice (their mask is empty)" in page


def test_scans_with_text_in_their_pixels_are_not_pictured(finished) -> None:
    """PHI2: the page is made to be passed on."""
    run, prepared = finished
    name = next(iter(RunFolder.open(run).read_split().test))
    write_labels(run / "predictions" / f"{name}.nii.gz", _scan_and_masks()[1])
    cases = {**prepared.cases, name: replace(prepared.cases[name], notes=(BURNED_IN,))}
    bare, whole = page_of(run, replace(prepared, cases=cases)), page_of(run, prepared)
    assert bare.count("<img") < whole.count("<img") and "no picture: text in its pixels" in bare
    assert f'alt="{name}, ' in whole and f'alt="{name}, ' not in bare
    assert f'id="scan-1" data-place="1" data-case="{name}"' in bare, "it is listed all the same"


def test_own_outlines_stand_beside_the_masks_and_no_other_mask_is_opened(
    finished, tmp_path: Path
) -> None:
    """Of two scans that the model learned from, one has an outlined slice of the budget; the truth
    of the rest of them stays closed.
    """
    run, prepared = finished
    shutil.copytree(run, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    shutil.rmtree(folder.predictions)
    folder.predictions.mkdir()
    outlined = {case for case, _ in folder.read_budget().slices}
    learned = set(folder.read_split().train)
    bare = next(iter(learned - outlined))
    mine = next(iter(outlined))
    for case in (mine, bare):
        with prepared.case(case) as file:
            grid = file.grid
        write_labels(
            folder.predictions / f"{case}.nii.gz", LabelMap(np.zeros((8, 32, 32), np.uint8), grid)
        )
    opened = read_outlines(folder, prepared, mine)
    assert set(opened) == {d for case, d in folder.read_budget().slices if case == mine}
    assert read_outlines(folder, prepared, bare) == {}
    page = write_run_report(folder.path).read_text()
    cards = {
        case: page[page.index(f'data-case="{case}"') :].split("</article>")[0]
        for case in (mine, bare)
    }
    assert 'class="mine' in cards[mine] and 'class="mine' not in cards[bare]
    assert "your outline and the mask differ by" in cards[mine]
    assert "2 scans that the model learned from: their masks test nothing." in page
    assert "tested" not in page.split("</section>")[0].lower()
    assert "tags say that it is there" in cards[bare], "empty against its tags"
