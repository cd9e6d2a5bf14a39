"""A sweep is done once, goes on where it stopped, leaves held runs alone, tells failures, and its
rows give the tables.
"""

import csv
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewmask.benchmark import sweep
from fewmask.benchmark.plan import Plan, RunGrid, plan_means, plan_runs, read_plan
from fewmask.benchmark.rows import COLUMNS, add_rows, read_rows, to_texts
from fewmask.benchmark.score import score_bound
from fewmask.benchmark.sweep import run_sweep
from fewmask.cleanup import CleanupRule, StructureRule
from fewmask.core.errors import BadConfig, BadDataset
from fewmask.core.volume import LabelMap, Volume
from fewmask.io.lock import folder_lock
from fewmask.io.nifti import read_labels
from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.io.tables import write_csv
from fewmask.io.text import write_toml
from fewmask.predict import (
    Cleanup,
    Predictor,
    load_mean,
    load_predictor,
    predict_folder,
)
from fewmask.predict.predictor import Prediction
from fewmask.predict.work import load_prepared
from fewmask.training import TrainRequest, train
from tests.narrow import Settings, watched
from tests.program import run_program
from tests.scans import prepare_scans, write_scans

SMALL = {"channels": [4, 8], "labelled": 2}


def plan_file(folder: Path, **changes: object) -> Path:
    """Two draws of a small U-Net, three cases to learn from, two to test on, the same two
    `elsewhere`; no stopwatch, which runs for a second, chooses the precision.
    """
    cases = write_scans(folder / "data" / "home")
    for kind in ("images", "labels"):
        (folder / "data" / "far" / kind).mkdir(parents=True)
        for case in cases[3:]:
            name = f"{case}.nii.gz"
            (folder / "data" / "far" / kind / name).write_bytes(
                (folder / "data" / "home" / kind / name).read_bytes()
            )
    record = {
        "data": "home", "label": ["liver=6"], "recipe": "ct", "amp": "off",
        "split": {"train": cases[:3], "test": cases[3:]},
        "elsewhere": [{"name": "far", "images": "far/images", "truth": "far/labels",
        "label": ["liver=6"]}],
        "runs": [{"method": ["unet"], "slices": [2], "draw": [0, 1], "steps": 2, "set": SMALL}],
    }  # fmt: skip
    path = folder / "plan.toml"
    write_toml(path, record | changes)
    return path


def go(folder: Path, plan: Plan, **options: Any):
    """Run the sweep and return its summary and rows."""
    rows = folder / "rows" / "plan.csv"
    said: list[str] = []
    summary = run_sweep(
        plan, folder / "data", folder / "work", rows, device="cpu", say=said.append, **options
    )
    return summary, read_rows(rows)


def test_parts_make_the_whole_and_nothing_is_made_twice(tmp_path: Path) -> None:
    plan = read_plan(plan_file(tmp_path, amp="auto"))
    first, rows = go(tmp_path, plan, part=(1, 2), log="tensorboard")
    logs = tmp_path / "work" / first.done[0] / "run" / "log" / "tensorboard"
    assert len(list(logs.iterdir())) == 2  # of training, and of scores
    assert [row.draw for row in rows] == [0] * 8 and len(first.done) == 1
    again, rows = go(tmp_path, plan)
    assert again.there == first.done and len(again.done) == 1 and len(rows) == 16
    last, same = go(tmp_path, plan)
    assert (len(last.done), len(last.there), same) == (0, 2, rows)
    drawn = [row for row in rows if row.cleanup == "none"]
    assert [replace(row, cleanup="none") for row in rows if row.cleanup == "learned"] == drawn, (
        "two outlined slices teach no rule"
    )
    home = [row for row in drawn if (row.domain, row.draw) == ("test", 0)]
    far = [row for row in drawn if (row.domain, row.draw) == ("far", 0)]
    assert [row.case for row in home] == ["case_03", "case_04"]
    assert [row.dice for row in home] == [row.dice for row in far], (
        "the same scans and truth, twice"
    )
    assert all(row.sam_mix_slices == 4 for row in rows)
    records = [
        RunFolder.open(tmp_path / "work" / run.name / "run").read_record()
        for run in plan_runs(plan)
    ]
    probed = [(index, record.precision) for index, record in enumerate(records)]
    assert {row.steps for row in rows} == {2} and {
        (row.draw, row.precision) for row in rows
    } == set(probed)


