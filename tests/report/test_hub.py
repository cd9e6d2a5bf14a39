"""The folder for a model hub: a card without names, and a run that predicts."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import fewmask
from fewmask.benchmark.audit import audit
from fewmask.benchmark.more import read_runs
from fewmask.benchmark.rows import read_rows
from fewmask.benchmark.score import score_run
from fewmask.core.errors import BadCheckpoint, BadConfig
from fewmask.core.names import without_paths
from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.predict import Predictor, open_cleanup
from fewmask.predict.export import scans_to_check
from fewmask.predict.known import UNKNOWN_DATA, open_known
from fewmask.predict.work import load_prepared
from fewmask.report.hub import CARD, make_card, write_hub
from fewmask.report.run import write_run_report
from fewmask.training import TrainRequest, train
from tests.scans import prepare_scans


def find_more(run: Path) -> object:
    """`fewmask more` of one run."""
    return read_runs([run])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    prepared = prepare_scans(folder)
    settings = ("channels=(4,8)",)
    request = TrainRequest(
        prepared.folder, folder / "run", "unet", volumes=2, steps=2, amp="off", device="cpu",
        settings=settings,
    )  # fmt: skip
    return train(request)


def test_the_card_says_what_it_is_and_names_nobody(run, tmp_path) -> None:
    card = write_hub(run, tmp_path / "model", "cc-by-4.0")
    text = card.read_text()
    _, front, body = text.split("---\n", 2)
    pairs = [line.split(": ") for line in front.splitlines() if ": " in line]
    assert dict(pairs) == {
        "license": "cc-by-4.0", "library_name": "fewmask", "pipeline_tag": "image-segmentation",
    }  # fmt: skip
    assert "tags:\n- fewmask\n" in front and "metrics:\n- dice\n" in front and "- ct\n" in front
    assert "3 training scans; kept aside: 0 to validate, 2 to test" in body
    assert "2 outlined volumes in the budget, of 24 slices in all" in body
    assert "settings: channels=" in body and "None: the run was not evaluated." in body
    for path in (tmp_path / "model").iterdir():
        data = path.read_bytes()
        assert b"case_0" not in data and str(run.parent).encode() not in data, path.name


def test_scores_are_in_it_once_there_are_some(run) -> None:
    (summary,) = score_run(run).summaries
    row = next(line for line in make_card(RunFolder(run)).splitlines() if "| liver |" in line)
    dice = summary.dice
    assert f"{dice.mean:.3f} ({dice.low:.3f} to {dice.high:.3f})" in row and "| 2 |" in row
    run.joinpath("metrics.csv").unlink()


def test_the_folder_is_a_run_that_predicts_the_same(run, tmp_path) -> None:
    write_hub(run, tmp_path / "model")
    write_hub(run, tmp_path / "model")  # its own it makes anew
    (line,) = [one for one in make_card(RunFolder(run)).splitlines() if ".predict(" in one]
    assert line.startswith('fewmask.predict("FOLDER_OF_THIS_MODEL", "scan.nii.gz").save(')
    scan = run.parent / "scans" / "images" / "case_00.nii.gz"
    mask = fewmask.predict(tmp_path / "model", scan, device="cpu")
    assert np.array_equal(mask.voxels, fewmask.predict(run, scan, device="cpu").voxels)
    one, other = Predictor.load(run, "cpu"), Predictor.load(tmp_path / "model", "cpu")
    assert one.stamp == other.stamp
    assert open_cleanup(run).rule == open_cleanup(tmp_path / "model").rule
    record = json.loads((tmp_path / "model" / "config.json").read_text())
    assert record["prepared"] == "" and record["scans"] is None and record["seed"] == 0


@pytest.mark.parametrize("verb", [audit, write_run_report, score_run, read_rows, find_more])
def test_w06_what_needs_the_data_says_what_the_folder_is(run, tmp_path, verb) -> None:
    model = write_hub(run, tmp_path / "model").parent
    before = sorted(model.rglob("*"))
    with pytest.raises(BadCheckpoint, match="a folder for a model hub") as refused:
        verb(model)
    assert refused.value.code == "W06" and refused.value.where == (str(model),)
    assert "the run that it was exported from" in refused.value.fix
    assert sorted(model.rglob("*")) == before


def test_masks_of_cases_never_land_in_what_is_published(run, tmp_path, monkeypatch) -> None:
    model, prepared = write_hub(run, tmp_path / "model").parent, run.parent / "prepared"
    with pytest.raises(BadConfig, match="where should the masks go"):
        fewmask.predict_folder(model, prepared, device="cpu")
    said = open_known(model, prepared)
    known = said.find("case_00", load_prepared(Prepared.open(prepared), "case_00"))
    assert said.note == UNKNOWN_DATA and known is not None and not known.put_in
    monkeypatch.chdir(prepared)  # whose `dataset.json` is nothing to the model
    with pytest.raises(BadConfig, match="names no prepared dataset") as refused:
        next(scans_to_check(RunFolder(model), Predictor.load(model, "cpu"), None))
    assert refused.value.where == (str(model),) and "`check`" in refused.value.fix


def test_f11_and_w06(run, tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadConfig) as error:
        write_hub(run, tmp_path)
    assert error.value.code == "F11" and not (tmp_path / CARD).exists()
    with pytest.raises(BadCheckpoint):
        write_hub(run.parent / "prepared", tmp_path / "model")


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("/home/me/vit.pth", "vit.pth"),
        ("C:\\me\\vit.pth", "vit.pth"),
        ("weights/vit.pth", "vit.pth"),
        ("sam-vit-b", "sam-vit-b"),
        ("none", "none"),
    ],
)
def test_of_a_path_the_name_stays(text, last) -> None:
    assert without_paths(text) == last


def test_f11_files_of_a_person_and_the_data_stay(run, tmp_path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.json").write_text('{"a": 1}')
    (mine / CARD).write_text("my notes")
    for out in (mine, run.parent / "prepared" / "hub"):
        with pytest.raises(BadConfig) as refused:
            write_hub(run, out)
        assert refused.value.code == "F11"
    assert (mine / CARD).read_text() == "my notes"
    assert not (run.parent / "prepared" / "hub").exists()


def test_what_cannot_be_a_model_writes_nothing(run, tmp_path) -> None:
    with pytest.raises(BadConfig, match="no name of a licence"):
        write_hub(run, tmp_path / "a", "x: [y")
    broken = tmp_path / "broken"
    shutil.copytree(run, broken)
    (broken / "weights.safetensors").write_bytes(b"0" * 100)
    with pytest.raises(BadCheckpoint):
        write_hub(broken, tmp_path / "b")
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
