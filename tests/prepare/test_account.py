"""A line on every file, and a label map is never a scan."""

from pathlib import Path

import numpy as np
import pytest

from fewmask.core.errors import BadScan
from fewmask.core.volume import Volume
from fewmask.prepare.check import check
from fewmask.prepare.content import label_values
from fewmask.prepare.discover import discover
from fewmask.prepare.layout import Pair
from fewmask.prepare.options import PrepareOptions, ScanOptions
from fewmask.prepare.reading import read_scan
from tests.prepare.folders import AFFINE, MASK, SCAN, draw, lay, pairs, uses

LIVER = PrepareOptions({"liver": (1,)})


def test_every_file_is_accounted_for(tmp_path: Path) -> None:
    root = lay(
        tmp_path,
        *("images/a.nii", "images/b.hdr", "images/b.img", "images/a.png", "labels/a.nii"),
        *("labels/z.nii", "old/a.nii", "notes.txt", "scans.zip"),
    )
    layout = discover(root)
    assert uses(layout, root) == {
        "images/a.nii": "scan",
        "images/b.hdr": "scan",
        "images/b.img": "scan",
        "images/a.png": "unused",
        "labels/a.nii": "mask",
        "labels/z.nii": "refused",
        "old/a.nii": "unused",
        "notes.txt": "other",
        "scans.zip": "unused",
    }
    said = "\n".join(layout.scan_notes)
    assert all(name in said for name in ("images/a.png", "old/a.nii", "scans.zip"))
    assert "labels/z.nii" not in said, "a problem tells of it"


def test_folders_that_nobody_looked_into_are_named(tmp_path: Path) -> None:
    layout = discover(lay(tmp_path, "images/a.nii", "1/2/3/4/5/6/b.nii"))
    assert layout.scan_notes == (
        "1 folder lies too deep, not looked into: 1/2/3/4/5/6; give a folder nearer to the scans",
    )


@pytest.mark.parametrize(
    "mask",
    ["label0001", "0001_gt", "img0001_seg", "seg-img0001", "img0001_liver", "liver_img0001"],
)
def test_masks_in_the_folder_of_the_scans(tmp_path: Path, mask: str) -> None:
    draw(tmp_path, "img0001.nii.gz", "img0002.nii.gz", voxels=SCAN)
    draw(tmp_path, f"{mask}.nii.gz")
    first, second = check(tmp_path, LIVER).cases
    assert (first.case, first.outlined, second.outlined) == ("img0001", 2, 0)


def test_masks_beside_scans_in_images_and_below_them(tmp_path: Path) -> None:
    layout = discover(lay(tmp_path / "a", "images/c.nii", "images/c_seg.nii"))
    assert pairs(layout) == {"c": "c_seg.nii"}
    assert pairs(discover(lay(tmp_path / "b", "c.nii", "masks/c.nii"))) == {"c": "c.nii"}


def test_a_label_map_is_no_scan_whatever_it_is_called(tmp_path: Path) -> None:
    draw(tmp_path, "a.nii.gz", voxels=SCAN)
    draw(tmp_path, "thing.nii.gz")
    (problem,) = check(tmp_path, LIVER).problems
    assert (problem["case"], problem["code"]) == ("thing", "M20")
    assert problem["what"] == "a label map, not a scan: all its voxels are 0, 1"
    with pytest.raises(BadScan, match="a label map"):
        read_scan(Pair("thing", tmp_path / "thing.nii.gz"), ScanOptions())


@pytest.mark.parametrize(
    ("voxels", "values"),
    [
        (MASK, (0, 1)),
        (MASK.astype(np.float32) * 3, (0, 3)),
        (MASK.astype(np.float32) * 0.5, ()),
        (MASK.astype(np.int16) - 1, ()),
        (MASK.astype(np.int16) * 900, ()),
        (SCAN, ()),
    ],
)
def test_what_a_label_map_holds(voxels: np.ndarray, values: tuple[int, ...]) -> None:
    assert label_values(Volume.from_file_order(voxels, AFFINE)) == values


def test_masks_of_a_type_that_is_not_read_are_a_problem(tmp_path: Path) -> None:
    layout = discover(lay(tmp_path, "images/a.nii", "labels/a.mgz"))
    assert [(p.code, p.where) for p in layout.problems] == [("M15", ("labels/a.mgz",))]
    layout = discover(lay(tmp_path / "b", "images/a.nii", "images/b.mgz"))
    assert layout.problems == () and "images/b.mgz" in layout.scan_notes[0]


def test_where_every_mask_was_refused_nothing_is_said_of_values(tmp_path: Path) -> None:
    draw(tmp_path, "images/a.nii.gz", voxels=SCAN)
    draw(tmp_path, "labels/a.nii.gz", voxels=MASK.repeat(2, 2))
    assert [problem["code"] for problem in check(tmp_path, LIVER).problems] == ["M01"]


def test_a_name_that_the_data_set_lacks_is_told_once(tmp_path: Path) -> None:
    draw(tmp_path, "images/a.nii.gz", "images/b.nii.gz", voxels=SCAN)
    draw(tmp_path, "labels/a.nii.gz", "labels/b.nii.gz")
    report = check(tmp_path, PrepareOptions({"liver": ("liver",)}))
    assert [problem["case"] for problem in report.problems] == [""] and len(report.cases) == 2
