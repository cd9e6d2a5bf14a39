"""S02: a scan saved again with other grey levels and some noise is told; others are not."""

import numpy as np

from fewmask.core.budget import Split
from fewmask.core.volume import Volume
from fewmask.io.nifti import read_labels, read_volume, write_labels, write_volume
from fewmask.io.prepared import write_split
from fewmask.prepare.build import prepare
from fewmask.prepare.options import PrepareOptions
from tests.scans import write_scans


def test_s02_a_scan_saved_again_is_told(tmp_path) -> None:
    data = tmp_path / "scans"
    write_scans(data, 6)
    for case in ("case_01", "case_02", "case_04"):  # toys that are too much alike
        for part in ("images", "labels"):
            (data / part / f"{case}.nii.gz").unlink()
    scan = read_volume(data / "images" / "case_00.nii.gz")
    noise = np.random.default_rng(0).normal(0, 3, scan.voxels.shape)
    copy = Volume(np.round(scan.voxels * 1.01 + 5 + noise).astype(np.int16), scan.grid, 1.0, 0.0)
    write_volume(data / "images" / "other.nii.gz", copy)
    labels = read_labels(data / "labels" / "case_00.nii.gz")
    write_labels(data / "labels" / "other.nii.gz", labels)
    options = PrepareOptions({"liver": (6,)}, recipe="ct", masks="complete", jobs=1)
    for test, told in (("other", True), ("case_05", False)):
        train = tuple({"case_00", "case_03", "case_05", "other"} - {test})
        write_split(tmp_path / "split.toml", Split(train, (), (test,)))
        chosen = {**vars(options), "split": tmp_path / "split.toml"}
        summary = prepare(data, tmp_path / "out", PrepareOptions(**chosen))
        lines = [note for note in summary.notes if note.startswith("S02")]
        assert [line[:45] for line in lines] == (
            ["S02: case_00 (train) looks like other (test):"[:45]] if told else []
        )
