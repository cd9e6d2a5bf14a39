"""What a run costs, and what may go from it."""

import json
import os
import socket

import pytest

from fewmask.core.errors import BadCheckpoint, NoRoom
from fewmask.io import run_files
from fewmask.io.lock import LOCK, folder_lock
from fewmask.io.run_files import bytes_by_kind, clean_run, find_cleanable, runs_below

DEAD = 2**22 + 1
"""More than Linux numbers processes."""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run that is finished, with a stage that is finished, and masks; every file 10 bytes, the
    records too.
    """
    monkeypatch.setattr(run_files, "_is_run", lambda at: (at / "config.json").exists())
    run = tmp_path / "runs" / "a"
    names = [
        "config.json", "weights.safetensors", "losses.csv", "state-00000006.safetensors",
        "state-00000006.json", "state-00000003.safetensors", "teacher/config.json",
        "teacher/weights.safetensors", "teacher/state-00000002.safetensors",
        "labels1/case.nii.gz", "labels1/confidence.csv", "predictions/case.nii.gz",
        "report/index.html", "log/events", f".config.json.{DEAD}.part",
        f"predictions/.case.nii.gz.{os.getpid()}.part",
    ]  # fmt: skip
    for name in names:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(b"0123456789")
    return run


def test_a_folder_of_another_program_is_left_alone(tmp_path) -> None:
    model = tmp_path / "bert"
    model.mkdir()
    for name in ("config.json", "weights.safetensors", "state-00000001.safetensors"):
        (model / name).write_text('{"model_type": "bert"}')
    for look in (clean_run, find_cleanable, runs_below):
        with pytest.raises(BadCheckpoint) as refused:
            look(model)
        assert refused.value.code == "W06"
    assert len(list(model.iterdir())) == 3


def test_bytes_by_kind(run) -> None:
    assert bytes_by_kind(run) == {
        "states": 40, "records": 30, "weights": 20, "labels": 20, "temporary": 20,
        "masks": 10, "report": 10, "log": 10,
    }  # fmt: skip


def test_states_and_what_dead_processes_left_go_and_nothing_else(run) -> None:
    before = {path for path in run.rglob("*") if path.is_file()}
    found = find_cleanable(run)
    assert {path for path in run.rglob("*") if path.is_file()} == before, "it only looked"
    assert found.freed == 50 == clean_run(run)
    after = {path for path in run.rglob("*") if path.is_file()}
    assert before - after == {*found.states, *found.parts} and after < before
    assert sorted(path.name for path in before - after) == [
        f".config.json.{DEAD}.part", "state-00000002.safetensors", "state-00000003.safetensors",
        "state-00000006.json", "state-00000006.safetensors",
    ]  # fmt: skip
    assert clean_run(run) == 0


def test_what_is_not_finished_keeps_its_states(run) -> None:
    (run / "weights.safetensors").unlink()
    found = find_cleanable(run)
    assert [path.parent.name for path in found.states] == ["teacher"] and len(found.kept) == 3
    assert clean_run(run) == 20 and (run / "state-00000006.safetensors").exists()


@pytest.mark.parametrize("inside", [".", "teacher"])
def test_f12_a_run_in_work_is_left_alone(run, inside) -> None:
    with folder_lock(run / inside, "train"), pytest.raises(NoRoom) as error:
        clean_run(run)
    assert error.value.code == "F12" and (run / "state-00000006.safetensors").exists()


def test_f12_a_lock_of_another_machine_too(run) -> None:
    record = {"purpose": "train", "pid": 1, "host": socket.gethostname() + "-x", "boot": "b"}
    (run / LOCK).write_text(json.dumps(record))
    with pytest.raises(NoRoom):
        clean_run(run)
    assert (run / "state-00000006.safetensors").exists()


def test_runs_of_a_sweep_are_found_and_stages_are_none(run) -> None:
    (run.parent / "b").mkdir()
    (run.parent / "b" / "config.json").write_text("{}")
    assert runs_below(run.parent) == [run, run.parent / "b"]
    assert runs_below(run) == [run]
    with pytest.raises(BadCheckpoint) as error:
        runs_below(run / "predictions")
    assert error.value.code == "W06"
    with pytest.raises(BadCheckpoint):
        find_cleanable(run / "predictions")
