"""The Python door: what it refuses, and that names of files may be text. Its lines in the README
are in test_readme.py.
"""

import shutil
from typing import cast

import numpy as np
import pytest

import fewmask
from fewmask.api import LoadedRun
from fewmask.core.errors import BadConfig, BadDataset
from fewmask.core.volume import LabelMap
from fewmask.io.nifti import read_labels
from fewmask.io.prepared import Prepared
from fewmask.predict import Predicts
from tests.predict.test_folder import Nothing
from tests.scans import write_scans


def test_no_scan_is_chosen_for_you(tmp_path) -> None:
    cases = write_scans(tmp_path / "scans", 2)
    images, run = tmp_path / "scans" / "images", LoadedRun(cast(Predicts, Nothing()))
    with pytest.raises(BadConfig, match="2 scans in"):
        run.predict(images)
    assert run.predict(images / f"{cases[0]}.nii.gz").voxels.shape == (8, 32, 32)
    shutil.copy(images / "case_00.nii.gz", images / "CASE_00.nii.gz")
    with pytest.raises(BadDataset, match="the same case"):  # and not the one scan that is left
        run.predict(images)


def test_a_file_is_replaced_only_if_asked_for(tmp_path) -> None:
    write_scans(tmp_path / "scans", 1)
    path = tmp_path / "scans" / "labels" / "case_00.nii.gz"
    mask = read_labels(path)
    empty = LabelMap(np.zeros_like(mask.voxels), mask.grid)
    with pytest.raises(BadConfig, match="a file already"):
        fewmask.save(empty, path)
    assert read_labels(path).voxels.any()
    fewmask.save(empty, path, overwrite=True)
    assert not read_labels(path).voxels.any()


@pytest.mark.parametrize("table", [True, False])
def test_patients_are_a_table_or_a_pattern(tmp_path, table) -> None:
    cases = write_scans(tmp_path / "scans", 2)
    (tmp_path / "p.csv").write_text("case,patient\n" + "".join(f"{case},0\n" for case in cases))
    source = str(tmp_path / "p.csv") if table else "case_(.)"
    data = fewmask.open(tmp_path / "scans")
    data.prepare(tmp_path / "prepared", labels={"liver": (6,)}, patients=source)
    assert set(Prepared.open(tmp_path / "prepared").patients.values()) == {"0"}
