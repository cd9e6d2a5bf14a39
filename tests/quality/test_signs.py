"""Signs of masks that can be counted by hand."""

import numpy as np
import pytest

from fewmask.quality.signs import Signs, Sure, mean_in, read_signs


def block() -> np.ndarray:
    """Slices 1 and 2 hold 4 x 4 voxels, slice 4 holds one: 33 voxels in two pieces."""
    labels = np.zeros((6, 10, 10), np.uint8)
    labels[1:3, 3:7, 3:7] = 1
    labels[4, 3, 3] = 1
    return labels


def test_form_is_counted() -> None:
    (one,) = read_signs(block(), 1, voxel_ml=0.5)
    assert (one.ml, one.pieces, one.pieces_ml) == (16.5, 2, (16.0, 0.5))
    assert (one.first, one.last, one.gaps, one.at_end) == (1, 4, 1, False)
    assert one.likeness == pytest.approx((1 + 0 + 0) / 3)
    assert one.expected is None and one.unsure is None and one.outside_tags is None


def test_slices_are_counted_as_the_file_counts_them() -> None:
    (one,) = read_signs(block(), 1, 1.0, flipped=True)
    assert (one.first, one.last) == (1, 4)  # 6 slices: 5 - 4 and 5 - 1
    labels = block()
    labels[4] = 0
    (one,) = read_signs(labels, 1, 1.0, flipped=True)
    assert (one.first, one.last) == (3, 4)


def test_expected_dice_is_that_of_the_probabilities() -> None:
    """All 33 voxels at 0.8, nothing elsewhere: 2 x 26.4 / (26.4 + 33)."""
    labels = block()
    confidence = np.where(labels == 1, 204, 255).astype(np.uint8)
    mass = np.array([[0], [12.8], [12.8], [0], [0.8], [0]])
    (one,) = read_signs(labels, 1, 1.0, Sure(confidence, mass, labels))
    assert one.expected == pytest.approx(2 * 26.4 / (26.4 + 33))
    assert one.removed == 0
    assert 0.8 < (one.border or 0) < 1
    assert one.doubt == pytest.approx(-0.8 * np.log2(0.8) - 0.2 * np.log2(0.2))
    sure = Sure(np.full(labels.shape, 255, np.uint8), mass / 0.8, labels)
    (one,) = read_signs(labels, 1, 1.0, sure)
    assert one.expected == pytest.approx(1) and one.doubt == 0


def test_what_clean_up_took_away_counts_against_a_mask() -> None:
    drawn, labels = block(), block()
    labels[4] = 0
    sure = Sure(np.full(labels.shape, 255, np.uint8), drawn.sum((1, 2))[:, None] * 1.0, drawn)
    (one,) = read_signs(labels, 1, 1.0, sure)
    assert one.removed == pytest.approx(1 / 33)
    assert one.expected == pytest.approx(2 * 32 / (33 + 32))


def test_an_empty_structure_has_nothing_but_doubts() -> None:
    empty = np.zeros((4, 5, 5), np.uint8)
    present = np.array([[0.9], [0.1], [0.1], [0.1]])
    one, other = read_signs(empty, 2, 1.0, present=np.c_[present, present * 0], tags=[(1, 2), None])
    assert (one.ml, one.first, one.last, one.pieces) == (0, None, None, 0)
    assert (one.unsure, one.short_of_tags, one.outside_tags) == (0.25, 2, 0)
    assert (other.unsure, other.short_of_tags) == (0, None)


def test_tags_are_compared() -> None:
    (one,) = read_signs(block(), 1, 1.0, tags=[(2, 5)])
    assert (one.outside_tags, one.short_of_tags) == (1, 1)


def test_grey_levels_are_added_up_per_class() -> None:
    sums, counts = mean_in(np.array([[0, 1], [1, 2]], np.uint8), np.array([[1.0, 2], [4, 8]]), 2)
    assert sums.tolist() == [1, 6, 8] and counts.tolist() == [1, 2, 1]


@pytest.mark.parametrize("fill", [0, 1, 2])
def test_no_mask_is_too_odd_for_signs(fill) -> None:
    """Nothing, everything, all of another structure: no number is NaN, since JSON has none."""
    labels = np.full((2, 3, 4), fill, np.uint8)
    mass = np.stack([(labels == n).sum((1, 2)) for n in (1, 2)], 1).astype(float)
    sure = Sure(np.full(labels.shape, 255, np.uint8), mass, labels)
    for one in read_signs(labels, 2, 0.001, sure, None, None, False):
        numbers = [value for value in vars(one).values() if isinstance(value, float)]
        assert np.isfinite(numbers).all()
    assert one.border is None


def test_signs_come_back_from_plain_data() -> None:
    (one,) = read_signs(block(), 1, 1.0)
    assert Signs.from_dict({**one.as_dict(), "pieces_ml": [32.0, 1.0]}) == one
    with pytest.raises(TypeError, match="colour"):
        Signs.from_dict({"colour": 1})
