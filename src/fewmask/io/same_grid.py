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
    lines = (f"scan  {scan_path}   {_describe(scan)}", f"mask  {mask_path}   {_describe(mask)}")
    fix = (
        "look at both; if they fit only when headers are ignored, write a copy of the mask "
        "with the scan's header: `fewmask check` with `copy_header=CASE` and `out=DIR`"
    )
    if scan.shape != mask.shape:
        permuted = sorted(scan.shape) == sorted(mask.shape)
        more = (
            (f"the mask's axes are the scan's in the order {_permutation(scan.shape, mask.shape)}",)
            if permuted
            else ()
        )
        fix = "save the mask again on the grid of this scan (is it the mask of another scan?)"
        raise BadScan("scan and mask differ in shape", where=(*lines, *more), fix=fix, code="M01")
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
    order = next(
        p for p in itertools.permutations(range(3)) if tuple(shape[a] for a in p) == tuple(other)
    )
    return ", ".join("ijk"[a] for a in order)


def _sign_flip(scan: Grid, mask: Grid) -> str:
    """Name what tools that ignore or translate headers do: origins that differ only in signs, axes
    that run backwards.
    """
    ours, theirs = scan.affine[:3, 3], mask.affine[:3, 3]
    flipped = [
        axis
        for axis, a, b in zip("xyz", ours, theirs, strict=True)
        if abs(a - b) > 1e-3 and abs(a + b) < 1e-3
    ]
    others = [
        axis
        for axis, a, b in zip("xyz", ours, theirs, strict=True)
        if abs(a - b) > 1e-3 and axis not in flipped
    ]
    if flipped and not others:
        return (
            f"; of the origin only the sign of {' and '.join(flipped)} differs: did a tool ignore "
            "the header?"
        )
    turned = [a for a in range(3) if scan.affine[:3, a] @ mask.affine[:3, a] < 0]
    return (
        f"; axis {' and '.join('ijk'[a] for a in turned)} of the mask runs backwards"
        if turned
        else ""
    )
