"""SAM-Mix HDF5 files, both ways, and row H05."""

import h5py
import numpy as np
import pytest

from fewmask.core.errors import BadDataset
from fewmask.io.samix import export_samix, read_samix


def _slices(n=4, side=8):
    for k in range(n):
        mask = np.zeros((side, side), np.uint8)
        mask[:k, :k] = 1
        yield np.full((side, side), -160.0 + 100 * k, np.float32), mask


def test_values_are_those_of_the_papers_script(tmp_path):
    hu = np.array([[-160, 240], [-1000, 3000]], np.float32)
    export_samix(tmp_path / "a.h5", [(hu, np.array([[0, 2], [0, 1]], np.uint8))])
    with h5py.File(tmp_path / "a.h5") as file:
        stored = file["Slice0/Slice"][:]
        assert stored.dtype == np.float16
        assert stored.min() == pytest.approx(0.3267, abs=5e-5)  # the range of the released script
        assert stored.max() == pytest.approx(0.3718, abs=5e-5)
        assert file["Slice0"].attrs["ImageLabel"] == 1


def test_186_grey_levels_survive(tmp_path):
    hu = np.arange(-160, 241, dtype=np.float32)[None]
    export_samix(tmp_path / "a.h5", [(hu, np.zeros((1, 401), np.uint8))])
    back = read_samix(tmp_path / "a.h5").images[0]
    assert len(np.unique(back)) == 186
    assert np.abs(back - hu).max() < 2.5


def test_round_trip(tmp_path):
    assert export_samix(tmp_path / "a.h5", _slices()) == 4
    found = read_samix(tmp_path / "a.h5")
    assert found.numbers == (0, 1, 2, 3)
    assert found.image_labels.tolist() == [0, 1, 1, 1]
    assert found.masks.sum(axis=(1, 2)).tolist() == [0, 1, 4, 9]
    assert np.abs(found.images.mean(axis=(1, 2)) - [-160, -60, 40, 140]).max() < 2.5
    assert found.problems == ()


def test_faults_are_listed_by_slice(tmp_path):  # H05
    path = tmp_path / "a.h5"
    export_samix(path, _slices(8))
    with h5py.File(path, "r+") as file:
        del file["Slice2"], file["Slice3/Segmentation"], file["Slice4"].attrs["ImageLabel"]
        file["Slice5"].attrs["ImageLabel"] = 0
        file["Slice6/Slice"][:] = 40.0
        del file["Slice7/Segmentation"]
        file["Slice7/Segmentation"] = np.zeros((4, 4), np.uint8)
    found = read_samix(path)
    assert found.numbers == (0, 1, 4, 5)
    assert found.image_labels.tolist() == [0, 1, -1, 0]
    assert [problem.what.split(":")[0] for problem in found.problems] == [
        "Slice2",
        "Slice3",
        "Slice4",
        "Slice5",
        "Slice6",
        "Slice7",
    ]
    assert "Segmentation is missing" in found.problems[1].what
    assert "mask is not empty" in found.problems[3].what
    assert {problem.code for problem in found.problems} == {"H05"}


def test_label_on_a_dataset_and_numbers_from_one(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for n in (1, 2):
            file[f"Slice{n}/Slice"] = np.full((4, 4), 0.33, np.float16)
            file[f"Slice{n}/Segmentation"] = np.ones((4, 4))
            file[f"Slice{n}/Segmentation"].attrs["ImageLabel"] = 1.0
    found = read_samix(tmp_path / "a.h5")
    assert found.numbers == (1, 2)
    assert found.image_labels.tolist() == [1, 1]
    assert found.problems == ()


def test_nothing_usable(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = np.zeros((4, 4))
    with pytest.raises(BadDataset, match=r"no usable slice"):
        read_samix(tmp_path / "a.h5")
    with pytest.raises(BadDataset, match=r"no slice to export"):
        export_samix(tmp_path / "b.h5", [])
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_links_are_refused(tmp_path):  # H03
    export_samix(tmp_path / "a.h5", _slices())
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["Slice9"] = h5py.SoftLink("/Slice1")
    with pytest.raises(BadDataset) as caught:
        read_samix(tmp_path / "a.h5")
    assert caught.value.code == "H03"
