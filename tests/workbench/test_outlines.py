"""What is drawn is on the disk, to the voxel, whatever happens in between."""

import csv

import nibabel as nib
import numpy as np
import pytest

from fewmask.core.errors import FewmaskError
from fewmask.core.volume import LabelMap
from fewmask.io.image import read_labels, write_labels
from fewmask.workbench import outlines as module
from fewmask.workbench.outlines import Outlines
from fewmask.workbench.tables import Stale
from tests.workbench.data import AFFINE, SHAPE, opened, write_data

H, W = 12, 6


@pytest.fixture
def folder(tmp_path):
    write_data(tmp_path / "data", 1)
    return tmp_path


def drawn(seed: int, classes: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes + 1, (H, W), dtype=np.uint8)


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_files_hold_what_was_drawn_on_an_oblique_grid_with_flips(folder) -> None:
    with opened(folder) as bench:
        info = bench.voxels.info("c0")
        assert info.shape == (9, 12, 6) and info.flipped
        bench.outlines.write("c0", 2, drawn(1), "outlined", 0)
        bench.outlines.write("c0", 7, np.zeros((H, W), np.uint8), "empty", 0)
        root = bench.folder.root
    image = nib.load(root / "labels" / "c0.nii.gz")
    stored = np.asarray(image.dataobj)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
    # d = 2 is the file's i = 6; h and w are k and j, either way round.
    plane = info.grid.orientation.apply(stored)[2]
    np.testing.assert_array_equal(plane, drawn(1))
    assert stored.shape == SHAPE and {int(i) for i in np.argwhere(stored)[:, 0]} == {6}
    assert table(root / "reviewed.csv") == [
        {"case": "c0", "first_slice": "1", "last_slice": "1"},
        {"case": "c0", "first_slice": "6", "last_slice": "6"},
    ]
    assert list((root / "journal").iterdir()) == []
    with opened(folder) as bench:
        assert bench.outlines.outlined("c0") == {2: "outlined", 7: "empty"}
        np.testing.assert_array_equal(bench.outlines.read("c0", 2).mask, drawn(1))


def test_revisions_name_contents_and_a_stale_one_changes_nothing(folder) -> None:
    with opened(folder) as bench:
        first = bench.outlines.write("c0", 3, drawn(1), "outlined", 0)
        second = bench.outlines.write("c0", 3, drawn(2), "outlined", first.revision)
        with pytest.raises(Stale) as stale:
            bench.outlines.write("c0", 3, drawn(3), "outlined", first.revision)
        assert stale.value.revision == second.revision != first.revision
        np.testing.assert_array_equal(bench.outlines.read("c0", 3).mask, drawn(2))
        # The answer was lost and the page asks again: that is no conflict.
        again = bench.outlines.write("c0", 3, drawn(2), "outlined", first.revision)
        assert again.revision == second.revision
    with opened(folder) as bench:
        assert bench.outlines.read("c0", 3).revision == second.revision


def test_a_slice_is_taken_back(folder) -> None:
    with opened(folder) as bench:
        kept = bench.outlines.write("c0", 3, drawn(1), "outlined", 0)
        nothing = np.zeros((H, W), np.uint8)
        gone = bench.outlines.write("c0", 3, nothing, "outlined", kept.revision)
        assert (gone.state, gone.revision) == ("untouched", 0)
        assert bench.outlines.outlined("c0") == {}
        bench.outlines.flush()
        assert bench.tables.reviewed("c0") == frozenset()


