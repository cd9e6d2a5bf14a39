"""What the numbers of masks and truths mean, and which slices are scored; by figures that can be
counted by hand.
"""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from fewmask.benchmark.score import ScoreSummary, protocol_lines, score_folders
from fewmask.core.errors import BadConfig, BadDataset
from fewmask.core.volume import LabelMap
from fewmask.io.dicom import read_series, slices_of
from fewmask.io.dicomout import write_seg, write_struct
from fewmask.io.image import write_labels as write_image
from fewmask.io.image import write_labels as write_named
from fewmask.io.nifti import ReadOptions, write_labels
from fewmask.io.segments import Segment, coloured
from fewmask.io.snap import snap_text
from fewmask.prepare.options import ScanOptions
from tests.io.test_dicom import write_series

AFFINE = np.diag([-1.0, -1, 3, 1])


def block(*slices: int, value: int = 1, depth: int = 12) -> np.ndarray:
    """16 of 64 pixels in these slices."""
    voxels = np.zeros((8, 8, depth), np.uint16)
    voxels[2:6, 2:6, list(slices)] = value
    return voxels


def scored(
    folder: Path, pred: np.ndarray, truth: np.ndarray, *, predicted: bool = False, **more: Any
) -> ScoreSummary:
    for name, voxels in (("m", pred), ("t", truth)):
        (folder / name).mkdir(exist_ok=True)
        label_map = LabelMap.from_file_order(voxels, AFFINE)
        write_labels(folder / name / "a.nii.gz", label_map, predicted=predicted and name == "m")
    labels = more.pop("labels", None)
    return score_folders(folder / "m", folder / "t", labels, **more)


def test_values_that_no_class_has_are_named(tmp_path: Path) -> None:
    """The mask holds class 1 in two slices, and 7 in another; truth is 5 in the two."""
    pred = block(2, 3) + block(8, value=7)
    found = scored(tmp_path, pred, block(2, 3, value=5), labels={"liver": (5,)})
    assert [score.dice for score in found.scores] == [1.0]
    assert any("1 mask holds 7, which no class has" in note for note in found.notes)


def test_masks_with_none_of_the_values_expected_are_refused(tmp_path: Path) -> None:
    five = block(2, 3, value=5)
    with pytest.raises(BadDataset, match="hold 5, which no class has, and none") as caught:
        scored(tmp_path, five, five, labels={"liver": (5,)})
    assert "1 = liver" in str(caught.value) and "`same_values=True`" in caught.value.fix
    found = scored(tmp_path, five, five, labels={"liver": (5,)}, same_values=True)
    assert [(score.label, score.dice) for score in found.scores] == [("liver", 1.0)]
    with pytest.raises(BadDataset, match="hold 255") as caught:
        scored(tmp_path, block(2, value=255), five, labels={"liver": (5,)})
    assert "save the masks with these numbers" in caught.value.fix, "the truth holds no 255"
    with pytest.raises(BadDataset, match="none of the values"):
        scored(tmp_path, block(2), five, labels={"liver": (5,)}, same_values=True)
    empty = scored(tmp_path, block(), five, labels={"liver": (5,)})
    assert [score.status for score in empty.scores] == ["missed"], "empty is no foreign value"


def test_the_order_of_classes_is_told_where_it_is_not_that_of_the_values(tmp_path: Path) -> None:
    both = block(2, 3) + block(8, 9, value=2)
    swapped: dict[str, Any] = {"labels": {"spleen": (2,), "liver": (1,)}}
    found = scored(tmp_path, both, both, **swapped)
    assert [score.dice for score in found.scores] == [0.0, 0.0]
    assert "(1 = spleen, 2 = liver)" in found.notes[0]
    ours = scored(tmp_path, both, both, predicted=True, **swapped)
    assert ours.notes == (), "our masks hold the numbers of the classes, whatever the values"
    same = scored(tmp_path, both, both, **swapped, same_values=True)
    assert [score.dice for score in same.scores] == [1.0, 1.0] and same.notes == ()


