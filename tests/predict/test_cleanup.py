"""Masks with a speck: by the run's rule it goes, without one it stays, a file's rule wins."""

from pathlib import Path

import numpy as np
import pytest

from fewmask.cleanup import CleanupRule, StructureRule
from fewmask.cleanup.beside import cleaning_path, read_cleaning
from fewmask.core.budget import Budget, Split
from fewmask.core.errors import BadConfig
from fewmask.core.run_record import RunRecord
from fewmask.core.task import Task
from fewmask.core.volume import LabelMap, Volume
from fewmask.io.nifti import read_labels
from fewmask.io.run import RunFolder
from fewmask.io.text import write_json
from fewmask.predict import open_cleanup, predict_folder
from fewmask.predict.predictor import Prediction
from tests.narrow import required
from tests.scans import write_scans

VOXEL_ML = 3 * 3 * 5 / 1000


class Speck:
    """Says 4 x 4 voxels in slice 2, with a hole of one, and one voxel in slice 5."""

    promptable = False

    def volume(self, volume: Volume) -> Prediction:
        labels = np.zeros(volume.shape, np.uint8)
        labels[2, 4:8, 4:8] = labels[5, 20, 20] = 1
        labels[2, 5, 5] = 0
        return Prediction(LabelMap(labels, volume.grid), None, 0)

    def volume_with_boxes(self, volume, boxes):
        raise NotImplementedError


@pytest.fixture
def run(tmp_path) -> Path:
    """A run folder whose rule keeps the largest part, and two scans."""
    write_scans(tmp_path / "scans", 2)
    folder = RunFolder(tmp_path / "run")
    record = RunRecord("unet", {}, Task(("liver",), 32), seed=0, steps=1)
    folder.create(record, {}, Split(("case_00",)), Budget("slices", 0), {})
    folder.write_cleanup(CleanupRule({"liver": StructureRule("largest")}).as_dict())
    return folder.path


def predict(run: Path, chosen: str):
    """The summary, and the voxels in both masks."""
    scans, out = run.parent / "scans" / "images", run.parent / "masks"
    summary = predict_folder(Speck(), scans, out, cleanup=open_cleanup(run, chosen))
    return summary, [int(read_labels(out / f"case_0{n}.nii.gz").voxels.sum()) for n in (0, 1)]


def test_the_run_s_rule_a_file_s_or_none(run) -> None:
    summary, sizes = predict(run, "auto")
    assert sizes == [15, 15], "the voxel in slice 5 is gone"
    total = summary.cleanup["liver"]
    assert (total.rule, total.removed_scans, total.scans) == ("largest part", 2, 2)
    assert total.removed_ml == pytest.approx(2 * VOXEL_ML)
    assert str(total) == "removed 0.1 mL in 2 of 2 scans, filled 0.0 mL"
    other = run.parent / "other.json"
    write_json(other, CleanupRule({"liver": StructureRule(fill_holes=True)}).as_dict())
    summary, sizes = predict(run, str(other))
    assert sizes == [17, 17] and summary.cleanup["liver"].rule == "holes filled"
    summary, sizes = predict(run, "none")
    assert sizes == [16, 16] and not summary.cleanup and not summary.notes


def test_what_was_done_stands_beside_the_mask_it_was_done_to(run) -> None:
    out = run.parent / "masks"
    predict(run, "auto")
    found = required(read_cleaning(out, "case_01"))
    assert found.learned and found.structures["liver"].removed_voxels == 1
    assert found.structures["liver"].removed_ml == pytest.approx(VOXEL_ML)
    predict(run, "none")
    assert read_cleaning(out, "case_01") is None and not cleaning_path(out, "case_01").exists()


def test_a_file_for_other_structures_is_refused(run) -> None:
    path = run.parent / "other.json"
    write_json(path, CleanupRule({"spleen": StructureRule("largest")}).as_dict())
    with pytest.raises(BadConfig, match="names spleen, the run has liver"):
        open_cleanup(run, str(path))
    write_json(path, {"structures": {}})
    with pytest.raises(BadConfig, match="names no structure"):
        open_cleanup(run, str(path))
    with pytest.raises(BadConfig, match=r"nowhere.json"):
        open_cleanup(run, str(run.parent / "nowhere.json"))


def test_a_run_of_before_says_that_nothing_is_removed(run) -> None:
    RunFolder(run).cleanup.unlink()
    summary, sizes = predict(run, "auto")
    assert sizes == [16, 16] and not summary.cleanup
    assert summary.notes == [
        "the run has no clean-up rule (an earlier version made it): nothing was removed"
    ]
