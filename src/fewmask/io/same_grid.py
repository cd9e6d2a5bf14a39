"""Does a mask lie on the grid of its scan? Never decided by shape alone, never mended silently."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fewmask.core.errors import BadScan
from fewmask.core.volume import Grid


def check_same_grid(scan: Grid, mask: Grid, scan_path: Path, mask_path: Path) -> tuple[str, ...]:
    """Raise `BadScan` unless the mask lies on the scan's grid: shape (M01), spacing (M02), all
    corners within 0.5 voxel (M03).

    Returns a note where corners differ by more than 0.01 voxel.
    """
    lines: tuple[str, ...] = (
        f"scan  {scan_path}   {_describe(scan)}",
        f"mask  {mask_path}   {_describe(mask)}",
    )
    fix = (
        "look at both; if they fit only when headers are ignored, write a copy of the mask "
        "with the scan's header: `fewmask check` with `copy_header=CASE` and `out=DIR`"
    )
    if scan.shape != mask.shape:
        if sorted(scan.shape) == sorted(mask.shape):
            order = _permutation(scan.shape, mask.shape)
            lines = (*lines, f"the mask's axes are the scan's in the order {order}")
        fix = "save the mask again on the grid of this scan (is it the mask of another scan?)"
        raise BadScan("scan and mask differ in shape", where=lines, fix=fix, code="M01")
    apart = scan.distance_voxels(mask)
    ratio = np.abs(np.array(mask.spacing_mm) / np.array(scan.spacing_mm) - 1).max()
    if ratio > 0.01 or (apart > 0.5 and ratio > 1e-3):
        raise BadScan("scan and mask differ in spacing", where=lines, fix=fix, code="M02")
    if apart > 0.5:
        where = (*lines, f"corners lie up to {apart:.1f} voxels apart{_sign_flip(scan, mask)}")
        raise BadScan("scan and mask are not on the same grid", where=where, fix=fix, code="M03")
    return (f"M03: corners of scan and mask differ by {apart:.2f} voxel",) if apart > 0.01 else ()


def _describe(grid: Grid) -> str:
    shape = " x ".join(map(str, grid.shape))
    spacing = " x ".join(f"{s:.4g}" for s in grid.spacing_mm)
    origin = ", ".join(f"{v:.1f}" for v in grid.affine[:3, 3])
    return f"{shape}, {spacing} mm, origin ({origin})"


def _permutation(shape: Sequence[int], other: Sequence[int]) -> str:
    orders = itertools.permutations(range(3))
    order = next(order for order in orders if [shape[axis] for axis in order] == list(other))
    return ", ".join("ijk"[axis] for axis in order)


def _sign_flip(scan: Grid, mask: Grid) -> str:
    """Name what tools that ignore or translate headers do: origins that differ only in signs, axes
    that run backwards.
    """
    flipped: list[str] = []
    others: list[str] = []
    for axis, a, b in zip("xyz", scan.affine[:3, 3], mask.affine[:3, 3], strict=True):
        if abs(a - b) > 1e-3:
            (flipped if abs(a + b) < 1e-3 else others).append(axis)
    if flipped and not others:
        axes = " and ".join(flipped)
        return f"; of the origin only the sign of {axes} differs: did a tool ignore the header?"
    backwards = ["ijk"[a] for a in range(3) if scan.affine[:3, a] @ mask.affine[:3, a] < 0]
    return f"; axis {' and '.join(backwards)} of the mask runs backwards" if backwards else ""
