"""What the first version offered still works, and says what to use instead."""

import numpy as np
import pytest

import fewmask
from fewmask.core.errors import BadConfig
from fewmask.core.volume import LabelMap
from fewmask.io.nifti import read_labels
from fewmask.io.prepared import Prepared
from tests.scans import write_scans


def test_open_still_prepares(tmp_path) -> None:
    write_scans(tmp_path / "scans", 2)
    with pytest.warns(DeprecationWarning, match=r"use fewmask.check\(folder\)"):
        data = fewmask.open(tmp_path / "scans")
    assert len(data.check(labels={"liver": (6,)}).cases) == 2
    data.prepare(tmp_path / "prepared", labels={"liver": (6,)}, recipe="ct")
    assert Prepared.open(tmp_path / "prepared").classes == ("liver",)


def test_save_replaces_only_if_asked_for(tmp_path) -> None:
    write_scans(tmp_path / "scans", 1)
    path = tmp_path / "scans" / "labels" / "case_00.nii.gz"
    mask = read_labels(path)
    empty = LabelMap(np.zeros_like(mask.voxels), mask.grid)
    with pytest.warns(DeprecationWarning), pytest.raises(BadConfig, match="a file already"):
        fewmask.save(empty, path)
    assert read_labels(path).voxels.any()
    with pytest.warns(DeprecationWarning, match="mask.save"):
        fewmask.save(empty, path, overwrite=True)
    assert not read_labels(path).voxels.any()
