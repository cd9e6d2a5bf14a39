"""Looking up and searching give the distances of one tree of all targets, to the bit; surfaces and
boxes are those of scipy.
"""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from fewmask.evaluate import nearest
from fewmask.evaluate.nearest import nearest_mm
from fewmask.evaluate.scores import score_case
from fewmask.evaluate.surfaces import surface, surface_distances, union_box

SPACINGS = [(1.0, 1.0, 1.0), (1.5, 0.7421875, 0.7421875), (5.0, 0.6, 0.9), (0.3, 3.1, 1.7)]


def blobs(seed: int, shape: tuple[int, ...], sigma: float = 2.0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(shape)
    result: np.ndarray = ndimage.gaussian_filter(noise, sigma) > 0.02
    return result


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", [0, 1])
def test_near_and_far_as_one_tree_of_all(spacing, seed, monkeypatch) -> None:
    monkeypatch.setattr(nearest, "_FEW", 0)
    shape = (18, 40, 36)
    points = np.argwhere(surface(blobs(seed, shape)))
    targets = np.argwhere(surface(blobs(seed + 9, shape)))
    # Of a corner only: most points are far from every target.
    corner = targets[(targets < 12).all(1)]
    for some in (targets, corner, targets[:1]):
        tree = cKDTree(some * np.array(spacing))
        expected = tree.query(points * np.array(spacing))[0]
        assert np.array_equal(nearest_mm(points, some, shape, spacing), expected)


def test_in_two_dimensions_and_by_hand(monkeypatch) -> None:
    """From (0, 0) at 2 x 3 mm: 2 rows down are 4 mm, one column across 3 mm, far corner 40 and 60
    mm.
    """
    monkeypatch.setattr(nearest, "_FEW", 0)
    here, grid = np.array([[0, 0]]), (30, 30)
    for targets, apart in (([[2, 0]], 4.0), ([[2, 0], [0, 1]], 3.0), ([[20, 20]], 5200**0.5)):
        assert nearest_mm(here, np.array(targets), grid, (2.0, 3.0)) == pytest.approx([apart])


def test_a_nearer_voxel_outside_the_neighbours_is_not_missed(monkeypatch) -> None:
    """At 9 x 1 mm, ten columns across (10 mm) are nearer than two rows down (18 mm), though rows
    are looked up and the tenth column is not.
    """
    monkeypatch.setattr(nearest, "_FEW", 0)
    found = nearest_mm(np.array([[0, 0]]), np.array([[2, 0], [0, 10]]), (5, 20), (9.0, 1.0))
    assert found.tolist() == [10.0]


@pytest.mark.parametrize("shape", [(9, 20, 20), (20, 20)])
def test_surfaces_as_by_erosion_and_boxes_as_found(shape) -> None:
    mask = blobs(3, shape)
    assert np.array_equal(surface(mask), mask & ~ndimage.binary_erosion(mask))
    small = np.zeros([side + 8 for side in shape], np.uint8)
    small[tuple(slice(3, -5) for _ in shape)] = mask * 7
    (found,) = ndimage.find_objects((small > 0).astype(np.uint8))
    assert union_box(small) == tuple(slice(s.start - 1, s.stop + 1) for s in found)
    assert union_box(np.zeros(shape)) == (slice(0),) * len(shape)


def test_looking_up_changes_no_score(monkeypatch) -> None:
    pred, truth = blobs(1, (20, 48, 48)).astype(np.uint8), blobs(2, (20, 48, 48)).astype(np.uint8)
    pred[:, :20], truth[:, :22] = 0, 0
    assert np.count_nonzero(surface(pred > 0)) > nearest._FEW
    looked_up = score_case("a", pred, truth, SPACINGS[1], ["x"])
    distances = surface_distances(pred > 0, truth > 0, SPACINGS[1])
    monkeypatch.setattr(nearest, "_FEW", 10**9)
    searched = surface_distances(pred > 0, truth > 0, SPACINGS[1])
    assert np.array_equal(distances.pred_to_truth_mm, searched.pred_to_truth_mm)
    assert score_case("a", pred, truth, SPACINGS[1], ["x"]) == looked_up