def test_rows_hold_the_protocol_that_the_file_names(tmp_path: Path) -> None:
    """Its Dice over all voxels is ours; the other protocol's columns stay empty, and a table
    without them is read as that.
    """
    plan = replace(read_plan(plan_file(tmp_path)), protocol="la-2018")
    _, rows = go(tmp_path, plan, part=(1, 2))
    assert all(row.sam_mix_dice is None and row.la_2018_asd_voxel is not None for row in rows)
    assert all(row.la_2018_dice == row.dice for row in rows)
    older = tmp_path / "older.csv"
    names = [name for name in COLUMNS if not name.startswith(("sam_mix", "la_2018"))]
    write_csv(
        older,
        [*names, "scanner"],
        [{**{name: to_texts(row)[name] for name in names}, "scanner": "A"} for row in rows],
    )
    assert [row.dice for row in read_rows(older)] == [row.dice for row in rows]
    assert all(row.la_2018_dice is None for row in read_rows(older))
    add_rows(older, [replace(rows[0], draw=7)])
    paper = [row.la_2018_dice for row in read_rows(older)]
    assert paper == [None] * len(rows) + [rows[0].la_2018_dice]
    assert [row.others["scanner"] for row in read_rows(older)] == ["A"] * len(rows) + [""], (
        "a column of theirs stays"
    )
    add_rows(older, [replace(rows[0], draw=7, dice=0.5)])
    assert [row.dice for row in read_rows(older)] == [row.dice for row in rows] + [0.5], (
        "the same run, anew"
    )


@pytest.mark.parametrize(("amp", "precision"), [("on", "bfloat16"), ("off", "float32")])
def test_all_runs_have_the_precision_that_the_file_says(
    tmp_path: Path, amp: str, precision: str
) -> None:
    grid = {"method": ["unet"], "slices": [2], "draw": [0, 1], "steps": 1, "set": SMALL}
    _, rows = go(tmp_path, read_plan(plan_file(tmp_path, runs=[grid], amp=amp)))
    assert {(row.draw, row.precision) for row in rows} == {(0, precision), (1, precision)}


def test_tags_may_be_wrong_or_missing(tmp_path: Path) -> None:
    """The same scans: with tags of the masks, with hasty ones, and without any."""
    grid = {"method": ["unet"], "slices": [2], "steps": 1, "set": SMALL}
    found = []
    for name, words in (("own", {}), ("hasty", {"tags_off": 2}), ("none", {"tags": False})):
        folder = tmp_path / name
        folder.mkdir()
        go(folder, read_plan(plan_file(folder, runs=[grid], elsewhere=[], **words)))
        found.append(Prepared.open(folder / "work" / "prepared").tags)
    own, hasty, none = found
    assert own.keys() == hasty.keys() and own != hasty and none == {}


def test_windows_lie_as_the_file_says(tmp_path: Path, monkeypatch) -> None:
    """At home and elsewhere; a stride that cannot be is told before the first run."""
    strides: list[tuple[int, int, int] | None] = []
    note = watched(Predictor._run_windows, lambda self, *_: strides.append(self.windows.stride))
    monkeypatch.setattr(Predictor, "_run_windows", note)
    grid = {
        "method": ["vnet"],
        "volumes": [1],
        "steps": 1,
        "set": {"patch": [16, 16, 16], "filters": 2, "norm": "batch"},
    }
    plan = read_plan(plan_file(tmp_path, runs=[grid], stride=[16, 8, 16]))
    _, rows = go(tmp_path, plan)
    assert strides == [None] + [(16, 8, 16)] * 4 and len(rows) == 8, "the first taught the clean-up"
    summary, rows = go(tmp_path, replace(plan, stride=(16, 16, 8)))
    assert strides[5:] == [(16, 16, 8)] * 4 and len(summary.done) == 1, (
        "no mask of the other windows is taken for these"
    )
    assert [row.stride for row in rows] == ["16,16,8"] * 8
    summary, _ = go(tmp_path, replace(plan, stride=(16, 16, 8)))
    assert len(strides) == 9 and len(summary.there) == 1
    slices = replace(plan.runs[0], method=["unet"], slices=[2], volumes=[], set={})
    both = replace(plan, stride=(16, 24, 16), runs=[replace(plan.runs[0], seed=[1]), slices])
    with pytest.raises(BadConfig, match="does not fit") as caught:
        go(tmp_path, both)
    of_unet, of_vnet = caught.value.where
    assert "leaves gaps" in of_vnet and "for 3D methods" in of_unet, "told before any training"


