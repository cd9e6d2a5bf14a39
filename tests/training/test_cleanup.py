"""The rule that a run leaves behind: from masks of the budget and tags alone, before the run counts
as finished.

The organ fills 12 x 12 pixels of slices 2 to 5 of eight; scans of whole masks have four outlined
slices that hold it. The stand-in for the network sees it by its grey level.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from fewmask.cleanup import CleanupRule, StructureRule
from fewmask.core.budget import Budget
from fewmask.core.errors import Interrupted, NoRoom
from fewmask.core.progress import ProgressEvent, ignore_progress
from fewmask.core.volume import LabelMap, Volume
from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.predict import open_cleanup
from fewmask.predict.cleanup import NO_RULE
from fewmask.predict.predictor import Prediction
from fewmask.training import TrainRequest, cleanup, train
from fewmask.training import run as training_run
from fewmask.training.cleanup import learn_cleanup
from tests.narrow import required
from tests.scans import prepare_scans

ONE = Budget("volumes", 0, volumes=("case_00",))
TWO = Budget("volumes", 0, volumes=("case_00", "case_01"))


class Bright:
    """Finds the organ, and a speck of nine voxels in slice 0 that is none."""

    promptable = False

    def __init__(self) -> None:
        self.asked = 0

    def volume(self, volume: Volume) -> Prediction:
        self.asked += 1
        labels = (volume.intensities() > 60).astype(np.uint8)
        labels[0, :3, -3:] = 1
        return Prediction(LabelMap(labels, volume.grid), None, 0)

    def volume_with_boxes(self, volume, boxes):
        raise NotImplementedError


class Halves(Bright):
    """Finds the organ but for two rows across its middle: what is right lies in two pieces."""

    def volume(self, volume: Volume) -> Prediction:
        found = super().volume(volume)
        rows = np.flatnonzero(found.label_map.voxels[3].any(1))
        found.label_map.voxels[:, rows[5] : rows[5] + 2] = 0
        return found


class Full(Bright):
    """A machine that is too small."""

    def volume(self, volume: Volume) -> Prediction:
        raise NoRoom("memory is full", code="F07")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Prepared:
    return prepare_scans(tmp_path_factory.mktemp("cleanup"))


def request(prepared: Prepared, out: Path) -> TrainRequest:
    return TrainRequest(
        prepared.folder, out, method="unet", volumes=2, steps=1, amp="off", device="cpu",
        settings=("channels=[4,4]", "labelled=2"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory) -> Path:
    return train(request(prepared, tmp_path_factory.mktemp("run") / "run"))


@pytest.fixture
def run(trained, tmp_path) -> RunFolder:
    shutil.copytree(trained, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def learned(run, prepared, predictor, budget=ONE, on_progress=ignore_progress) -> StructureRule:
    learn_cleanup(run, predictor, prepared, budget, on_progress)
    return required(open_cleanup(run.path).rule).structures["liver"]


def test_one_piece_keeps_the_largest_part(run, prepared) -> None:
    """Outlined are all 8 slices: 4 x 144 right voxels and 9 wrong ones, 1152 / 1161 = 0.992."""
    seen: list[ProgressEvent] = []
    found = learned(run, prepared, Bright(), on_progress=seen.append)
    assert (found.keep, found.fill_holes) == ("largest", True)
    assert found.reason == (
        "in 4 of 4 outlined slices nothing right is lost; Dice where labels decide 0.992 to 1.000"
    )
    assert [event.note for event in seen] == ["clean-up: 1 of 1 scans seen"]


def test_a_structure_in_two_pieces_stays_in_two(run, prepared) -> None:
    """The pieces are 5/12 and 5/12 of the organ: keeping those above half of the largest spares
    both and takes the speck.
    """
    found = learned(run, prepared, Halves())
    assert (found.keep, found.share) == ("above", 0.5)


def test_slices_outside_the_budget_speak_by_their_tags_alone(run, prepared) -> None:
    """Four outlined slices with the organ, none in slice 0: that it holds none is said by tags."""
    slices = Budget("slices", 0, slices=tuple(("case_00", d) for d in (2, 3, 4, 5)))
    assert learned(run, prepared, Bright(), slices).reason.endswith("0.992 to 1.000")
    untagged = Prepared(**{**vars(prepared), "tags": {}})
    assert learned(run, untagged, Bright(), slices).reason.endswith("nothing right is lost")


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        (Budget("slices", 0), "no outlined slice: nothing to learn a rule from"),
        (
            Budget("slices", 0, slices=(("case_00", 2), ("case_00", 3), ("case_01", 2))),
            "3 outlined slices: too few to learn a rule from (4)",
        ),
    ],
)
def test_where_no_rule_can_be_learned_no_scan_is_predicted(run, prepared, budget, reason) -> None:
    predictor = Bright()
    assert learned(run, prepared, predictor, budget) == StructureRule(reason=reason)
    assert predictor.asked == 0


def test_of_many_scans_some_are_drawn(run, prepared, monkeypatch) -> None:
    monkeypatch.setattr(cleanup, "MOST_SCANS", 1)
    predictor = Bright()
    found = learned(run, prepared, predictor, TWO)
    assert found.reason.endswith("; learned from 1 of 2 labelled scans") and predictor.asked == 1


def test_a_scan_that_cannot_be_predicted_costs_the_rule_and_not_the_run(run, prepared) -> None:
    found = learned(run, prepared, Full())
    assert found == StructureRule(reason="case_00 could not be predicted: memory is full")


class Blind(Bright):
    """Finds nothing."""

    def volume(self, volume: Volume) -> Prediction:
        return Prediction(LabelMap(np.zeros(volume.voxels.shape, np.uint8), volume.grid), None, 0)


def test_f18_a_structure_found_nowhere_is_told_with_likely_causes(run, prepared) -> None:
    seen: list[ProgressEvent] = []
    learned(run, prepared, Blind(), on_progress=seen.append)
    assert (
        seen[-1].note.startswith("F18: liver not found in any slice") and "window" in seen[-1].note
    )
    learned(run, prepared, Bright(), on_progress=seen.append)
    assert not seen[-1].note.startswith("F18")


def test_who_asks_to_stop_is_heard(run, prepared) -> None:
    run.cleanup.unlink()
    with pytest.raises(Interrupted, match="with clean-up: 1 of 2 scans seen"):
        learned(run, prepared, Bright(), TWO, lambda event: True)
    assert not run.cleanup.exists()


def test_a_run_has_its_rule_before_it_is_finished(prepared, trained, tmp_path, monkeypatch) -> None:
    """Killed between the two it is resumed and learns again."""

    def die(*_) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training_run, "save_tensors", die)
        with pytest.raises(KeyboardInterrupt):
            train(request(prepared, tmp_path / "run"))
    killed, whole = RunFolder(tmp_path / "run"), RunFolder(trained)
    assert killed.cleanup.exists() and not killed.weights.exists()
    killed.write_cleanup(CleanupRule().as_dict())
    train(request(prepared, killed.path))
    for name in ("cleanup", "weights"):
        assert getattr(killed, name).read_bytes() == getattr(whole, name).read_bytes()


def test_a_run_of_before_has_no_rule_until_its_command_is_given_again(run, prepared) -> None:
    before, weights = run.cleanup.read_bytes(), run.weights.stat().st_mtime_ns
    run.cleanup.unlink()
    assert open_cleanup(run.path).rule is None and open_cleanup(run.path).note == NO_RULE
    train(request(prepared, run.path))
    assert (run.cleanup.read_bytes(), run.weights.stat().st_mtime_ns) == (before, weights)
