"""Masks in a folder of their own."""

import numpy as np
import pytest

from fewmask.core.errors import BadDataset
from fewmask.core.volume import LabelMap
from fewmask.io.nifti import read_labels, read_volume, write_labels
from fewmask.io.prepared import Prepared
from fewmask.prepare.build import prepare
from fewmask.prepare.check import check
from fewmask.prepare.options import PrepareOptions
from tests.scans import write_scans


def test_masks_of_their_own_folder_stand_for_those_beside_the_scans(tmp_path) -> None:
    data = tmp_path / "scans"
    write_scans(data)
    scan = read_volume(data / "images" / "case_01.nii.gz")
    voxels = np.zeros(scan.shape, np.uint8)
    voxels[3, 4:8, 5:9] = 1
    mine = tmp_path / "mine"
    mine.mkdir()
    write_labels(mine / "case_01.nii.gz", LabelMap(voxels, scan.grid))
    before = read_labels(data / "labels" / "case_02.nii.gz").voxels == 6
    options = PrepareOptions({"liver": (1, 6)}, recipe="ct", outlines=mine)
    prepare(data, tmp_path / "prepared", options)
    prepared = Prepared.open(tmp_path / "prepared")
    assert prepared.cases["case_01"].outlined == [3]
    with prepared.case("case_01") as file:
        assert np.array_equal(file.labels(range(scan.shape[0])), voxels)
    # What has no file there keeps its mask.
    assert prepared.cases["case_02"].outlined == list(np.flatnonzero(before.any(axis=(1, 2))))
    assert {case.case: case.outlined for case in check(data, options).cases}["case_01"] == 1


def test_a_file_that_means_no_scan_is_refused(tmp_path) -> None:
    data = tmp_path / "scans"
    write_scans(data)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "somebody.nii.gz").write_bytes((data / "labels" / "case_01.nii.gz").read_bytes())
    with pytest.raises(BadDataset, match="mean no scan") as caught:
        prepare(data, tmp_path / "prepared", PrepareOptions({"liver": (6,)}, outlines=mine))
    assert "somebody.nii.gz" in caught.value.where
