"""A run folder keeps two states, trusts only what checks out, and touches no file of others."""

import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from fewmask.core.budget import Budget, Split
from fewmask.core.errors import BadCheckpoint, BadConfig
from fewmask.core.recipe import Recipe
from fewmask.core.run_record import RunRecord
from fewmask.core.task import Task
from fewmask.io.run import RunFolder, States

RECORD = RunRecord("unet", {"lr": 0.001}, Task(("liver",), 64), seed=0, steps=9)
SPLIT, BUDGET = Split(("a", "b"), (), ("c",)), Budget("slices", 1, slices=(("a", 3), ("b", 0)))


def create(run: RunFolder) -> None:
    run.create(RECORD, Recipe(size=64).as_dict(), SPLIT, BUDGET, {"torch": "2"})


def save(run: RunFolder, *steps: int) -> None:
    for step in steps:
        run.save(step, {"w": torch.full((3,), float(step))})


def states(run: RunFolder) -> list[str]:
    return sorted(path.name for path in run.path.glob("state-*"))


@pytest.fixture
def run(tmp_path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    create(folder)
    return folder


def test_everything_comes_back(run) -> None:
    again = RunFolder.open(run.path)
    assert again.read_record() == RECORD and again.read_recipe() == Recipe(size=64)
    assert (
        again.read_budget() == BUDGET
        and again.read_split() == SPLIT
        and again.read_environment() == {"torch": "2"}
    )


def test_the_last_two_states_are_kept(run) -> None:
    assert run.latest() is None
    save(run, 1, 2, 10)
    kept = [f"state-{step:08d}.{kind}" for step in (2, 10) for kind in ("json", "safetensors")]
    assert states(run) == kept
    newest = run.latest()
    assert (
        newest is not None
        and newest.step == 10
        and newest.tensors["w"].tolist() == [10.0] * 3
        and newest.lost == 0
    )


def test_tensors_without_a_record_do_not_count_and_are_cleared(run) -> None:
    """Killed between the tensors and their record."""

    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    save(run, 1)
    with pytest.raises(Killed):
        run.save(2, {"w": torch.zeros(3)}, kill)
    assert "state-00000002.safetensors" in states(run)
    found = run.latest()
    assert found is not None and found.step == 1 and not found.skipped
    save(run, 3)
    assert "state-00000002.safetensors" not in states(
        run
    ) and "state-00000001.safetensors" in states(run)


@pytest.mark.parametrize("harm", ["byte", "cut", "gone", "record"])
def test_w05_a_bad_newest_state_costs_the_steps_since_the_one_before(run, harm) -> None:
    save(run, 4, 7)
    path = run.path / "state-00000007.safetensors"
    data = path.read_bytes()
    if harm == "byte":
        path.write_bytes(data[:-1] + b"\x01")
    elif harm == "cut":
        path.write_bytes(data[:20])
    elif harm == "gone":
        path.unlink()
    else:
        path.with_suffix(".json").write_text("{")
    found = run.latest()
    assert (
        found is not None
        and (found.step, found.lost) == (4, 3)
        and "state-00000007" in found.skipped[0]
    )


def test_w05_no_good_state_is_an_error_with_both_hashes(run) -> None:
    save(run, 4)
    path = run.path / "state-00000004.safetensors"
    path.write_bytes(b"x")
    with pytest.raises(BadCheckpoint, match="no saved state") as caught:
        run.latest()
    # SHA-256 of the one byte "x", and of what was saved
    assert (
        "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881" in caught.value.where[1]
    )
    assert (
        run.path.joinpath("state-00000004.json").read_text().split('"sha256": "')[1][:64]
        in caught.value.where[1]
    )


def test_losses_of_later_steps_are_cut_off(run) -> None:
    assert run.read_losses(5) == []
    rows = [{"step": str(step), "ce": repr(1 / (step + 1))} for step in range(6)]
    run.write_losses(["ce"], rows)
    assert run.read_losses(3) == rows[:3]


def test_f11_other_files_are_left_alone(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadConfig, match="other files"):
        create(RunFolder(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_killed_before_its_config_can_be_started_again(run) -> None:
    run.path.joinpath("config.json").unlink()
    assert not run.exists
    create(run)
    assert run.exists


def test_w06_a_folder_that_is_no_run(tmp_path) -> None:
    with pytest.raises(BadCheckpoint, match="not a run folder"):
        RunFolder.open(tmp_path)


def _save_for_ever(folder: Path) -> None:
    """Save one state after the other until killed; every tensor of a state holds its number."""
    states = States(folder)
    latest = states.latest()
    step = latest.step if latest else 0
    while True:
        step += 1
        states.save(step, {name: torch.full((5_000,), float(step)) for name in ("a", "b")})


def _newest(folder: Path) -> int:
    """Step of the newest state that has its record; 0 if there is none."""
    return max((int(path.stem.split("-")[1]) for path in folder.glob("state-*.json")), default=0)


def test_fifty_kills_while_saving_leave_a_whole_state(tmp_path) -> None:
    """SIGKILL at random moments after a new state: the newest readable one is whole, and none that
    was done is lost.
    """
    rng = np.random.default_rng(0)
    context = multiprocessing.get_context("fork")
    seen = 0
    for _ in range(50):
        process = context.Process(target=_save_for_ever, args=(tmp_path,))
        process.start()
        while _newest(tmp_path) <= seen:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        process.kill()
        process.join()
        latest = States(tmp_path).latest()
        assert latest is not None and not latest.skipped and latest.step > seen
        assert all(bool((tensor == latest.step).all()) for tensor in latest.tensors.values())
        seen = latest.step


def test_a_finished_run_without_its_weights_is_told_from_one_that_was_killed(run) -> None:
    def log(*steps: int) -> None:
        run.write_losses(["ce"], [{"step": str(step), "ce": "0.5"} for step in steps])

    assert not run.is_lost() and not RunFolder(run.path / "none").is_lost()
    log(*range(RECORD.steps))
    assert not run.is_lost(), "killed in its only save: losses stand there, no state, no rule"
    run.write_cleanup({})
    assert run.is_lost()
    with pytest.raises(BadCheckpoint, match="was finished here") as lost:
        run.check_not_lost()
    assert lost.value.code == "W06" and lost.value.did == "nothing was trained or written"
    save(run, RECORD.steps)
    assert not run.is_lost(), "killed between rule and weights: the last state has them"
    run.drop()
    log(*range(RECORD.steps - 1))
    assert not run.is_lost()
    run.predictions.mkdir()
    assert run.is_lost(), "masks are made by weights"
    run.weights.write_bytes(b"weights")
    assert not run.is_lost()


def test_a_stage_is_finished_where_the_next_one_was_begun(run) -> None:
    assert not run.is_lost() and run.is_lost(gone_on=True)
