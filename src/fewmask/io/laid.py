"""A mask of its own extent, laid onto the grid of its scan: only where every voxel falls on the
centre of one of the scan's.
"""

from dataclasses import replace

import numpy as np

from fewmask.core.volume import Grid, LabelMap

_OFF_VOXELS = 0.1


def lay_on(mask: LabelMap, grid: Grid) -> LabelMap | None:
    """The mask on `grid`, 0 where it does not reach; None where its voxels are not the scan's, or
    what it holds lies outside the scan.
    """
    to_scan = np.linalg.inv(grid.affine) @ mask.grid.affine
    steps = np.rint(to_scan[:3, :3])
    lengths = np.array(mask.grid.shape) - 1
    drift = np.abs(to_scan[:3, :3] - steps) @ lengths
    shift = np.rint(to_scan[:3, 3])
    whole = (np.abs(steps).sum(0) == 1).all() and (np.abs(steps).sum(1) == 1).all()
    off = drift + np.abs(to_scan[:3, 3] - shift)
    if not whole or off.max() > _OFF_VOXELS:
        return None
    array = mask.to_file_order()
    spots = np.argwhere(array)
    places = (spots @ steps.T + shift).astype(int)
    if (places < 0).any() or (places >= grid.shape).any():
        return None
    laid = np.zeros(grid.shape, array.dtype)
    laid[tuple(places.T)] = array[tuple(spots.T)]
    return replace(LabelMap.from_file_order(laid, grid.affine), notes=mask.notes)