@pytest.mark.parametrize(
    ("mask", "state"),
    [
        (np.full((H, W), 3, np.uint8), "outlined"),
        (np.zeros((H, W + 1), np.uint8), "outlined"),
        (np.ones((H, W), np.uint8), "empty"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused_and_the_old_one_stays(folder, mask, state) -> None:
    with opened(folder) as bench:
        kept = bench.outlines.write("c0", 3, drawn(1), "outlined", 0)
        with pytest.raises(ValueError, match=r"mask|outlines"):
            bench.outlines.write("c0", 3, mask, state, kept.revision)
        np.testing.assert_array_equal(bench.outlines.read("c0", 3).mask, drawn(1))
        with pytest.raises(IndexError):
            bench.outlines.read("c0", 9)


def test_the_journal_brings_back_what_no_file_holds_yet(folder, monkeypatch) -> None:
    with opened(folder) as bench:
        monkeypatch.setattr(Outlines, "flush", lambda self: None)  # killed before it could
        bench.outlines.write("c0", 2, drawn(1), "outlined", 0)
        bench.outlines.write("c0", 4, np.zeros((H, W), np.uint8), "empty", 0)
        root = bench.folder.root
    assert not (root / "labels" / "c0.nii.gz").exists()
    monkeypatch.undo()
    with opened(folder) as bench:
        assert bench.outlines.outlined("c0") == {2: "outlined", 4: "empty"}
        np.testing.assert_array_equal(bench.outlines.read("c0", 2).mask, drawn(1))
    assert read_labels(root / "labels" / "c0.nii.gz").outlined_slices() == [2]
    assert list((root / "journal").iterdir()) == []


def test_what_another_program_drew_is_read_and_not_replaced(folder) -> None:
    with opened(folder) as bench:
        bench.outlines.write("c0", 2, drawn(1), "outlined", 0)
        bench.outlines.flush()
        path = bench.folder.label_file("c0")
        other = read_labels(path)
        other.voxels[2] = 0
        other.voxels[5] = drawn(5)
        write_labels(path, LabelMap(other.voxels, other.grid))
        assert bench.outlines.outlined("c0") == {5: "outlined"}
        bench.outlines.write("c0", 6, drawn(6), "outlined", 0)
    there = read_labels(path)
    assert there.outlined_slices() == [5, 6]
    np.testing.assert_array_equal(there.voxels[5], drawn(5))


def test_a_label_file_that_was_removed_is_written_again(folder) -> None:
    with opened(folder) as bench:
        bench.outlines.write("c0", 2, drawn(1), "outlined", 0)
        bench.outlines.flush()
        bench.folder.label_file("c0").unlink()
        assert bench.outlines.outlined("c0") == {2: "outlined"}
    assert read_labels(bench.folder.label_file("c0")).outlined_slices() == [2]


def test_a_value_of_no_structure_is_refused_by_name(folder) -> None:
    with opened(folder) as bench:
        bench.outlines.write("c0", 2, drawn(1), "outlined", 0)
        bench.outlines.flush()
        path = bench.folder.label_file("c0")
        labels = read_labels(path)
        write_labels(path, LabelMap(labels.voxels * 40, labels.grid))
        with pytest.raises(FewmaskError, match="holds the value 80"):
            bench.outlines.read("c0", 2)
        write_labels(path, labels)


def test_a_full_disk_is_told_and_tried_again(folder, monkeypatch) -> None:
    with opened(folder) as bench:
        full = OSError(28, "No space left on device")
        monkeypatch.setattr(module, "write_labels", lambda *args: (_ for _ in ()).throw(full))
        bench.outlines.write("c0", 2, drawn(1), "outlined", 0)
        with pytest.raises(FewmaskError):
            bench.outlines.flush()
        assert bench.outlines.waiting == 1 and "No space left" in (bench.outlines.failed or "")
        monkeypatch.undo()
        bench.outlines.flush()
        assert (bench.outlines.waiting, bench.outlines.failed) == (0, None)


def test_masks_of_the_data_are_brought_in_and_never_changed(tmp_path) -> None:
    write_data(tmp_path / "data", 2, masks=True)
    mask = tmp_path / "data" / "labels" / "c0.nii.gz"
    before = mask.read_bytes()
    with opened(tmp_path) as bench:
        assert bench.outlines.outlined("c0") == dict.fromkeys((3, 4, 5, 6), "outlined")
        assert bench.outlines.structures("c0")[3] == (1,)  # their 6 is our 1
        assert bench.outlines.outlined("c1") == {}
        kept = bench.outlines.read("c0", 3)
        bench.outlines.write("c0", 3, drawn(3), "outlined", kept.revision)
    assert mask.read_bytes() == before
    with opened(tmp_path) as bench:  # what was drawn since stays
        np.testing.assert_array_equal(bench.outlines.read("c0", 3).mask, drawn(3))


def test_a_name_alone_takes_no_number_that_nobody_named(tmp_path) -> None:
    write_data(tmp_path / "data", 1, masks=True)
    with opened(tmp_path, labels={"liver": ("liver",)}) as bench:
        assert bench.outlines.outlined("c0") == {}
        assert "values 6" in bench.brought.why_not["c0"]
