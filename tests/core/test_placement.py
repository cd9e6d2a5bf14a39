import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.core.placement import Axis, Placement
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
    np.testing.assert_array_equal(axis.backward, np.eye(5)[:, :4])
    np.testing.assert_array_equal(Axis(3, 4, 1.0).forward, np.eye(4)[:, 1:])


@settings(max_examples=100, deadline=None)
@given(SIDE, SIDE, st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_any_parity_is_undone_to_the_bit_where_covered(
    h: int, w: int, size: int, seed: int
) -> None:
    image = np.random.default_rng(seed).normal(size=(1, h, w)).astype(np.float32)
    placement = _placement(h, w, size)
    probs = np.stack([np.zeros((1, size, size), np.float32), placement.place(image)], axis=1)
    back = placement.restore(probs)[0, 1]
    rows, columns = (axis.backward.any(1) for axis in (placement.rows, placement.columns))
    assert rows.sum() == min(h, size)
    assert columns.sum() == min(w, size)
    np.testing.assert_array_equal(back, np.where(np.outer(rows, columns), image[0], 0))


@settings(max_examples=100, deadline=None)
@given(SIDE, SIDE, st.integers(4, 40), STEP, st.integers(0, 2**32 - 1))
def test_probabilities_sum_to_one_everywhere(
    h: int, w: int, size: int, step: float, seed: int
) -> None:
    probs = np.random.default_rng(seed).random((1, 3, size, size)).astype(np.float32)
    probs /= probs.sum(1, keepdims=True)
    back = _placement(h, w, size, step).restore(probs)
    assert back.shape == (1, 3, h, w)
    np.testing.assert_allclose(back.sum(1), 1, atol=1e-5)
    assert back.min() >= -1e-6


def test_outside_the_network_grid_is_background() -> None:
    probs = np.zeros((1, 2, 2, 2), np.float32)
    probs[:, 1] = 1
    back = _placement(4, 6, 2).restore(probs)
    np.testing.assert_array_equal(back[0, 1], np.pad(np.ones((2, 2)), ((1, 1), (2, 2))))
    np.testing.assert_array_equal(back[0, 0], 1 - back[0, 1])


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
    st.integers(1, 300),
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
    # 10 x 20 slice of 1 mm on 8 x 8 pixels of 2 mm: centres (10, 5) and (4, 4) coincide, edges
    # shrink by two.
    placement = _placement(10, 20, 8, 2.0)
    np.testing.assert_allclose(placement.box_to_target(np.array([10.0, 5, 14, 9])), [4, 4, 6, 6])
    np.testing.assert_allclose(
        placement.box_to_source(np.array([[0.0, 0, 8, 8]])), [[2, -3, 18, 13]]
    )
    assert np.isnan(placement.box_to_source(np.full((1, 4), np.nan))).all()


def test_box_of_a_mask_moves_with_the_mask() -> None:
    mask = np.zeros((1, 32, 40), np.uint8)
    mask[0, 8:16, 12:20] = 1
    placement = _placement(32, 40, 20, 2.0)
    placed = placement.place_mask(mask)[0]
    rows, columns = np.flatnonzero(placed.any(1)), np.flatnonzero(placed.any(0))
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)
    np.testing.assert_allclose(placement.box_to_source(box), [12, 8, 20, 16])


@settings(max_examples=100, deadline=None)
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