def test_the_bound_stands_beside_every_domain(tmp_path: Path) -> None:
    """`far` is `test` again, so its bound is too; a bound of a missing truth is an error."""
    grid = {
        "method": ["sam_mix"],
        "slices": [2],
        "steps": 1,
        "set": {"encoder": "tiny", "classifier_width": 8},
    }
    _, rows = go(tmp_path, read_plan(plan_file(tmp_path, runs=[grid])))
    drawn = [row for row in rows if row.cleanup == "none"]
    found = {(row.domain, row.prompts): row for row in drawn if row.case == "case_03"}
    assert len(found) == 4 and len(drawn) == 8
    assert [row.prompts for row in rows if row.cleanup == "learned"] == ["automatic"] * 4
    same = ("dice", "hd95_mm", "sam_mix_dice", "sam_mix_slices")
    for prompts in ("automatic", "oracle-box"):
        home, far = found["test", prompts], found["far", prompts]
        assert [getattr(home, name) for name in same] == [getattr(far, name) for name in same]
    predictor = load_predictor(next((tmp_path / "work").glob("sam_mix*")) / "run")
    folder = tmp_path / "data" / "far"
    (folder / "labels" / "case_03.nii.gz").unlink()
    with pytest.raises(BadDataset, match="no truth is called case_03"):
        score_bound(
            predictor, folder / "images", folder / "labels", {"liver": (6,)}, tmp_path / "bound"
        )


class Speck:
    """Sees the organ by its grey level, and 25 voxels in slice 0 that are none."""

    promptable, asked = False, 0

    def volume(self, volume: Volume) -> Prediction:
        self.asked += 1
        labels = (volume.intensities() > 60).astype(np.uint8)
        labels[0, :5, -5:] = 1
        return Prediction(LabelMap(labels, volume.grid), None, 0)

    def volume_with_boxes(self, volume, boxes):
        raise NotImplementedError


def test_the_same_masks_are_scored_as_drawn_and_after_clean_up(tmp_path, monkeypatch) -> None:
    """The organ has 12 x 12 x 4 = 576 voxels: 2 * 576 / (576 + 601) = 0.979 (one voxel of noise is
    another 0.001), and 1 without the speck. Each scan is asked for once, though one lay cleaned.
    """
    plan, network = read_plan(plan_file(tmp_path)), Speck()
    rule = CleanupRule({"liver": StructureRule("largest")})
    monkeypatch.setattr(sweep, "load_predictor", lambda path: network)
    monkeypatch.setattr(sweep, "open_cleanup", lambda path: Cleanup(("liver",), rule, True))

    def train_and_predict(*arguments) -> Path:
        path = train(*arguments)
        home = tmp_path / "work" / "prepared"
        predictions = path / "predictions"
        cleaned = Cleanup(("liver",), rule, True)
        predict_folder(Speck(), home, predictions, cases=["case_03"], cleanup=cleaned)
        return path

    monkeypatch.setattr(sweep, "train", train_and_predict)
    _, rows = go(tmp_path, plan, part=(1, 2))
    dice = {(row.domain, row.case, row.cleanup): round(row.dice, 3) for row in rows}
    assert len(rows) == 8 and network.asked == 4
    for domain, case in itertools.product(("test", "far"), ("case_03", "case_04")):
        assert dice[domain, case, "none"] == pytest.approx(0.979, abs=0.0015)
        assert dice[domain, case, "learned"] == 1.0
    paper = [row.sam_mix_dice for row in rows if row.cleanup == "learned"]
    assert paper == [1.0] * 4, "the protocol's numbers are of the cleaned masks too"