def test_a_mask_that_names_its_segments_is_read_by_these_names(tmp_path: Path) -> None:
    """The mask calls 1 liver and 2 spleen, and the truth has it the other way round: names decide,
    and a class that a mask does not name is absent from it.
    """
    both = block(2, 3) + block(8, 9, value=2)
    for folder, voxels, names in (
        ("m", both, ("liver", "Spleen")),
        ("t", block(2, 3, value=2) + block(8, 9), ("spleen", "liver")),
    ):
        (tmp_path / folder).mkdir()
        segments = [Segment(name, value) for value, name in enumerate(names, 1)]
        label_map = LabelMap.from_file_order(voxels, AFFINE)
        write_named(tmp_path / folder / "a.seg.nrrd", label_map, segments=segments)
    masks, truth = tmp_path / "m", tmp_path / "t"
    for labels in ({"spleen": ("spleen",), "liver": ("liver",)}, {"spleen": (1,), "liver": (2,)}):
        found = score_folders(masks, truth, labels)
        assert [(score.label, score.dice) for score in found.scores] == [
            ("spleen", 1.0),
            ("liver", 1.0),
        ]
        assert found.notes == (), "nothing was guessed"
    scored_alone = score_folders(masks, truth, {"fat": (1,), "liver": ("liver",)})
    assert [score.status for score in scored_alone.scores] == ["missed", "ok"]


def test_a_label_description_beside_masks_says_what_their_numbers_mean(tmp_path: Path) -> None:
    """The masks hold 1 and 2, the file beside them calls these liver and spleen; the truth has
    them as 2 and 1, and the classes are asked for in the other order.
    """
    truth, masks = block(2, 3, value=2) + block(8, 9), block(2, 3) + block(8, 9, value=2)
    asked: dict[str, Any] = {"labels": {"spleen": (1,), "liver": (2,)}}
    (tmp_path / "m").mkdir()
    description = tmp_path / "m" / "labels.itksnap.txt"
    description.write_text(snap_text([Segment("Liver", 1), Segment("spleen", 2)]))
    named = scored(tmp_path, masks, truth, **asked)
    assert [score.dice for score in named.scores] == [1.0, 1.0] and named.notes == ()
    alone = score_folders(tmp_path / "m" / "a.nii.gz", tmp_path / "t" / "a.nii.gz", **asked)
    assert [score.dice for score in alone.scores] == [1.0, 1.0], "of a single mask too"
    same = score_folders(
        tmp_path / "m", tmp_path / "m", {"spleen": ("spleen",)}, same_values=True, masks="complete"
    )
    assert [score.dice for score in same.scores] == [1.0]
    description.write_text(snap_text([Segment("Leber", 1), Segment("Milz", 2)]))
    foreign = scored(tmp_path, masks, truth, **asked)
    assert [score.dice for score in foreign.scores] == [0.0, 0.0]
    assert foreign.notes == (
        "the masks name Leber, Milz, and no class is called so: their numbers are taken in the "
        "order of `labels` (1 = spleen, 2 = liver)",
    )


def test_without_labels_only_values_that_occur_are_scored(tmp_path: Path) -> None:
    pred = block(2, 3, value=205) + block(4, value=850)
    truth = block(2, 3, value=205) + block(5, value=500)
    found = scored(tmp_path, pred, truth, masks="complete")
    assert [(score.label, score.status) for score in found.scores] == [
        ("205", "ok"),
        ("500", "missed"),
        ("850", "spurious"),
    ]
    other = LabelMap.from_file_order(block(1, value=850), AFFINE)
    for name in ("m", "t"):
        write_labels(tmp_path / name / "b.nii.gz", other)
    more = score_folders(tmp_path / "m", tmp_path / "t", None).scores
    assert [score.status for score in more if score.case == "b"] == ["both_empty"] * 2 + ["ok"]
    (tmp_path / "x").mkdir()
    many = np.arange(512, dtype=np.uint16).reshape(8, 8, 8)
    with pytest.raises(BadDataset, match="no prediction could be scored") as caught:
        scored(tmp_path / "x", many, many)
    assert "a scan, not a label map: 512 values" in str(caught.value)


