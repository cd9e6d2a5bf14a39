"""Masks that lie with DICOM scans are found by what they say, not by where they lie."""

import numpy as np
import pytest

from fewmask.io.image import read_volume, write_labels
from fewmask.io.segments import Segment
from fewmask.prepare.check import check
from fewmask.prepare.discover import discover
from fewmask.prepare.options import PrepareOptions
from tests.io.test_dicom import write_series
from tests.io.test_dicommask import box, pixels, write_seg, write_struct
from tests.io.test_nrrd import made, segmentation
from tests.scans import write_scans

VOXELS = np.arange(60, dtype=np.int16).reshape(5, 3, 4)
LIVER = {"liver": (1,)}


def series(folder, number: int, voxels=VOXELS):
    """A series with a UID of its own."""
    return write_series(folder, voxels, SeriesInstanceUID=f"1.2.{number}")


def checked(data, labels=LIVER):
    report = check(data, PrepareOptions(labels=labels))
    assert report.problems == []
    return {case.case: case.outlined for case in report.cases}


def test_by_name_beside_the_scans(tmp_path):
    (tmp_path / "labels").mkdir()
    for n in range(2):
        series(tmp_path / f"images/p{n}", n)
        write_seg(tmp_path / f"labels/p{n}.dcm", [(1, n, pixels((0, 0)))])
    assert checked(tmp_path) == {"p0": 1, "p1": 1}
    assert checked(tmp_path, {"organ": ("liver",)}) == {"p0": 1, "p1": 1}


def test_by_the_series_that_they_refer_to(tmp_path):
    """The folders are called as an archive calls them; only the second mask says which scan."""
    series(tmp_path / "p0/a", 3)  # the series that `write_seg` refers to
    series(tmp_path / "p1/b", 4)
    (tmp_path / "p0/x").mkdir()
    write_seg(tmp_path / "p0/x/1-1.dcm", [(1, 1, pixels((0, 0))), (1, 2, pixels((0, 0)))])
    assert checked(tmp_path) == {"p0": 2, "p1": 0}


def test_a_mask_of_a_series_that_is_not_here_is_told(tmp_path):
    """De-identified scans have new UIDs, and masks refer to the old ones. A series that is there
    and left out is no such thing.
    """
    series(tmp_path / "p0/a", 4)
    series(tmp_path / "p1/b", 5)
    write_seg(tmp_path / "p0/a/1-1.dcm", [(1, 1, pixels((0, 0)))])
    found = discover(tmp_path)
    assert [pair.has_mask for pair in found.pairs] == [False, False]
    (problem,) = found.problems
    assert problem.where == ("p0/a/1-1.dcm",) and "without a mask: p0, p1" in problem.did
    series(tmp_path / "p1/c", 3)  # the one that it refers to
    assert discover(tmp_path).problems == ()


def test_several_that_hold_one_structure_each(tmp_path):
    folder = series(tmp_path / "p0", 3)
    write_seg(folder / "a.dcm", [(1, 1, pixels((0, 0)))], ["liver"])
    write_seg(folder / "b.dcm", [(1, 2, pixels((0, 0)))], ["spleen"])
    (pair,) = discover(tmp_path).pairs
    assert {name: path.name for name, path in pair.parts.items()} == {
        "liver": "a.dcm",
        "spleen": "b.dcm",
    }
    assert checked(tmp_path, {"liver": ("liver",)}) == {"p0": 1}
    notes = check(tmp_path, PrepareOptions()).notes
    assert (
        "a mask file per structure, not looked into: ask for some with `labels` (liver, spleen)"
        in notes
    )
    assert not any("left out" in note for note in notes), "they are masks, and used"
    write_seg(folder / "c.dcm", [(1, 2, pixels((0, 0)))], ["spleen"])
    (problem,) = discover(tmp_path).problems
    assert problem.what.startswith("3 masks of one scan")


@pytest.mark.parametrize("name", ["MASKS_DICOM/liver", "labels/liver", "liver_mask"])
def test_series_of_label_images(tmp_path, name):
    series(tmp_path / "p0/PATIENT_DICOM", 1)
    mask = np.zeros((5, 3, 4), np.int16)
    mask[1:3, 0, 0] = 255
    series(tmp_path / f"p0/{name}", 2, mask)
    assert checked(tmp_path) == {"p0": 2}


def test_image_files_in_the_folder_of_the_scan(tmp_path):
    folder = series(tmp_path / "p0/dicom", 1)
    laid = np.zeros((4, 3, 5), np.uint8)
    laid[0, 0, 2] = 1
    mask = type(made()).from_file_order(
        laid, np.array([[-0.8, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1.0]])
    )
    write_labels(folder.parent / "liver_mask.mha", mask)
    assert checked(tmp_path) == {"p0": 1}


def test_contours(tmp_path):
    series(tmp_path / "images/p0", 1)
    (tmp_path / "labels").mkdir()
    contours = [box((-10.1, -20.1), (-9.9, -19.9), z) for z in (30, 34)]
    write_struct(tmp_path / "labels/p0.dcm", [("body", []), ("Liver", contours)])
    assert checked(tmp_path, {"liver": ("liver",)}) == {"p0": 2}


def test_segments_are_asked_for_by_name_whatever_their_number(tmp_path):
    """Slicer numbers segments as they were made: liver is 1 here and 2 there."""
    write_scans(tmp_path, 2)
    for n, value in enumerate((1, 2)):
        scan = read_volume(tmp_path / f"images/case_0{n}.nii.gz")
        (tmp_path / f"labels/case_0{n}.nii.gz").unlink()
        voxels = np.zeros(scan.shape, np.uint8)
        voxels[2 + n : 4 + n, 5, 5] = value
        voxels[0, 0, 0] = 3 - value
        mask = type(made())(voxels, scan.grid)
        names = [Segment("liver", value), Segment("spleen", 3 - value)]
        write_labels(tmp_path / f"labels/case_0{n}.seg.nrrd", mask, segments=names)
    assert discover(tmp_path).names == {"liver": 1, "spleen": 2}
    assert checked(tmp_path, {"liver": ("liver",)}) == {"case_00": 2, "case_01": 2}


def test_names_of_itk_snap(tmp_path):
    write_scans(tmp_path, 2)
    (tmp_path / "labels.txt").write_text(
        "# ITK-SnAP Label Description File\n"
        '    0     0    0    0        0  0  0    "Clear Label"\n'
        '    6   255    0    0        1  1  1    "Liver"\n'
    )
    assert discover(tmp_path).names == {"Liver": 6}


def test_layers_that_overlap_are_asked_for_one_by_one(tmp_path):
    series(tmp_path / "images/a", 1)
    (tmp_path / "labels").mkdir()
    liver, lesion = np.zeros((4, 3, 5)), np.zeros((4, 3, 5))
    liver[0, 0, 1:4] = 1
    lesion[0, 0, 2] = 1
    names = [("liver", 0, 1), ("lesion", 1, 1)]
    segmentation(
        tmp_path / "labels/a.seg.nrrd",
        [liver, lesion],
        names,
        sizes="2 4 3 5",
        space_directions="none (0.8,0,0) (0,0.5,0) (0,0,2)",
        space_origin="(-10,-20,30)",
    )
    assert checked(tmp_path, {"liver": ("liver",)}) == {"a": 3}
    assert checked(tmp_path, {"tumour": ("lesion",)}) == {"a": 1}
    report = check(tmp_path, PrepareOptions(labels={"a": ("liver",), "b": ("lesion",)}))
    assert [problem["code"] for problem in report.problems][:1] == ["M17"]
    assert checked(tmp_path, {}) == {"a": 3}