def test_a_held_run_is_left_and_a_bad_one_told(tmp_path: Path) -> None:
    plan = read_plan(plan_file(tmp_path))
    bad = replace(plan.runs[0], method=["unet"], slices=[3000], draw=[0])
    plan = replace(plan, runs=[*plan.runs, bad])
    held = tmp_path / "work" / plan_runs(plan)[0].name
    held.mkdir(parents=True)
    with folder_lock(held, "sweep"):
        summary, rows = go(tmp_path, plan)
    assert summary.elsewhere == [held.name] and len(summary.done) == 1 and len(rows) == 8
    assert len(summary.failed) == 1 and "3000" in summary.failed[0]["what"]


def test_a_misspelt_setting_is_told_before_the_first_run(tmp_path: Path) -> None:
    plan = read_plan(plan_file(tmp_path))
    grids = [replace(plan.runs[0], method=["unet"], set={"chanels": 3}), RunGrid(["umet"], [3])]
    with pytest.raises(BadConfig) as told:
        go(tmp_path, replace(plan, runs=[*plan.runs, *grids]))
    setting, method = told.value.where
    assert "chanels" in setting and "channels" in setting and "'umet'" in method
    assert not (tmp_path / "work").exists()


def test_what_cannot_be_is_told_before_the_first_run(tmp_path: Path) -> None:
    run = {"method": ["unet"], "slices": [2], "steps": 2}
    far = {"name": "far", "images": "far/images", "truth": "far/labels", "label": ["spleen=1"]}
    odd: list[tuple[dict[str, object], str]] = [
        ({"runs": [run | {"slices": [-4]}]}, "-4 slices or volumes"),
        ({"runs": [run | {"draw": [-1]}]}, "draw or seed -1"),
        ({"tags_off": -2}, "tags_off = -2"),
        ({"runs": [{"method": ["unet"], "slices": [5]}]}, "no minutes and no steps"),
        ({"recipe": "ctt"}, "no recipe is called 'ctt'"),
        ({"split": {"train": ["a"], "test": []}}, "no test scans"),
        ({"split": {"train": ["a"], "test": ["a"]}}, "a is to be learned from and tested on"),
        ({"elsewhere": [far]}, "far has labels of spleen, the runs learn liver"),
        ({"runs": [run | {"name": "a"}], "means": [{"of": []}]}, "names no two runs"),
        ({"runs": [run | {"name": "a"}], "means": [{"of": ["a", "a"]}]}, "names no two runs"),
    ]
    for number, (changes, said) in enumerate(odd):
        with pytest.raises(BadConfig) as error:
            read_plan(plan_file(tmp_path / str(number), **changes))
        assert said in str(error.value)
    plan = read_plan(plan_file(tmp_path / "last"))
    missing = replace(plan.elsewhere[0], images="nwe/images")
    with pytest.raises(BadConfig, match="not there"):
        go(tmp_path / "last", replace(plan, elsewhere=[missing]))
    assert not (tmp_path / "last" / "work").exists()


def test_rows_and_runs_of_another_plan_are_not_taken_for_this_ones(tmp_path: Path) -> None:
    plan = read_plan(plan_file(tmp_path))
    _, rows = go(tmp_path, plan, part=(1, 2))
    table = tmp_path / "rows" / "plan.csv"
    before = table.read_bytes()
    tested = {row.case for row in rows if row.domain == "test"}
    other = {"train": sorted(tested), "test": ["case_00"]}
    with pytest.raises(BadConfig, match="does not name") as error:
        go(tmp_path, replace(plan, split=other))
    assert sorted(tested)[0] in str(error.value)
    with pytest.raises(BadConfig, match="another sweep file") as error:
        go(tmp_path, replace(plan, amp="on"))
    assert "amp: off -> on" in str(error.value)
    assert table.read_bytes() == before


