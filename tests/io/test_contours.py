"""Contours enclose the very pixels that they were drawn round."""

import numpy as np
import pytest

from fewmask.io.contours import outline
from fewmask.io.rtstruct import fill_polygon


def refilled(mask: np.ndarray) -> np.ndarray:
    back = np.zeros(mask.shape, bool)
    for contour in outline(mask):
        back ^= fill_polygon(contour, mask.shape)
    return back


def test_one_pixel_has_four_corners():
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True
    (contour,) = outline(mask)
    assert sorted(map(tuple, contour)) == [(1.5, 2.5), (1.5, 3.5), (2.5, 2.5), (2.5, 3.5)]


def test_a_hole_is_joined_by_a_keyhole():
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    (contour,) = outline(mask)
    # 4 corners outside, 4 inside, each end of the bridge twice.
    assert len(contour) == 10
    assert np.array_equal(refilled(mask), mask)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_mask_it_comes_back(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((13, 17)) < rng.uniform(0.1, 0.9)
    assert np.array_equal(refilled(mask), mask)


def test_nothing_has_no_contour():
    assert list(outline(np.zeros((3, 3), bool))) == []
