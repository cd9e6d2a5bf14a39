"""Does a mask lie on the grid of its scan? Never decided by shape alone, never mended silently."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fewmask.core.errors import BadScan
from fewmask.core.volume import Grid, LabelMap

_OFF = 0.1
"""How far from a voxel of the scan, in voxels, one of the mask may lie to be that voxel."""

_MOST = 1024
"""Voxels along a side of a grid that is made to hold two masks."""


def lay_on_grid(
    scan: Grid, mask: LabelMap, scan_path: Path, mask_path: Path
) -> tuple[LabelMap, tuple[str, ...]]:
    """The mask on the grid of its scan, with notes on what that took.

    Taken as it is where `check_same_grid` takes it. Else its voxels must fall on voxels of the
    scan, all of them inside it: stored in another order, or cropped (3D Slicer cuts masks to their
    extent), it is laid into the scan's grid, with 0 around. Anything else raises `BadScan` as
    `check_same_grid` does.
    """
    try:
        notes = check_same_grid(scan, mask.grid, scan_path, mask_path)
    except BadScan:
        place = _place(scan, mask.grid)
        if place is None:
            raise
        return place.lay(mask, scan), (place.note,)
    # Accepted rounding of a header must not turn the mask another way than its scan.
    turned = scan.orientation.apply(mask.to_file_order())
    return LabelMap(turned, scan), notes


def lay_content(mask: LabelMap, grid: Grid) -> LabelMap | None:
    """What a mask of its own extent holds, on `grid`, and 0 around it; None where its voxels are
    not the grid's, or what it holds lies outside.

    For formats whose extent says nothing of the scan's, such as DICOM SEG: what is empty of it may
    reach beyond the scan.
    """
    array = mask.to_file_order()
    spots = np.argwhere(array)
    if not len(spots):
        spots = np.zeros((1, 3), int)
        array = array[:1, :1, :1]
    low, high = spots.min(0), spots.max(0) + 1
    inside = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    affine = mask.grid.affine.copy()
    affine[:3, 3] = (affine @ [*low, 1])[:3]
    held = replace(LabelMap.from_file_order(inside, affine), notes=mask.notes)
    place = _place(grid, held.grid)
    return None if place is None else place.lay(held, grid)


def joint_grid(one: Grid, other: Grid) -> Grid | None:
    """The smallest grid in the order of `one` that holds both, of masks that are cut to their own
    extents; None where their voxels do not fall on each other, or they lie far apart.
    """
    corners = np.array(list(itertools.product(*((0, n - 1) for n in other.shape))), float)
    exact = (np.c_[corners, np.ones(8)] @ np.linalg.solve(one.affine, other.affine).T)[:, :3]
    placed = np.rint(exact)
    alike = np.allclose(sorted(one.spacing_mm), sorted(other.spacing_mm), rtol=1e-3)
    if not alike or np.abs(exact - placed).max() > _OFF:
        return None
    return grown(one, placed.min(0), placed.max(0) + 1)


def grown(grid: Grid, low: Float[np.ndarray, "3"], high: Float[np.ndarray, "3"]) -> Grid | None:
    """`grid` made larger by whole voxels, so that it holds those from `low` up to, but without,
    `high`; None where that is too large to be of one patient.
    """
    start = np.minimum(0, low).astype(int)
    i, j, k = (int(n) for n in np.maximum(grid.shape, high).astype(int) - start)
    if max(i, j, k) > _MOST:
        return None
    affine = grid.affine.copy()
    affine[:3, 3] = (grid.affine @ [*start, 1])[:3]
    return replace(grid, shape=(i, j, k), affine=affine)


def directions_differ(scan: Grid, mask: Grid) -> str:
    """How the mask's axes lead elsewhere than the scan's, in words; empty where they do not, so
    that a copy of the scan's header turns nothing.
    """
    if scan.axis_codes == mask.axis_codes:
        return ""
    return f"its axes lead to {mask.axis_codes}, those of the scan to {scan.axis_codes}"


@dataclass(frozen=True)
class _Place:
    """Where a mask's voxels fall on a scan's."""

    axes: tuple[int, int, int]
    """The mask's axis along each axis of the scan."""
    flips: tuple[bool, bool, bool]
    """Does it run backwards there?"""
    first: tuple[int, int, int]
    """The scan's voxel where the mask begins."""
    note: str

    def lay(self, mask: LabelMap, scan: Grid) -> LabelMap:
        """The mask's voxels in the scan's grid, 0 around them."""
        stored = mask.to_file_order().transpose(self.axes)
        stored = stored[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        voxels = np.zeros(scan.shape, stored.dtype)
        box = zip(self.first, stored.shape, strict=True)
        voxels[tuple(slice(start, start + count) for start, count in box)] = stored
        return LabelMap(scan.orientation.apply(voxels), scan, mask.notes)


def _place(scan: Grid, mask: Grid) -> _Place | None:
    """Where every voxel of the mask is, to a tenth, a voxel of the scan; None if it is not."""
    exact = np.linalg.solve(scan.affine, mask.affine)
    whole = np.rint(exact)
    turn = np.abs(whole[:3, :3])
    if not (turn.sum(0) == 1).all() or not (turn.sum(1) == 1).all():
        return None
    corners = np.array(list(itertools.product(*((0, n - 1) for n in mask.shape))), float)
    corners = np.c_[corners, np.ones(len(corners))]
    placed = corners @ whole.T[:, :3]
    low, high = placed.min(0), placed.max(0)
    off = np.abs(corners @ exact.T[:, :3] - placed).max()
    if off > _OFF or low.min() < 0 or (high >= scan.shape).any():
        return None
    i, j, k = (int(axis) for axis in turn.argmax(1))
    flips = tuple(bool(whole[row, axis] < 0) for row, axis in enumerate((i, j, k)))
    first = (int(low[0]), int(low[1]), int(low[2]))
    return _Place((i, j, k), flips, first, _placed(scan, mask, first))  # type: ignore[arg-type]


def _placed(scan: Grid, mask: Grid, first: tuple[int, int, int]) -> str:
    words = []
    if scan.axis_codes != mask.axis_codes:
        words.append(f"stored in another order ({mask.axis_codes}, the scan {scan.axis_codes})")
    if sorted(scan.shape) != sorted(mask.shape):
        cut, whole = (" x ".join(map(str, grid.shape)) for grid in (mask, scan))
        words.append(f"cropped to {cut} of {whole} voxels, from voxel {first} of the scan on")
    return f"M03: the mask is {' and '.join(words)}; it was laid into the scan's grid by its place"


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
        "save the mask again on the grid of this scan, in the program that drew it (is it the mask "
        "of another scan?)"
    )
    if scan.shape != mask.shape:
        if sorted(scan.shape) == sorted(mask.shape):
            order = _permutation(scan.shape, mask.shape)
            lines = (*lines, f"the mask's axes are the scan's in the order {order}")
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