@pytest.mark.parametrize("labels", [None, {"liver": (1,)}])
def test_a_scan_is_no_truth(tmp_path: Path, labels: dict[str, tuple[int, ...]] | None) -> None:
    """Of 8 bits, and holding the values that are asked for; many structures are no scan."""
    scan = np.random.default_rng(0).integers(0, 200, (8, 8, 8)).astype(np.uint8)
    with pytest.raises(BadDataset, match="no prediction could be scored") as caught:
        scored(tmp_path, block(2, 3), scan, labels=labels)
    assert "a scan, not a label map" in str(caught.value)
    organs = np.arange(64, dtype=np.uint8).reshape(4, 4, 4).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    (tmp_path / "x").mkdir()
    assert len(scored(tmp_path / "x", organs, organs).scores) == 63


def test_a_partly_outlined_truth_is_scored_where_it_is_outlined(tmp_path: Path) -> None:
    """Truth in slices 2, 5 and 8; the mask in 2 to 9, of half the size in slice 5.

    Outlined slices alone: mask 16 + 8 + 16, truth 48, both 40, so Dice is 80 / 88. All slices: the
    mask has 7 x 16 + 8 = 120 voxels, so Dice is 80 / 168.
    """
    pred, truth = block(*range(2, 10)), block(2, 5, 8)
    pred[4:, :, 5] = 0
    found = scored(tmp_path, pred, truth)
    assert found.scores[0].dice == pytest.approx(80 / 88)
    assert found.scores[0].pred_ml == pytest.approx(40 * 3 / 1000)
    assert "M12: 1 truth is" in found.notes[0] and "a (3)" in found.notes[0]
    whole = scored(tmp_path, pred, truth, masks="complete")
    assert whole.scores[0].dice == pytest.approx(80 / 168) and whole.notes == ()
    lines = protocol_lines(tmp_path / "m", tmp_path / "t", None, "la-2018", ["a"])
    assert lines[0]["dice"] == pytest.approx(80 / 88)


@pytest.mark.parametrize(
    ("slices", "masks", "count"),
    [
        ((4,), "auto", None),  # a small structure
        ((4,), "partial", 1),
        ((3, 4, 5, 9), "auto", None),  # two lesions
        ((3, 4, 5), "partial", 3),
        ((1, 4, 7, 8), "auto", None),  # half of them alone
        ((1, 4, 7), "auto", 3),
    ],
)
def test_when_a_truth_counts_as_partly_outlined(
    tmp_path: Path, slices: tuple[int, ...], masks: str, count: int | None
) -> None:
    notes = scored(tmp_path, block(*range(10)), block(*slices), masks=masks).notes
    assert [f"a ({count})" in note for note in notes] == ([True] if count else [])


def test_a_truth_cropped_to_its_extent_is_laid_into_its_scan(tmp_path: Path) -> None:
    """3D Slicer: the truth's first voxel is (2, 2, 3) of the mask."""
    scored(tmp_path, block(3, 4, 5), block(3, 4, 5))
    cut = LabelMap.from_file_order(
        block(3, 4, 5)[2:6, 2:6, 3:6], AFFINE + np.c_[np.zeros((4, 3)), [-2, -2, 9, 0]]
    )
    write_labels(tmp_path / "t" / "a.nii.gz", cut)
    assert [s.dice for s in score_folders(tmp_path / "m", tmp_path / "t", None).scores] == [1.0]


