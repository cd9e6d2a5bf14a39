"""A prepared case: what is written comes back, also from files of earlier versions."""

import h5py
import numpy as np

from fewmask.core.volume import Volume
from fewmask.io.case import CaseFile, write_case
from tests.faults.corpus import AFFINE, VOXELS


def test_texts_of_a_fixed_length_and_of_earlier_versions(tmp_path) -> None:
    path = tmp_path / "case_1.h5"
    volume = Volume.from_file_order(VOXELS, AFFINE)
    write_case(path, volume, None, stamp="3f", about={"who": "Ä"})
    assert b"GCOL" not in path.read_bytes(), "no heap"
    for earlier in (False, True):
        if earlier:
            with h5py.File(path, "r+") as file:
                for name in ("stamp", "grid"):
                    file.attrs[name] = file.attrs[name].decode()
            assert b"GCOL" in path.read_bytes()
        with CaseFile(path) as case:
            assert case.stamp == "3f" and case.about == {"who": "Ä"}
            assert case.grid.as_dict() == volume.grid.as_dict()
            assert np.array_equal(case.volume().voxels, volume.voxels)
