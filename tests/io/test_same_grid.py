"""A mask that lies on its scan is laid into the scan's grid, however it is stored; nothing else
is.
"""

import itertools
from pathlib import Path

import numpy as np
import pytest

from fewmask.core.errors import BadScan
from fewmask.core.volume import Grid, LabelMap
from fewmask.io.same_grid import directions_differ, lay_content, lay_on_grid

AFFINE = np.array([[-2.0, 0, 0, 40], [0, -2.0, 0, 30], [0, 0, 4.0, -100], [0, 0, 0, 1]])
SHAPE = (6, 5, 4)
SCAN = Grid(SHAPE, AFFINE)
VOXELS = np.arange(120, dtype=np.uint8).reshape(SHAPE)
FILES = (Path("scan.nii"), Path("mask.nii"))


def lay(voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    laid, notes = lay_on_grid(SCAN, LabelMap.from_file_order(voxels, affine), *FILES)
    assert laid.grid is SCAN
    return laid.to_file_order(), notes


def stored(order: tuple[int, ...], turns: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """VOXELS at their places, with the axes in another order and some of them backwards."""
    voxels, affine = VOXELS.transpose(order), AFFINE[:, [*order, 3]].copy()
    for axis in range(3):
        if turns[axis] < 0:
            affine[:3, 3] += affine[:3, axis] * (voxels.shape[axis] - 1)
            affine[:3, axis] *= -1
            voxels = np.flip(voxels, axis)
    return voxels, affine


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_all_storage_orders_give_the_same_mask(order: tuple[int, ...]) -> None:
    for turns in itertools.product((1, -1), repeat=3):
        voxels, notes = lay(*stored(order, turns))
        assert np.array_equal(voxels, VOXELS)
        if (order, turns) == ((0, 1, 2), (1, 1, 1)):
            assert notes == ()
        else:
            assert "stored in another order" in notes[0] and "cropped" not in notes[0]


def test_a_cropped_mask_is_laid_where_it_was_cut() -> None:
    """3 x 2 x 2 voxels from (1, 2, 1) on: in LPS millimetres the origin moves by 2, 4 and 4."""
    box = (slice(1, 4), slice(2, 4), slice(1, 3))
    moved = AFFINE.copy()
    moved[:3, 3] = (38, 26, -96)
    voxels, notes = lay(VOXELS[box], moved)
    wanted = np.zeros_like(VOXELS)
    wanted[box] = VOXELS[box]
    assert np.array_equal(voxels, wanted)
    assert "cropped to 3 x 2 x 2 of 6 x 5 x 4 voxels, from voxel (1, 2, 1)" in notes[0]


@pytest.mark.parametrize(
    ("cut", "change", "code"),
    [
        (slice(0, 3), (1.0, 0, 0), "M01"),  # half a voxel beside
        (slice(0, 3), (2.0, 0, 0), "M01"),  # begins before the scan does
        (slice(3, 6), (-8.0, 0, 0), "M01"),  # ends behind it
        (slice(None), (0, 0, 4.0), "M03"),  # whole, and moved by a voxel
    ],
)
def test_what_lies_elsewhere_is_refused(cut: slice, change: tuple[float, ...], code: str) -> None:
    affine = AFFINE.copy()
    affine[:3, 3] += change
    with pytest.raises(BadScan) as caught:
        lay(VOXELS[cut], affine)
    assert caught.value.code == code and "copy" not in caught.value.fix


def test_other_spacing_is_another_grid() -> None:
    with pytest.raises(BadScan) as caught:
        lay(VOXELS[::2], AFFINE @ np.diag([2.0, 1, 1, 1]))
    assert caught.value.code == "M01"


def test_rounding_of_the_header_is_taken_and_turns_nothing() -> None:
    affine = AFFINE + np.pad(np.full((3, 3), 2e-8), ((0, 1), (0, 1)))
    voxels, notes = lay(VOXELS, affine)
    assert np.array_equal(voxels, VOXELS) and notes == ()


def test_where_axes_lead_is_compared_without_places() -> None:
    assert not directions_differ(SCAN, Grid((1, 1, 1), AFFINE * [[3], [3], [3], [1]]))
    ras = Grid(SHAPE, np.diag([2.0, 2, 4, 1]))
    assert directions_differ(SCAN, ras) == "its axes lead to RAS, those of the scan to LPS"


def test_what_a_mask_holds_is_laid_though_its_empty_rim_reaches_beyond() -> None:
    """Two empty voxels around the scan are no loss; a voxel outside it is."""
    wide = np.pad(VOXELS, 2)
    affine = AFFINE.copy()
    affine[:3, 3] = (AFFINE @ [-2, -2, -2, 1])[:3]
    laid = lay_content(LabelMap.from_file_order(wide, affine), SCAN)
    assert laid is not None and np.array_equal(laid.to_file_order(), VOXELS)
    wide[0, 0, 0] = 1
    assert lay_content(LabelMap.from_file_order(wide, affine), SCAN) is None
    affine[:3, 3] += 0.8
    assert lay_content(LabelMap.from_file_order(np.pad(VOXELS, 2), affine), SCAN) is None
    empty = lay_content(LabelMap.from_file_order(np.zeros_like(VOXELS), AFFINE), SCAN)
    assert empty is not None and not empty.voxels.any()