def test_structures_in_files_of_their_own(tmp_path: Path) -> None:
    """TotalSegmentator: any value above 0 is inside."""
    scored(tmp_path, block(3, 4) + block(8, value=2), block())
    for name, voxels in (("liver", block(3, 4)), ("spleen", block(8, value=9))):
        path = tmp_path / "ts" / "a" / "segmentations" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_labels(path, LabelMap.from_file_order(voxels, AFFINE))
    labels = {"liver": ("liver",), "spleen": ("spleen",)}
    found = score_folders(tmp_path / "m", tmp_path / "ts", labels)
    assert [score.dice for score in found.scores] == [1.0, 1.0]
    (note,) = found.notes  # nobody said that the masks number structures in this order
    assert "in the order of `labels` (1 = liver, 2 = spleen)" in note
    one = score_folders(tmp_path / "m", tmp_path / "ts", {"liver": ("liver",)})
    assert not any("order" in note for note in one.notes), "one structure has no other order"
    with pytest.raises(BadConfig, match="which structures"):
        score_folders(tmp_path / "m", tmp_path / "ts", None)


def test_masks_and_truths_are_read_as_was_declared_and_counted(tmp_path: Path) -> None:
    for name in ("m", "t"):
        (tmp_path / name).mkdir()
        nib.save(nib.Nifti1Image(block(3, 4), None), tmp_path / name / "a.nii.gz")
    with pytest.raises(BadDataset, match="no prediction could be scored") as caught:
        score_folders(tmp_path / "m", tmp_path / "t", None)
    assert "`assume_ras=True`" in caught.value.fix
    heard = []
    read = ScanOptions(ReadOptions(assume_ras=True))
    found = score_folders(
        tmp_path / "m", tmp_path / "t", None, scans=read, on_progress=lambda e: heard.append(e)
    )
    assert [score.dice for score in found.scores] == [1.0]
    assert [(event.done, event.total, event.item) for event in heard] == [(1, 1, "a")]


@pytest.mark.parametrize("inside", ["t", "t/labelsTr"])
def test_what_the_data_set_calls_ignore_is_not_scored(tmp_path: Path, inside: str) -> None:
    """Truth: organ in two slices, in one of them half of the pixels not looked at. The mask has the
    organ in both, and 16 voxels of nothing where nobody looked: all that can be scored is right.
    """
    truth, pred = block(2, 3, 6), block(2, 3, 6)
    truth[:4, :, 3] = 2  # 8 of its 16 pixels
    truth[:, :, 6] = 2
    place = tmp_path / inside
    place.mkdir(parents=True)
    (tmp_path / "m").mkdir()
    for folder, voxels in ((tmp_path / "m", pred), (place, truth)):
        write_labels(folder / "a.nii.gz", LabelMap.from_file_order(voxels, AFFINE))
    (tmp_path / "t/dataset.json").write_text('{"labels": {"liver": 1, "ignore": 2}}')
    for labels in (None, {"liver": ("liver",)}, {"liver": (1,)}):
        found = score_folders(tmp_path / "m", place, labels)
        assert [score.dice for score in found.scores] == [1.0]
        assert "M19" in found.notes[0] and "1 truth: a (96)" in found.notes[0]
    pred[:, :, 9] = 1  # looked at, and nothing there: 64 voxels too many beside 24 right ones
    write_labels(tmp_path / "m/a.nii.gz", LabelMap.from_file_order(pred, AFFINE))
    found = score_folders(tmp_path / "m", place, {"liver": (1,)})
    assert found.scores[0].dice == pytest.approx(2 * 24 / (24 + 24 + 64))
    write_labels(place / "a.nii.gz", LabelMap.from_file_order(np.full_like(truth, 2), AFFINE))
    with pytest.raises(BadDataset, match="could be scored") as caught:
        score_folders(tmp_path / "m", place, {"liver": (1,)})
    assert "all voxels of the truth" in str(caught.value)


