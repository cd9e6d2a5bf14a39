"""Volumes as the left-atrium and SSL4MIS repositories share them: read, placed, listed; damaged
ones refused.
"""

from typing import Any

import h5py
import numpy as np
import pytest

from fewmask.core.errors import BadConfig, BadDataset
from fewmask.io.nifti import read_labels, read_volume
from fewmask.io.prepared import read_split
from fewmask.io.ssl4mis import find_volumes
from fewmask.prepare.convert import import_volumes
from tests.cli.test_commands import fewmask

IDS = ["B7", "A1", "C3"]


def write(path, seed: int, **changes) -> None:
    rng = np.random.default_rng(seed)
    data: dict[str, Any] = {
        "image": rng.normal(size=(12, 10, 8)).astype(np.float32),
        "label": np.zeros((12, 10, 8), np.uint8),
    } | changes
    data["label"][3:7, 2:6, 1 + seed : 4 + seed] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in data.items():
            file.create_dataset(name, data=array, compression="gzip")


@pytest.fixture
def atrium(tmp_path):
    folder = tmp_path / "data" / "2018LA_Seg_Training Set"
    for seed, case in enumerate(IDS):
        write(folder / case / "mri_norm2.h5", seed)
    (tmp_path / "data" / "train.list").write_text("B7\nA1\n")
    (tmp_path / "data" / "test.list").write_text("C3\n")
    return folder


def test_the_left_atrium_comes_with_its_spacing_and_its_lists(atrium, tmp_path) -> None:
    assert sorted(import_volumes(atrium, tmp_path / "out", None)) == sorted(IDS)
    volume, mask = (
        kind(tmp_path / "out" / part / "B7.nii.gz")
        for kind, part in ((read_volume, "images"), (read_labels, "labels"))
    )
    assert volume.shape == mask.shape == (8, 10, 12) and volume.spacing_mm == pytest.approx(
        (0.625,) * 3
    )
    assert [d for d in range(8) if mask.voxels[d].any()] == [1, 2, 3] and int(
        mask.voxels.sum()
    ) == 4 * 4 * 3
    split = read_split(tmp_path / "out" / "split.toml")
    assert split.train == ("B7", "A1") and split.test == ("C3",), "in the order of the lists"


def test_plain_files_need_a_spacing(tmp_path) -> None:
    write(tmp_path / "in" / "case1.h5", 0)
    with pytest.raises(BadConfig, match="no voxel sizes"):
        import_volumes(tmp_path / "in", tmp_path / "out", None)
    with pytest.raises(BadConfig, match="which of their axes are the slices"):
        import_volumes(tmp_path / "in", tmp_path / "out", (1.0, 1.0, 2.0))
    done = fewmask(
        "convert",
        tmp_path / "in",
        "--out",
        tmp_path / "out",
        "--spacing",
        "1 1 2",
        "--order",
        "whd",
    )
    assert done.returncode == 0 and "fewmask prepare" in done.stdout + done.stderr
    assert read_volume(tmp_path / "out" / "images" / "case1.nii.gz").spacing_mm == pytest.approx(
        (2, 1, 1)
    )


@pytest.mark.parametrize(
    ("flag", "value", "source", "message"),
    [
        ("--order", "dhw", "in/case1.h5", "for folders of HDF5 volumes"),
        ("--part", "test", "in", "for a prepared dataset"),
        ("--part", "test", "in/case1.h5", "for a prepared dataset"),
    ],
)
def test_a_flag_that_nothing_would_read_is_refused(flag, value, source, message, tmp_path) -> None:
    write(tmp_path / "in" / "case1.h5", 0)
    done = fewmask(
        "convert", tmp_path / source, "--out", tmp_path / "out", flag, value, "--spacing", "1 1 2"
    )
    assert done.returncode == 2 and message in done.stderr and not (tmp_path / "out").exists()


def test_slices_may_come_first(tmp_path) -> None:
    """As in ACDC: 12 slices of 10 rows and 8 columns; label 1 in slices 3 to 6, rows 2 to 5,
    columns 1 to 3.
    """
    write(tmp_path / "in" / "case1.h5", 0)
    import_volumes(tmp_path / "in", tmp_path / "out", (1.0, 2.0, 10.0), "dhw")
    volume = read_volume(tmp_path / "out" / "images" / "case1.nii.gz")
    mask = read_labels(tmp_path / "out" / "labels" / "case1.nii.gz").voxels
    assert volume.shape == mask.shape == (12, 10, 8) and volume.spacing_mm == pytest.approx(
        (10, 2, 1)
    )
    d, h, w = np.nonzero(mask)
    assert (d.min(), d.max(), h.min(), h.max(), w.min(), w.max()) == (3, 6, 2, 5, 1, 3)
    with h5py.File(tmp_path / "in" / "case1.h5") as file:
        assert np.array_equal(volume.intensities(), file["image"][...])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": np.zeros((3, 3, 3), np.uint8)}, "one shape"),
        ({"label": np.full((12, 10, 8), 300)}, "0 to 254"),
    ],
)
def test_bad_files_are_refused(tmp_path, changes, message) -> None:
    write(tmp_path / "in" / "case1.h5", 0, **changes)
    with pytest.raises(BadDataset, match=message):
        import_volumes(tmp_path / "in", tmp_path / "out", (1.0, 1.0, 1.0), "whd")


def test_a_list_that_names_what_is_not_there_is_refused(atrium, tmp_path) -> None:
    (tmp_path / "data" / "test.list").write_text("C3\nD4\n")
    with pytest.raises(BadDataset, match="1 scan not here"):
        import_volumes(atrium, tmp_path / "out", None)
    with pytest.raises(BadDataset, match="no HDF5 volumes"):
        import_volumes(tmp_path, tmp_path / "out2", None)


@pytest.mark.parametrize("ending", ["list", "txt"])
def test_lists_of_three_parts_are_read_in_both_spellings(tmp_path, ending) -> None:
    """As ACDC (`.list`) and BraTS (`.txt`) come; what follows a comma is no name."""
    for seed, case in enumerate(("a_1", "b_2", "c_3")):
        write(tmp_path / "data" / f"{case}.h5", seed)
    for part, text in (("train", "b_2\n"), ("val", "a_1.h5,155\n\n"), ("test", "c_3,155\n")):
        (tmp_path / f"{part}.{ending}").write_text(text)
    assert find_volumes(tmp_path / "data").lists == {
        "train": ["b_2"],
        "val": ["a_1"],
        "test": ["c_3"],
    }


def test_two_lists_of_one_part_are_refused(atrium, tmp_path) -> None:
    (tmp_path / "data" / "train.txt").write_text("B7\n")
    with pytest.raises(BadDataset, match=r"train\.list and train\.txt both"):
        find_volumes(atrium)
    (atrium / "train.txt").write_text("A1\n")
    assert find_volumes(atrium).lists["train"] == ["A1"], (
        "the folder's own goes before that of the folder above"
    )
