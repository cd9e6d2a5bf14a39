"""Numbers that are no Hounsfield units are told by what they look like, and mended by what a person
declares.
"""

import numpy as np
import pytest

from fewmask.core.errors import BadConfig, BadScan
from fewmask.core.volume import Volume
from fewmask.prepare.intensity import Wanted, check_intensity, declare, intensity_notes


def scan(array: np.ndarray) -> Volume:
    return Volume.from_file_order(array, np.diag([-1.0, -1, 3, 1]))


def body() -> np.ndarray:
    """HU: air around a body of 40, with fat, an organ and bone."""
    hu = np.full((16, 16, 4), -1000, np.int16)
    hu[3:13, 3:13] = 40
    hu[3:13, 3] = -100
    hu[6:9, 6:9] = 130
    hu[10, 10] = 700
    return hu


HU = body()
OFFSET = (HU + 1024).astype(np.uint16)
WRAPPED = HU.astype(np.uint16)
WINDOWED = ((np.clip(HU, -160, 240) + 160) / 400).astype(np.float32)
MR = np.random.default_rng(0).gamma(2, 300, (16, 16, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("array", "wanted", "said"),
    [
        (HU, "ct", ""),
        (HU, "auto", ""),
        (HU, "mr", "looks like CT"),
        (OFFSET, "ct", "`intensity=offset`"),
        (OFFSET, "auto", "`intensity=offset`"),
        (OFFSET, "mr", ""),
        (WRAPPED, "ct", "`intensity=wrapped`"),
        (WRAPPED, "auto", "`intensity=wrapped`"),
        (WINDOWED, "ct", "scaled to 0..1? Hounsfield units are needed; for a window of -160..240"),
        (WINDOWED, "auto", ""),
        (np.round(WINDOWED * 255).astype(np.uint8), "ct", "scaled to 0..255"),
        (MR, "ct", "not like Hounsfield units"),
        (MR, "auto", ""),
        (MR, "mr", ""),
    ],
)
def test_what_numbers_look_like(array: np.ndarray, wanted: Wanted, said: str) -> None:
    notes = intensity_notes(scan(array), wanted)
    assert [said in note and note.startswith("N38: ") for note in notes] == [True] * bool(said)


@pytest.mark.parametrize(
    ("array", "intensity"),
    [(OFFSET, "offset"), (OFFSET, "1 -1024"), (WRAPPED, "wrapped"), (OFFSET, "1, -1024")],
)
def test_what_was_declared_gives_hounsfield_units(array: np.ndarray, intensity: str) -> None:
    mended = declare(scan(array), intensity, "x")
    assert np.array_equal(mended.intensities(), scan(HU).intensities())
    assert not intensity_notes(mended, "ct") and intensity in mended.notes[0]


def test_a_window_is_undone_up_to_what_it_cut_off() -> None:
    mended = declare(scan(WINDOWED), "400 -160", "x").intensities()
    assert np.allclose(mended, np.clip(scan(HU).intensities(), -160, 240), atol=1e-3)


def test_hounsfield_units_are_left_alone() -> None:
    """One flag for a folder of which only some scans need it."""
    left = declare(scan(HU), "offset", "x")
    assert np.array_equal(left.intensities(), scan(HU).intensities()) and "already" in left.notes[0]
    assert declare(scan(OFFSET), None, "x").notes == ()


def test_what_cannot_be_meant_is_refused() -> None:
    for text in ("mr", "0 5", "-1 0", "1", "1 2 3", "nan 0", ""):
        with pytest.raises(BadConfig, match="`intensity`"):
            check_intensity(text)
    with pytest.raises(BadScan, match="whole numbers from 0 to 65535") as caught:
        declare(scan(WINDOWED), "wrapped", "a.nii")
    assert "a.nii" in str(caught.value)