def test_a_score_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """Their mean would be nobody's."""
    go(tmp_path, read_plan(plan_file(tmp_path)), part=(1, 2))
    table = tmp_path / "rows" / "plan.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[1]]) + "\n")
    with pytest.raises(BadDataset, match="twice") as error:
        read_rows(table)
    assert f"lines 2 and {len(lines) + 1}" in str(error.value)


def test_a_scan_that_cannot_be_read_is_told_and_its_run_has_no_row(tmp_path: Path) -> None:
    """Else one test case of three would silently miss from the mean."""
    plan = read_plan(plan_file(tmp_path))
    for kind in ("images", "labels"):
        whole = tmp_path / "data" / "far" / kind / "case_03.nii.gz"
        whole.with_name("case_09.nii.gz").write_bytes(whole.read_bytes())
    (tmp_path / "data" / "far" / "images" / "case_09.nii.gz").write_bytes(whole.read_bytes()[:60])
    summary, rows = go(tmp_path, plan, part=(1, 2))
    assert not rows and not summary.done
    (failed,) = summary.failed
    assert (
        failed["error"] == "BadDataset"
        and failed["what"].startswith("far: case_09: ")
        and "check" in failed["fix"]
    )


def test_an_unfinished_run_goes_on(tmp_path: Path) -> None:
    """Trained but not scored when the process died: scored now, without training again."""
    plan = read_plan(plan_file(tmp_path))
    go(tmp_path, plan, part=(1, 2))
    rows = tmp_path / "rows" / "plan.csv"
    weights = tmp_path / "work" / plan_runs(plan)[0].name / "run" / "weights.safetensors"
    before, stamp = rows.read_text(), weights.stat().st_mtime_ns
    rows.unlink()
    go(tmp_path, plan, part=(1, 2))
    assert rows.read_text() == before and weights.stat().st_mtime_ns == stamp


def test_first_draw_first_and_names_tell_runs_apart(tmp_path: Path) -> None:
    grids = [
        {"method": ["unet"], "slices": [5, 50], "draw": [0, 1], "minutes": 10.0},
        {"method": ["unet"], "volumes": [3], "steps": 7, "set": {"tags_as_empty": True}},
    ]
    names = [run.name for run in plan_runs(read_plan(plan_file(tmp_path, runs=grids)))]
    assert names == [
        "unet-5s-draw0-seed0-10min", "unet-50s-draw0-seed0-10min",
        "unet-tags_as_empty=true-3v-draw0-seed0-7steps",
        "unet-5s-draw1-seed0-10min", "unet-50s-draw1-seed0-10min",
    ]  # fmt: skip


A = {"name": "a", "method": ["unet"], "slices": [2], "draw": [0, 1], "steps": 2, "set": SMALL}
B = A | {"name": "b", "draw": [1, 2], "steps": 3}
AB = [{"of": ["a", "b"]}]


def test_a_mean_stands_for_the_budgets_draws_and_seeds_that_its_runs_share(tmp_path: Path) -> None:
    """Draws 0 and 1, and 1 and 2: one mean, with the steps of both."""
    (mean,) = plan_means(read_plan(plan_file(tmp_path, runs=[A, B], means=AB)))
    assert mean.run.name == "mean-of=a+b-2s-draw1-seed0-5steps"
    assert [(run.draw, run.steps) for run in mean.members] == [(1, 2), (1, 3)]


