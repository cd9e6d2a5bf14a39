"""Masks in a folder of their own."""

import numpy as np
import pytest

from fewmask.core.errors import BadDataset
from fewmask.core.volume import LabelMap
from fewmask.io.nifti import read_volume, write_labels
from fewmask.io.prepared import Prepared
from fewmask.prepare.build import prepare
from fewmask.prepare.check import check
from fewmask.prepare.layout import Layout, Pair
from fewmask.prepare.options import PrepareOptions
from fewmask.prepare.outlines import take_outlines
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
    options = PrepareOptions({"liver": (1,)}, recipe="ct", outlines=mine)
    prepare(data, tmp_path / "prepared", options)
    prepared = Prepared.open(tmp_path / "prepared")
    assert prepared.cases["case_01"].outlined == [3]
    with prepared.case("case_01") as file:
        assert np.array_equal(file.labels(range(scan.shape[0])), voxels)
    # What has no file there has no mask: the one beside it may count structures in another way.
    assert not prepared.cases["case_02"].outlined
    outlined = {case.case: case.outlined for case in check(data, options).cases}
    assert outlined["case_01"] == 1 and not outlined["case_02"]


def test_what_the_data_set_marks_as_unknown_is_not_so_in_other_masks(tmp_path) -> None:
    """nnU-Net's list calls 2 `ignore`; a person's own second structure is 2 as well."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.nii.gz").touch()
    pairs = (Pair("a", tmp_path / "a.nii.gz", parts={"liver": tmp_path / "liver.nii.gz"}),)
    layout = Layout("nnunet", pairs, names={"liver": 1, "Ignore": 2})
    taken = take_outlines(layout, folder)
    assert taken.names == {"liver": 1}
    assert taken.pairs[0].mask == folder / "a.nii.gz" and not taken.pairs[0].parts


def test_a_file_that_means_no_scan_is_refused(tmp_path) -> None:
    data = tmp_path / "scans"
    write_scans(data)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "somebody.nii.gz").write_bytes((data / "labels" / "case_01.nii.gz").read_bytes())
    with pytest.raises(BadDataset, match="mean no scan") as caught:
        prepare(data, tmp_path / "prepared", PrepareOptions({"liver": (6,)}, outlines=mine))
    assert "somebody.nii.gz" in caught.value.where
