import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.core.placement import Axis, Placement, Window
from fewmask.core.recipe import Recipe

SIDE = st.integers(1, 40)
STEP = st.floats(0.25, 4)


def _placement(
    h: int, w: int, size: int, spacing_mm: float = 1.0, voxel_mm: tuple[float, float] = (1.0, 1.0)
) -> Placement:
    return Placement.of(
        (1, h, w), (5.0, *voxel_mm), Recipe(modality="ct", size=size, spacing_mm=spacing_mm)
    )


@settings(max_examples=200, deadline=None)
@given(SIDE, SIDE, st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_equal_spacing_is_undone_to_the_bit(h: int, w: int, more: int, seed: int) -> None:
    # A square that covers the slice by whole pixels on both sides.
    size = max(h, w) + 2 * more
    w = size - 2 * ((size - w) // 2)
    h = size - 2 * ((size - h) // 2)
    image = np.random.default_rng(seed).normal(size=(2, h, w)).astype(np.float32)
    placement = _placement(h, w, size)
    placed = placement.place(image)
    top, left = (size - h) // 2, (size - w) // 2
    np.testing.assert_array_equal(placed[:, top : top + h, left : left + w], image)
    assert np.count_nonzero(placed) == np.count_nonzero(image)
    probs = np.stack([np.zeros_like(placed), placed], axis=1)
    np.testing.assert_array_equal(placement.restore(probs)[:, 1], image)


def test_odd_slices_on_an_even_grid_by_hand() -> None:
    axis = Axis(5, 4, 1.0)
    np.testing.assert_array_equal(axis.forward, np.eye(5)[:4])
    # The fifth pixel lies beyond: it takes the answer of the last one.
    np.testing.assert_array_equal(axis.backward, np.eye(4)[[0, 1, 2, 3, 3]])
    np.testing.assert_array_equal(Axis(3, 4, 1.0).forward, np.eye(4)[:, 1:])


@settings(max_examples=100, deadline=None)
@given(SIDE, SIDE, st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_any_parity_is_undone_to_the_bit(h: int, w: int, size: int, seed: int) -> None:
    """Whether the slice is larger or smaller than the grid; one pixel too many takes its
    neighbour's answer.
    """
    image = np.random.default_rng(seed).normal(size=(1, h, w)).astype(np.float32)
    placement = _placement(h, w, size)
    placed = placement.place(image)
    back = placement.restore(np.stack([np.zeros_like(placed), placed], axis=1))[0, 1]
    y, x = (np.arange(n).clip(0, size - 1 if n == size + 1 else n) for n in (h, w))
    np.testing.assert_array_equal(back, image[0][y][:, x])


@settings(max_examples=100, deadline=None)
@given(SIDE, SIDE, st.integers(4, 40), STEP, st.integers(0, 2**32 - 1))
def test_probabilities_sum_to_one_everywhere(
    h: int, w: int, size: int, step: float, seed: int
) -> None:
    placement = _placement(h, w, size, step)
    shape = (1, 3, placement.rows.target, placement.columns.target)
    probs = np.random.default_rng(seed).random(shape).astype(np.float32)
    probs /= probs.sum(1, keepdims=True)
    back = placement.restore(probs)
    assert back.shape == (1, 3, h, w)
    np.testing.assert_allclose(back.sum(1), 1, atol=1e-5)
    assert back.min() >= -1e-6


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 100), st.integers(1, 100), st.integers(4, 24), STEP)
def test_windows_miss_no_voxel(h: int, w: int, size: int, step: float) -> None:
    """Every voxel takes its answer from pixels that some window shows."""
    placement = _placement(h, w, size, step)
    for axis in (placement.rows, placement.columns):
        assert (abs(axis.backward.sum(1) - 1) < 1e-5).all()
    shown = np.zeros((placement.rows.target, placement.columns.target), int)
    for window in placement.windows:
        assert shown[window.part].shape == (size, size)
        shown[window.part] += 1
    assert shown.all() and np.array_equal(shown, shown[::-1, ::-1]), "all, and mirrored"
    begins = sorted({window.left for window in placement.windows})
    assert all(b - a <= 0.75 * size for a, b in itertools.pairwise(begins))
    fewer = size + 2 * (3 * size // 8) * (len(begins) - 2)
    assert len(begins) == 1 or placement.columns.target > fewer, "one window less would not do"


def test_windows_by_hand() -> None:
    """28 pixels under windows of 16: steps of at most 12, so two; 44 need three, 12 and 16 apart
    would be too far.
    """
    begins = {
        w: [window.left for window in _placement(16, w, 16).windows]
        for w in (8, 16, 17, 18, 28, 29, 40, 44)
    }
    assert begins == {
        8: [0],
        16: [0],
        17: [0],
        18: [0, 2],
        28: [0, 12],
        29: [0, 7, 14],
        40: [0, 12, 24],
        44: [0, 9, 19, 28],
    }
    assert len(_placement(28, 28, 16).windows) == 4
    assert _placement(28, 18, 16).middle == Window(6, 1, 16, 16)


@settings(max_examples=100, deadline=None)
@given(SIDE, SIDE, st.integers(40, 64), STEP.filter(lambda step: step >= 1), st.booleans())
def test_a_scan_that_fits_has_the_window_it_always_had(
    h: int, w: int, size: int, step: float, stretch: bool
) -> None:
    recipe = Recipe(modality="ct", size=size, spacing_mm=step, stretch=stretch)
    placement = Placement.of((1, h, w), (5.0, 1.0, 1.0), recipe)
    assert placement.windows == (Window(0, 0, size, size),) == (placement.middle,)
    assert (placement.rows.target, placement.columns.target) == (size, size)


@pytest.mark.parametrize("step", [1.0, 1.5])
def test_the_middle_window_of_a_wide_scan_shows_what_a_lone_one_did(step: float) -> None:
    """The middle of a wide slice, on the pixels of a grid that it does not fit."""
    image = np.random.default_rng(0).normal(size=(1, 61, 70)).astype(np.float32)
    placement = _placement(61, 70, 32, step)
    alone = Placement(Axis(61, 32, step), Axis(70, 32, step), 32)
    shown = placement.place(image)[placement.middle.part]
    np.testing.assert_allclose(shown, alone.place(image), atol=1e-6)


def test_a_network_that_takes_any_size_sees_a_wide_scan_in_one_piece() -> None:
    """61 x 70 pixels on a grid of 32: multiples of 32 that hold them, and every pixel comes back.
    20 x 70: only the side that does not fit grows.
    """
    recipe = Recipe(modality="ct", size=32, spacing_mm=1.0)
    image = np.random.default_rng(0).random((1, 61, 70)).astype(np.float32)
    placement = Placement.of((1, 61, 70), (5.0, 1.0, 1.0), recipe, whole=True)
    assert placement.windows == (Window(0, 0, 64, 96),)
    placed = placement.place(image)
    np.testing.assert_array_equal(placement.restore(np.stack([1 - placed, placed], 1))[:, 1], image)
    low = Placement.of((1, 20, 70), (5.0, 1.0, 1.0), recipe, whole=True)
    assert low.windows == (Window(0, 0, 32, 96),)


def test_boxes_are_cut_at_the_edge_of_a_window() -> None:
    window = Window(10, 20, 16, 16)
    boxes = np.array([[22.0, 4, 30, 12], [0, 0, 20, 40], [30, 20, 50, 50], [np.nan] * 4])
    seen = window.clip_box(boxes)
    np.testing.assert_array_equal(seen[0], [2, 0, 10, 2])
    assert np.isnan(seen[[1, 3]]).all(), "it ends where the window begins"
    np.testing.assert_array_equal(seen[2], [10, 10, 16, 16])


@settings(max_examples=100, deadline=None)
@given(SIDE, SIDE, st.integers(4, 40), STEP)
def test_constants_stay_constant_and_fill_stands_outside(
    h: int, w: int, size: int, step: float
) -> None:
    placed = _placement(h, w, size, step).place(np.full((1, h, w), 0.25, np.float32), fill=0.75)
    inside = _placement(h, w, size, step).place(np.ones((1, h, w), np.float32)) > 0.5
    np.testing.assert_allclose(placed, np.where(inside, 0.25, 0.75), atol=1e-5)


@pytest.mark.parametrize("step", [0.5, 1.0, 2.0])
def test_a_ramp_stays_a_ramp(step: float) -> None:
    # A triangle 1 or 2 pixels wide reproduces straight lines away from the border.
    axis = Axis(40, 16, step)
    ramp = np.arange(40, dtype=np.float32)
    np.testing.assert_allclose(axis.forward @ ramp, axis.to_source(np.arange(16.0)), atol=1e-4)


def test_growing_pixels_average() -> None:
    # Pixels of 2: the new centre lies between two old ones, a triangle 2 wide weighs 1/8, 3/8, 3/8,
    # 1/8.
    np.testing.assert_allclose(
        Axis(8, 4, 2.0).forward[1], [0, 0.125, 0.375, 0.375, 0.125, 0, 0, 0][:8]
    )
    checkers = np.indices((16, 16)).sum(0)[None].astype(np.float32) % 2
    placed = _placement(16, 16, 8, 2.0).place(checkers)
    np.testing.assert_allclose(placed[0, 1:-1, 1:-1], 0.5, atol=1e-6)


@settings(max_examples=200, deadline=None)
@given(
    SIDE,
    SIDE,
    st.integers(1, 300) | st.just(1024),
    STEP,
    st.booleans(),
    st.lists(st.floats(-50, 400), min_size=4, max_size=4),
)
def test_boxes_go_there_and_back(
    h: int, w: int, size: int, step: float, stretch: bool, box: list[float]
) -> None:
    recipe = Recipe(modality="ct", size=size, spacing_mm=step, stretch=stretch)
    placement = Placement.of((3, h, w), (5.0, 1.0, 1.0), recipe)
    there = placement.box_to_target(np.array(box))
    np.testing.assert_allclose(placement.box_to_source(there), box, atol=1e-6)


def test_box_by_hand() -> None:
    # 10 x 18 slice of 1 mm on 8 x 8 pixels of 2 mm: centres (9, 5) and (4, 4) coincide, edges
    # shrink by two.
    placement = _placement(10, 18, 8, 2.0)
    np.testing.assert_allclose(placement.box_to_target(np.array([9.0, 5, 13, 9])), [4, 4, 6, 6])
    np.testing.assert_allclose(
        placement.box_to_source(np.array([[0.0, 0, 8, 8]])), [[1, -3, 17, 13]]
    )
    assert np.isnan(placement.box_to_source(np.full((1, 4), np.nan))).all()
    # 20 pixels are 10 of the network's: placed whole, one more column on each side.
    wide = _placement(10, 20, 8, 2.0)
    np.testing.assert_allclose(wide.box_to_target(np.array([10.0, 5, 14, 9])), [5, 4, 7, 6])


def test_box_of_a_mask_moves_with_the_mask() -> None:
    mask = np.zeros((1, 32, 40), np.uint8)
    mask[0, 8:16, 12:20] = 1
    placement = _placement(32, 40, 20, 2.0)
    placed = placement.place_mask(mask)[0]
    rows, columns = np.flatnonzero(placed.any(1)), np.flatnonzero(placed.any(0))
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)
    np.testing.assert_allclose(placement.box_to_source(box), [12, 8, 20, 16])


@settings(max_examples=200, deadline=None)
@given(SIDE, SIDE, st.integers(4, 40), STEP, st.integers(0, 2**32 - 1))
def test_masks_get_no_new_labels(h: int, w: int, size: int, step: float, seed: int) -> None:
    mask = np.random.default_rng(seed).choice(np.array([0, 3, 200], np.uint8), (2, h, w))
    placed = _placement(h, w, size, step).place_mask(mask)
    assert placed.dtype == np.uint8
    assert set(np.unique(placed)) <= set(np.unique(mask)) | {0}


def test_a_mask_takes_the_nearest_pixel_by_hand() -> None:
    """Six pixels on four, 1.5 apart: centres at 0.25, 1.75, 3.25 and 4.75."""
    index, inside = Axis(6, 4, 1.5).nearest()
    assert index.tolist() == [0, 2, 3, 5] and inside.all()


def test_stretch_fills_the_square() -> None:
    placement = Placement.of(
        (1, 100, 50), (1.0, 1.0, 1.0), Recipe(modality="ct", size=25, stretch=True)
    )
    np.testing.assert_allclose(placement.place(np.ones((1, 100, 50), np.float32)), 1, atol=1e-5)
    np.testing.assert_allclose(placement.box_to_target(np.array([0.0, 0, 50, 100])), [0, 0, 25, 25])


def test_rounding_in_the_header_counts_as_equal() -> None:
    image = np.random.default_rng(0).normal(size=(1, 8, 8)).astype(np.float32)
    placement = _placement(8, 8, 8, 0.7, (0.70000002, 0.69999998))
    np.testing.assert_array_equal(placement.place(image), image)
