"""DICOM RTSTRUCT as a mask: contours in mm, filled on the grid of the scan that they were drawn
on. A voxel is inside where its centre is.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from jaxtyping import Bool, Float
from pydicom.dataset import Dataset

from fewmask.core.errors import BadScan
from fewmask.core.volume import Grid, LabelMap
from fewmask.core.words import count
from fewmask.io.axes import LPS
from fewmask.io.instance import AGAIN, quiet, refuse
from fewmask.io.memory import check_room
from fewmask.io.same_grid import grown
from fewmask.io.segments import Segment, merge

_OFF_PLANE = 0.3
"""How far, in slices, a contour may lie from the middle of its slice."""
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


_EDGE = 0.01
"""Voxels by which rounded contours may lie beyond the edge of a voxel."""


def struct_segments(data: Dataset, path: Path) -> tuple[Segment, ...]:
    """The structures that the file lists, with values 1, 2, ... in its order. Raises `BadScan`
    (D08) if there are none.
    """
    colours = {
        int(item.get("ReferencedROINumber") or 0): item.get("ROIDisplayColor")
        for item in data.get("ROIContourSequence") or []
    }
    found = []
    for place, item in enumerate(data.get("StructureSetROISequence") or [], 1):
        number = int(item.get("ROINumber") or 0)
        colour = colours.get(number)
        rgb = tuple(int(part) & 255 for part in colour) if colour and len(colour) == 3 else None
        name = str(item.get("ROIName") or "").strip() or f"structure {number}"
        found.append(Segment(name, place, rgb, 0, number))  # type: ignore[arg-type]
    if not found:
        raise refuse(path, "RTSTRUCT without structures", "D08", AGAIN)
    return tuple(found)


def read_struct(path: Path, grid: Grid | None, wanted: Mapping[int, str] | None = None) -> LabelMap:
    """The structures filled on `grid`; slices without a contour are empty.

    Raises `BadScan`: no grid to draw on (D10), damaged (D08), contours off the slices or outside
    the scan (M03), classes that share voxels (M17).
    """
    if grid is None:
        fix = "give it together with the DICOM scan that it was drawn on"
        raise refuse(path, "RTSTRUCT holds contours, and no grid to draw them on", "D10", fix)
    check_room(20 * path.stat().st_size, path.name)
    with quiet(path):
        data = pydicom.dcmread(path)
    segments = struct_segments(data, path)
    with quiet(path):
        contours = _contours(data)
    notes: list[str] = []
    parts = _parts(path, segments, contours, grid, notes)
    labels = merge(grid.shape, parts, wanted)
    labels = labels.astype(np.min_scalar_type(int(labels.max())))
    return replace(LabelMap.from_file_order(labels, grid.affine), notes=tuple(notes))


def grid_around(path: Path, grid: Grid) -> Grid:
    """`grid`, of a mask cut to its own extent, made larger by whole voxels so that the closed
    contours of the file lie in it; as it is where they lie in it, or too far away to be of it.
    Raises as `read_struct`.
    """
    with quiet(path):
        contours = _contours(pydicom.dcmread(path))
    worlds = [world for one in contours.values() for kind, world in one if kind in _CLOSED]
    if not worlds or not all(np.isfinite(world).all() for world in worlds):
        return grid
    back = np.linalg.inv(grid.affine)
    index = np.concatenate(worlds) @ back[:3, :3].T + back[:3, 3]
    # A contour runs along the edges of its outermost pixels, half a voxel from their centres.
    low, high = np.floor(index.min(0) + 0.5 + _EDGE), np.ceil(index.max(0) + 0.5 - _EDGE)
    return grown(grid, low, high) or grid


def _contours(data: Dataset) -> dict[int, list[tuple[str, Float[np.ndarray, "_ 3"]]]]:
    """Per structure number its contours: type, and points in RAS mm."""
    found: dict[int, list[tuple[str, Float[np.ndarray, "_ 3"]]]] = defaultdict(list)
    for item in data.get("ROIContourSequence") or []:
        for contour in item.get("ContourSequence") or []:
            points = np.array([float(number) for number in contour.ContourData]).reshape(-1, 3)
            kind = str(contour.get("ContourGeometricType") or "")
            found[int(item.ReferencedROINumber)].append((kind, LPS * points))
    return found


def _parts(
    path: Path,
    segments: tuple[Segment, ...],
    contours: Mapping[int, list[tuple[str, Float[np.ndarray, "_ 3"]]]],
    grid: Grid,
    notes: list[str],
) -> Iterator[tuple[Segment, Bool[np.ndarray, "i j k"]]]:
    for segment in segments:
        inside = np.zeros(grid.shape, bool)
        points = 0
        for kind, world in contours.get(segment.stored, ()):
            if kind not in _CLOSED:
                points += 1
                continue
            _fill(path, segment, inside, world, grid)
        if points:
            left_out = count(points, "point or open line", "points or open lines")
            notes.append(f"{segment.name}: left out {left_out}")
        yield segment, inside


def _fill(
    path: Path,
    segment: Segment,
    inside: Bool[np.ndarray, "i j k"],
    world: Float[np.ndarray, "p 3"],
    grid: Grid,
) -> None:
    """Turn over what a contour encloses, so that a contour within another one is a hole."""
    if not np.isfinite(world).all() or len(world) < 3:
        raise refuse(path, f"a contour of {segment.name!r} is no area", "D08", AGAIN)
    back = np.linalg.inv(grid.affine)
    index = world @ back[:3, :3].T + back[:3, 3]
    axis = int(np.ptp(index, axis=0).argmin())
    level = index[:, axis]
    place = int(np.rint(level.mean()))
    if np.abs(level - place).max() > _OFF_PLANE:
        raise _apart(path, segment, "does not lie in a slice of the scan")
    others = [other for other in range(3) if other != axis]
    sizes = np.array(grid.shape)[others]
    flat = index[:, others]
    if not 0 <= place < grid.shape[axis] or (flat < -1).any() or (flat > sizes).any():
        raise _apart(path, segment, "lies outside the scan")
    plane = [slice(None)] * 3
    plane[axis] = place  # type: ignore[call-overload]
    inside[tuple(plane)] ^= fill_polygon(flat, (int(sizes[0]), int(sizes[1])))


def fill_polygon(
    points: Float[np.ndarray, "p 2"], shape: tuple[int, int]
) -> Bool[np.ndarray, "a b"]:
    """Which pixels (a, b) have their centre inside the closed polygon; even-odd."""
    inside = np.zeros(shape, bool)
    a, b = points.T
    a2, b2 = np.roll(a, -1), np.roll(b, -1)
    first, last = max(0, int(np.ceil(b.min()))), min(shape[1] - 1, int(np.floor(b.max())))
    for column in range(first, last + 1):
        crosses = (b <= column) != (b2 <= column)
        rise = (column - b[crosses]) / (b2[crosses] - b[crosses])
        at = np.sort(a[crosses] + rise * (a2[crosses] - a[crosses]))
        for low, high in zip(at[::2], at[1::2], strict=True):
            start, stop = max(0, int(np.ceil(low))), max(0, int(np.ceil(high)))
            inside[start:stop, column] ^= True
    return inside


def _apart(path: Path, segment: Segment, how: str) -> BadScan:
    return BadScan(
        f"a contour of {segment.name!r} {how}",
        where=path.name,
        fix="give it together with the scan that it was drawn on, whole and not resampled",
        code="M03",
    )
