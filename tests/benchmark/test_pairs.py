"""Masks and truths are paired by name as scans and masks are, or named as left over."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from fewmask.benchmark.pairs import match_names, pair_masks
from fewmask.core.errors import BadDataset
from fewmask.core.volume import LabelMap
from fewmask.io.nifti import write_labels
from tests.prepare.folders import draw

MASK = LabelMap.from_file_order(np.eye(4, dtype=np.uint8)[..., None], np.diag([-1.0, -1, 3, 1]))
UMLAUT = "M\u00fcnchen_01"


def masks(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_labels(path, MASK)
    return folder


def paired(left: Path, right: Path) -> dict[str, str]:
    return {pair.case: pair.truth.case for pair in pair_masks(left, right).pairs}


@pytest.mark.parametrize(
    ("mask", "truth"),
    [
        ("case_01", "case_01"),
        ("volume-1", "segmentation-1"),
        ("case_01", "case_01_seg"),
        ("case_01_0000", "case_01"),
        ("CASE_01", "case_01"),
        (unicodedata.normalize("NFC", UMLAUT), unicodedata.normalize("NFD", UMLAUT)),
        ("s0001", "s0001/segmentations/liver"),
        ("s0001/segmentations/liver", "s0001"),
        ("c1_pred", "c1_gt"),
        ("c1_prediction", "c1"),
        ("c1", "labels/c1"),
    ],
)
def test_names_that_prepare_pairs_are_pairs_here(tmp_path: Path, mask: str, truth: str) -> None:
    left, right = masks(tmp_path / "m", mask), masks(tmp_path / "t", truth)
    if truth.startswith("labels"):  # a whole data folder as truth
        masks(right / "images", "c1")
    assert len(paired(left, right)) == 1


def test_two_files_are_one_pair_whatever_they_are_called(tmp_path: Path) -> None:
    left = masks(tmp_path / "m", "anna") / "anna.nii.gz"
    right = masks(tmp_path / "t", "truth of bert") / "truth of bert.nii.gz"
    assert paired(left, right) == {"anna": "truth of bert"}


def test_a_name_with_two_meanings_is_not_guessed() -> None:
    """`img1` may be `1_seg` or `label1`; the same name wins over both."""
    assert match_names(["img1"], ["1_seg", "label1"]) == {}
    assert match_names(["c1", "c1_pred"], ["c1_gt"]) == {"c1": "c1_gt"}
    assert match_names(["c1_pred", "c1_output"], ["c1_gt"]) == {}
    assert match_names(["img1", "img2"], ["1_seg", "label1", "img1", "2"]) == {
        "img1": "img1",
        "img2": "2",
    }


@pytest.mark.parametrize(
    ("files", "truth"),
    [
        (["c1.nii.gz", "c1_seg.nii.gz"], "c1_seg.nii.gz"),
        (["c1.nii.gz", "seg_c1.nii.gz"], "seg_c1.nii.gz"),
        (["c1.nii.gz", "labels/c1.nii.gz"], "labels/c1.nii.gz"),
        (["c1.nii.gz", "c1_liver.nii.gz", "c1_aorta.nii.gz"], "c1_liver.nii.gz"),
        (["c1.nii.gz", "aorta_c1.nii.gz", "liver_c1.nii.gz"], "liver_c1.nii.gz"),
        (["images/c1.nii.gz", "labels/aorta/c1.nii.gz", "labels/liver/c1.nii.gz"], "labels/liver"),
    ],
)
def test_a_scan_beside_its_masks_is_never_the_truth(
    tmp_path: Path, files: list[str], truth: str
) -> None:
    masks(tmp_path / "m", "c1")
    scan = np.arange(16, dtype=np.int16).reshape(4, 4, 1) * 20
    for name in files:
        grey = name in ("c1.nii.gz", "images/c1.nii.gz")
        draw(tmp_path / "t", name, voxels=scan if grey else np.eye(4, dtype=np.uint8)[..., None])
    (pair,) = pair_masks(tmp_path / "m", tmp_path / "t").pairs
    found = pair.truth.parts.get("liver") or pair.truth.path
    assert found.relative_to(tmp_path / "t").as_posix().startswith(truth)


def test_masks_beside_other_masks_are_compared_as_they_are(tmp_path: Path) -> None:
    """The truth below a folder of predictions does not take their place."""
    left = masks(tmp_path, "c1")
    right = masks(tmp_path / "labels", "c1")
    (pair,) = pair_masks(left, right).pairs
    assert pair.prediction.path == tmp_path / "c1.nii.gz"


def test_what_is_left_over_is_named(tmp_path: Path) -> None:
    left, right = masks(tmp_path / "m", "a", "b"), masks(tmp_path / "t", "b", "c", "d")
    found = pair_masks(left, right)
    assert (found.without_truth, found.without_mask) == (("a",), ("c", "d"))
    masks(tmp_path / "m", "B")
    assert [problem.code for problem in pair_masks(left, right).ambiguous] == ["N43"]


def test_where_nothing_fits_the_nearest_names_are_told(tmp_path: Path) -> None:
    left, right = masks(tmp_path / "m", "ct_9"), masks(tmp_path / "t", "ct_09", "mr_1")
    with pytest.raises(BadDataset) as caught:
        pair_masks(left, right)
    assert "no truth is called ct_9   nearest: ct_09" in str(caught.value)
    (tmp_path / "empty").mkdir()
    for place, said in ((tmp_path / "gone", "no such"), (tmp_path / "empty", "no mask in")):
        with pytest.raises(BadDataset, match=said):
            pair_masks(left, place)
