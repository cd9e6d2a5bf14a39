"""A run folder of version 0.1 (`old_run`, written before the record had a type) is still a run."""

import shutil
from pathlib import Path

import pytest
import torch

from fewmask.benchmark.score import score_run
from fewmask.core.errors import BadConfig
from fewmask.io.run import RunFolder
from fewmask.io.text import read_json, write_json
from fewmask.io.weights import load_tensors
from fewmask.report.run import write_run_report
from fewmask.training import TrainRequest, train
from tests.scans import prepare_scans

OLD = Path(__file__).with_name("old_run")
SETTINGS = ("channels=[2,2]", "labelled=2")


@pytest.fixture
def old(tmp_path) -> tuple[RunFolder, TrainRequest]:
    """A copy whose dataset lies here, and the request that made it."""
    prepared = prepare_scans(tmp_path)
    shutil.copytree(OLD, tmp_path / "run")
    record = read_json(OLD / "config.json") | {"prepared": str(prepared.folder)}
    write_json(tmp_path / "run" / "config.json", record)
    request = TrainRequest(
        prepared.folder, tmp_path / "run", method="unet", slices=2, steps=3, amp="off",
        device="cpu", settings=SETTINGS,
    )  # fmt: skip
    return RunFolder.open(tmp_path / "run"), request


def test_its_record_is_read_and_what_it_did_not_note_is_not_known() -> None:
    record = RunFolder.open(OLD).read_record()
    assert (record.method, record.steps, record.seed, record.bf16) == ("unet", 3, 0, False)
    assert record.task.classes == ("liver",) and record.provided.labelled_slices == 2
    assert record.config["channels"] == [2, 2] and record.in_order is None


def test_it_predicts_is_scored_and_reported(old) -> None:
    run, _ = old
    assert len(score_run(run.path).scores) == 2
    assert "--steps 3" in write_run_report(run.path).read_text()


def test_the_same_command_finds_nothing_to_do_or_resumes_and_another_is_refused(old) -> None:
    run, request = old
    before = load_tensors(run.weights)
    assert train(request) == run.path
    run.weights.unlink()
    train(request)
    after = load_tensors(run.weights)
    assert all(torch.equal(before[name], after[name]) for name in before)
    with pytest.raises(BadConfig, match="another request") as caught:
        train(TrainRequest(**{**vars(request), "seed": 1}))
    assert caught.value.where == (str(run.path), "seed: 0 -> 1")
