"""Whatever happens to a file, it is read, or refused with its name and a fix; nothing else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fewmask.core.errors import FewmaskError
from fewmask.io.dicom import read_series
from fewmask.io.image import read_grid, read_labels, read_names, read_volume
from tests.io.test_dicom import write_series
from tests.io.test_dicommask import box, pixels, write_seg, write_struct
from tests.io.test_metaimage import write as write_mha
from tests.io.test_multiframe import write_enhanced
from tests.io.test_nrrd import ARRAY, segmentation
from tests.io.test_nrrd import write as write_nrrd

FRAMES = [(1, 1, pixels((0, 1))), (2, 2, pixels((0, 0)))]
MAKERS: dict[str, Callable[[Path], Path]] = {
    "a.nrrd": write_nrrd,
    "a.mha": write_mha,
    "b.nrrd": lambda path: segmentation(path, [ARRAY > 3, ARRAY > 9], [("a", 0, 1), ("b", 1, 1)]),
    "s.dcm": lambda path: write_seg(path, FRAMES, ("liver", "spleen")),
    "r.dcm": lambda path: write_struct(path, [("liver", [box((-10, -20), (-9, -19), 32)])]),
}


def damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, cut out, doubled, or the end lost."""
    data = bytearray(whole)
    for _ in range(int(rng.integers(1, 4))):
        data = data or bytearray(b"x")
        at = int(rng.integers(0, len(data)))
        kind = rng.integers(0, 4)
        if kind == 0:
            data[at] = int(rng.integers(0, 256))
        elif kind == 1:
            del data[at : at + int(rng.integers(1, 30))]
        elif kind == 2:
            data[at:at] = data[at : at + int(rng.integers(1, 30))]
        else:
            data = data[: max(1, at)]
    return bytes(data or b"x")


@pytest.mark.parametrize("name", MAKERS)
def test_damage_is_refused_or_harmless(tmp_path, name):
    path = MAKERS[name](tmp_path / name)
    whole = path.read_bytes()
    rng = np.random.default_rng(7)
    grid = read_series(
        write_series(tmp_path / "scan", np.arange(60, dtype=np.int16).reshape(5, 3, 4))
    ).grid
    refused = 0
    for _ in range(150):
        path.write_bytes(damaged(whole, rng))
        for read in (read_grid, read_volume, read_names, lambda p: read_labels(p, grid=grid)):
            try:
                read(path)
            except FewmaskError as error:
                refused += 1
                assert error.fix, error
    assert refused > 50


def test_a_damaged_file_of_frames_is_refused_or_harmless(tmp_path):
    folder = write_enhanced(tmp_path / "one")
    whole = (folder / "all").read_bytes()
    rng = np.random.default_rng(7)
    for _ in range(150):
        (folder / "all").write_bytes(damaged(whole, rng))
        try:
            read_series(folder)
        except FewmaskError as error:
            assert error.fix, error
