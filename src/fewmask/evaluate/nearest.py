"""From points of a grid to the nearest voxel of a set: what lies close is looked up, what lies far
is searched for in a tree, and both give the same bits.
"""

import itertools
import math

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy.spatial import cKDTree

_REACH = 4
"""Steps along an axis that neighbours may be away."""
_MOST = 128
"""Neighbours looked up; those beyond are rarer than a search is slow."""
_FEW = 2000
"""Fewer points than this are searched for at once: looking up has its price too."""
_SAME = 1e-9
"""Distances nearer to each other than this, relatively, may be one, rounded differently."""


def nearest_mm(
    points: Integer[np.ndarray, "n axes"],
    targets: Integer[np.ndarray, "m axes"],
    shape: tuple[int, ...],
    spacing_mm: tuple[float, ...],
) -> Float[np.ndarray, " n"]:
    """Distance in mm from each point to the nearest target.

    Both are voxels of a grid of this shape, in 2D or 3D, and there is a target at least;
    `spacing_mm` is the voxel size along its axes. The result is what a tree of all targets gives,
    to the bit.
    """
    scale = np.array(spacing_mm, float)
    distances = np.full(len(points), math.inf)
    far = np.arange(len(points))
    if len(points) >= _FEW:
        distances = _look_up(points, _drawn(targets, shape), scale)
        far = np.flatnonzero(np.isinf(distances))
    if len(far):
        # Built in half the time of a balanced tree, and as fast here.
        tree = cKDTree(targets * scale, balanced_tree=False, compact_nodes=False)
        distances[far] = tree.query(points[far] * scale)[0]
    return distances


def _drawn(points: Integer[np.ndarray, "m axes"], shape: tuple[int, ...]) -> Bool[np.ndarray, "*g"]:
    """The points on their grid, with a border as wide as neighbours reach."""
    grid = np.zeros([side + 2 * _REACH for side in shape], bool)
    grid[tuple((points + _REACH).T)] = True
    return grid


def _look_up(
    points: Integer[np.ndarray, "n axes"],
    grid: Bool[np.ndarray, "*g"],
    scale: Float[np.ndarray, " axes"],
) -> Float[np.ndarray, " n"]:
    """Distances to the nearest target among the neighbours; infinite where none is one."""
    distances = np.full(len(points), math.inf)
    held, steps = grid.ravel(), np.array(grid.strides)  # of bytes, so of voxels
    left, places = np.arange(len(points)), (points + _REACH) @ steps
    for ring in _rings(scale):
        found = np.zeros(len(left), bool)
        for offset in ring:
            hit = held[places + int(offset @ steps)]
            here = left[hit]
            apart = _apart_mm(points[here], offset, scale)
            distances[here] = np.minimum(distances[here], apart)
            found |= hit
        left, places = left[~found], places[~found]
        if not len(left):
            break
    return distances


def _rings(scale: Float[np.ndarray, " axes"]) -> list[Integer[np.ndarray, "k axes"]]:
    """Offsets to neighbours, nearest first, those of one distance together; none is left out that
    is nearer than another.
    """
    steps = range(-_REACH, _REACH + 1)
    offsets = np.array(list(itertools.product(steps, repeat=len(scale))))
    distances = np.sqrt(((offsets * scale) ** 2).sum(1))
    order = np.argsort(distances, kind="stable")
    offsets, distances = offsets[order], distances[order]
    starts = [0, *(np.flatnonzero(np.diff(distances) > _SAME * distances[1:]) + 1)]
    # Beyond the smallest step out of the cube, neighbours outside it may be nearer.
    complete = (_REACH + 1) * scale.min() * (1 - _SAME)
    return [
        offsets[start:stop]
        for start, stop in itertools.pairwise([*starts, len(offsets)])
        if distances[stop - 1] < complete and start < _MOST
    ]


def _apart_mm(
    points: Integer[np.ndarray, "k axes"],
    offset: Integer[np.ndarray, " axes"],
    scale: Float[np.ndarray, " axes"],
) -> Float[np.ndarray, " k"]:
    """As the tree computes it, axis by axis from positions in mm, so that roundings agree."""
    squared = np.zeros(len(points))
    for axis, step in enumerate(scale):
        apart = points[:, axis] * step - (points[:, axis] + offset[axis]) * step
        squared += apart * apart
    return np.sqrt(squared)