def test_a_mean_waits_for_its_runs_and_is_then_one_more(tmp_path: Path) -> None:
    """Two parts have a run each, the first has the mean. Its masks are those of both networks, its
    rows stand beside theirs.
    """
    plan = read_plan(plan_file(tmp_path, runs=[A | {"draw": [1]}, B | {"draw": [1]}], means=AB))
    (mean,) = plan_means(plan)
    summary, _ = go(tmp_path, plan, part=(1, 2))
    assert len(summary.done) == 1 and summary.elsewhere == [mean.run.name]
    go(tmp_path, plan, part=(2, 2))
    summary, rows = go(tmp_path, plan)
    assert summary.done == [mean.run.name] and len(summary.there) == 2
    found = [row for row in rows if row.method == "mean"]
    assert {row.key for row in found} == {mean.run.key} and len(found) == len(rows) / 3
    assert {(row.domain, row.cleanup, row.case) for row in found} == {
        (row.domain, row.cleanup, row.case) for row in rows
    }
    alone = [tmp_path / "work" / run.name / "run" for run in mean.members]
    together, folder = load_mean(alone), tmp_path / "work" / mean.run.name / "test"
    prepared = RunFolder.open(alone[0]).open_prepared()
    for case in prepared.split.test:
        expected = together.volume(load_prepared(prepared, case)).label_map.voxels
        assert np.array_equal(read_labels(folder / f"{case}.nii.gz").voxels, expected)
    again, _ = go(tmp_path, plan)
    assert len(again.there) == 3 and not again.done


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"runs": []}, "names no run"),
        ({"runs": [{"method": ["unet"], "slices": [2, 2], "steps": 1}]}, "names a run twice"),
        ({"run": []}, "unknown key 'run'"),
        ({"runs": [{"method": ["unet"], "slice": [2]}]}, "unknown key 'slice'"),
        ({"means": [{"of": ["a", "b"]}]}, "'a', and no single"),
        ({"runs": [A, A | {"volumes": [2], "slices": [], "name": "b"}], "means": AB}, "in common"),
        ({"runs": [A], "means": [{"of": ["a"]}]}, "names no two runs"),
        ({"runs": [A, B | {"method": ["unet", "trans_unet"]}], "means": AB}, "'b', and no single"),
        ({"runs": [A, {**B, "minutes": 1.0, "steps": None}], "means": AB}, "some have minutes"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, changes: Settings, what: str) -> None:
    with pytest.raises(BadConfig, match=what):
        read_plan(plan_file(tmp_path, **changes))


def test_commands(tmp_path: Path) -> None:
    path = plan_file(tmp_path)
    words = ("sweep", path, "--data", tmp_path / "data", "--work", tmp_path / "work")
    assert run_program(*words, "--dry").stdout.splitlines() == [
        run.name for run in plan_runs(read_plan(path))
    ]
    assert run_program(*words, "--part", "3/2").code == 2
    assert run_program(*words, "--part", "1/2").code == 0
    first, second = run_program(*words, "--dry").stdout.splitlines()
    assert first.endswith("(done)") and not second.endswith("(done)"), (first, second)
    assert run_program(*words).code == 0
    with (tmp_path / "work" / "sweep.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    made = [(line["draw"], line["cleanup"]) for line in lines]
    assert made == [("0", "none"), ("0", "learned"), ("1", "none"), ("1", "learned")]
    assert "far automatic dice" in lines[0]
    table = run_program(
        "compare", tmp_path / "rows" / "plan.csv", "--values", "--protocol", "sam-mix"
    )
    assert table.code == 0 and "HD px" in table.stdout and "case_03" in table.stdout
    assert "published" not in table.stdout, "the paper has no U-Net with two slices"
    assert run_program("compare", tmp_path / "rows" / "plan.csv", "--against", "vnet").code == 2


def test_precision_is_settled_once_for_all_runs(tmp_path, monkeypatch) -> None:
    """A stopwatch finds another one after a kill, or on a busy machine."""
    prepared = prepare_scans(tmp_path, 3)
    plan = Plan(data="s", label=["liver=1"], runs=[RunGrid(method=["unet"], slices=[2], steps=1)])
    asked: list[str] = []

    def probe(request: TrainRequest) -> bool:
        asked.append(request.method)
        return True

    monkeypatch.setattr(sweep, "probe_precision", probe)
    for _ in range(2):
        assert sweep.settle_amp(plan, prepared, tmp_path, None, None) == "on"
    assert asked == ["unet"] and (tmp_path / "precision.json").exists()
    said = replace(plan, amp="off")
    assert sweep.settle_amp(said, prepared, tmp_path, None, None) == "off"
    (tmp_path / "precision.json").write_text('{"amp": "perhaps"}')
    with pytest.raises(BadConfig, match=r"precision\.json"):
        sweep.settle_amp(plan, prepared, tmp_path, None, None)