def test_masks_as_dicom_are_scored(tmp_path: Path) -> None:
    """A SEG and an RTSTRUCT of the scan, against a truth in NIfTI, and that against them; contours
    against contours have no grid, and the way out is said.
    """
    pytest.importorskip("highdicom", reason="highdicom (extra `dicom`) is not installed")
    voxels = np.arange(5 * 8 * 8, dtype=np.int16).reshape(5, 8, 8)
    scan = write_series(tmp_path / "p0", voxels, StudyInstanceUID="1.2.7")
    grid = read_series(scan).grid
    organ = np.zeros((5, 8, 8), np.uint8)
    organ[1:4, 2:6, 3:7] = 1
    mask = LabelMap(organ, grid)
    segments = coloured(("liver",))
    places = {name: tmp_path / name for name in ("seg", "struct", "nifti")}
    for place in places.values():
        place.mkdir()
    write_seg(places["seg"] / "p0.seg.dcm", mask, slices_of(scan), segments, {})
    write_struct(places["struct"] / "p0.rtstruct.dcm", mask, slices_of(scan), segments, {})
    write_labels(places["nifti"] / "p0.nii.gz", mask)
    for left, right in (("seg", "nifti"), ("struct", "nifti"), ("nifti", "seg"), ("struct", "seg")):
        for labels in (None, {"liver": ("liver",) if right == "seg" else (1,)}):
            found = score_folders(places[left], places[right], labels)
            assert [score.dice for score in found.scores] == [1.0], (left, right)
    with pytest.raises(BadDataset) as caught:
        score_folders(places["struct"], places["struct"], None)
    assert "both contours" in str(caught.value) and "format=nifti" in caught.value.fix


def test_masks_cut_to_their_extents_are_compared_where_either_reaches(tmp_path: Path) -> None:
    """Slices 1 to 3 against slices 2 to 4, shifted by 3 of 4 columns: 48 voxels each, of which
    2 x 4 x 1 are common, so Dice is 16 / 96.
    """
    pytest.importorskip("highdicom", reason="highdicom (extra `dicom`) is not installed")
    voxels = np.arange(6 * 8 * 8, dtype=np.int16).reshape(6, 8, 8)
    scan = write_series(tmp_path / "p0", voxels, StudyInstanceUID="1.2.7")
    grid = read_series(scan).grid
    organ, other = np.zeros((6, 8, 8), np.uint8), np.zeros((6, 8, 8), np.uint8)
    organ[1:4, 2:6, 3:7] = other[2:5, 2:6, 0:4] = 1
    segments, slices = coloured(("liver",)), slices_of(scan)
    for place in ("seg", "struct", "other", "nrrd", "nrrd2"):
        (tmp_path / place).mkdir()
    write_seg(tmp_path / "seg/p0.seg.dcm", LabelMap(organ, grid), slices, segments, {})
    write_struct(tmp_path / "struct/p0.rtstruct.dcm", LabelMap(organ, grid), slices, segments, {})
    write_seg(tmp_path / "other/p0.seg.dcm", LabelMap(other, grid), slices, segments, {})
    for place, drawn in (("nrrd", organ), ("nrrd2", other)):
        stored = LabelMap(drawn, grid).to_file_order()
        low, high = np.argwhere(stored).min(0), np.argwhere(stored).max(0) + 1
        affine = grid.affine.copy()
        affine[:3, 3] = (affine @ [*low, 1])[:3]
        cut = stored[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        write_image(tmp_path / place / "p0.seg.nrrd", LabelMap.from_file_order(cut, affine))
    for left, right in (
        ("seg", "other"),
        ("struct", "other"),
        ("other", "struct"),
        ("nrrd", "nrrd2"),
        ("nrrd2", "struct"),
        ("nrrd", "other"),
    ):
        found = score_folders(tmp_path / left, tmp_path / right, None)
        assert [score.dice for score in found.scores] == [pytest.approx(1 / 6)], (left, right)
