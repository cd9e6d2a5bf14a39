"""DICOM SEG as a mask: frames of single segments, each with a place of its own, on one grid."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from jaxtyping import Bool, Float, Integer
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from fewmask.core.volume import LabelMap
from fewmask.io.instance import AGAIN, MAX_SIDE, quiet, refuse
from fewmask.io.memory import check_room
from fewmask.io.segments import Colour, Segment, merge, numbered

_MAX_FRAMES = 100_000
_SAME_MM = 0.01
_UNEVEN = 0.05


@dataclass(frozen=True, eq=False)
class _Frames:
    """Where each frame lies, and whose it is."""

    positions: Float[np.ndarray, "n 3"]
    numbers: tuple[int, ...]
    """Segment number of each frame; 0: the pixels say it (LABELMAP)."""
    orientation: Float[np.ndarray, " 6"]
    spacing_mm: tuple[float, float]
    """Between rows, between columns."""
    between_mm: float
    """Distance of slices, for one slice alone; 0 if it is not said."""


def seg_segments(data: Dataset, path: Path) -> tuple[Segment, ...]:
    """The segments that the file lists. Raises `BadScan` (D08) if there are none."""
    items = data.get("SegmentSequence") or []
    found = []
    for item in items:
        number = int(item.get("SegmentNumber") or 0)
        name = str(item.get("SegmentLabel") or item.get("SegmentDescription") or "").strip()
        colour = _colour(item.get("RecommendedDisplayCIELabValue"))
        if number:  # 0 is the background that a LABELMAP may list
            found.append(Segment(name or f"segment {number}", number, colour, 0, number))
    if not found or len({segment.stored for segment in found}) < len(found):
        raise refuse(path, "DICOM SEG without a list of its segments", "D08", AGAIN)
    return numbered(found)


def read_seg(path: Path, wanted: Mapping[int, str] | None = None) -> LabelMap:
    """The segments on a grid of their own extent; slices without a frame are empty.

    `wanted` as in `merge`. Raises `BadScan`: damaged (D08), geometry unusable (D01, D05, N16),
    classes that share voxels (M17); `NoRoom` if it does not fit into memory.
    """
    with quiet(path):
        data = pydicom.dcmread(path)
    segments = {segment.stored: segment for segment in seg_segments(data, path)}
    rows, columns = int(data.get("Rows") or 0), int(data.get("Columns") or 0)
    count = int(data.get("NumberOfFrames") or 1)
    _check_sizes(path, data, rows, columns, count)
    with quiet(path):
        frames = _frames(data, count)
    places, affine = _place(path, frames)
    depth = max(places) + 1
    check_room(rows * columns * (count + 3 * depth), f"{path.name} ({count} frames)")
    with quiet(path):
        pixels = pixel_array(data).reshape(count, rows, columns)
    inside, notes = _inside(path, data, pixels)
    parts = _parts(path, frames, places, inside, segments, (columns, rows, depth))
    labels = merge((columns, rows, depth), parts, wanted)
    labels = labels.astype(np.min_scalar_type(int(labels.max())))
    return replace(LabelMap.from_file_order(labels, affine), notes=notes)


def _check_sizes(path: Path, data: Dataset, rows: int, columns: int, count: int) -> None:
    """From the header, before anything is allocated."""
    if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE and 0 < count <= _MAX_FRAMES):
        what = f"{count} frames of {columns} x {rows} pixels"
        raise refuse(path, what, "D08", AGAIN)
    bits = int(data.get("BitsAllocated") or 0)
    held = len(data.get("PixelData") or b"")
    if not held or bits not in (1, 8, 16):
        raise refuse(path, "no pixels that can be read", "D08", AGAIN)
    needed = (rows * columns * count * bits + 7) // 8
    if not data.file_meta.TransferSyntaxUID.is_encapsulated and held < needed:
        what = f"truncated: {held} of {needed} bytes of pixels"
        raise refuse(path, what, "D08", "copy the file again from the source")


def _frames(data: Dataset, count: int) -> _Frames:
    shared = (data.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    groups = list(data.get("PerFrameFunctionalGroupsSequence") or [])
    if len(groups) != count:
        raise ValueError("frames and their groups differ in number")

    def of(group: Dataset, sequence: str) -> Any:
        return (group.get(sequence) or shared.get(sequence))[0]

    measures = of(groups[0], "PixelMeasuresSequence")
    turns = {
        tuple(float(n) for n in of(group, "PlaneOrientationSequence").ImageOrientationPatient)
        for group in groups
    }
    if len(turns) != 1:
        raise ValueError("frames are turned against each other")
    positions = [
        [float(n) for n in of(group, "PlanePositionSequence").ImagePositionPatient]
        for group in groups
    ]
    labelmap = str(data.get("SegmentationType")) == "LABELMAP"
    numbers = tuple(
        0 if labelmap else int(of(group, "SegmentIdentificationSequence").ReferencedSegmentNumber)
        for group in groups
    )
    between = measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 0
    rows_mm, columns_mm = (float(n) for n in measures.PixelSpacing)
    return _Frames(
        np.array(positions, float),
        numbers,
        np.array(turns.pop()),
        (rows_mm, columns_mm),
        abs(float(between)),
    )


def _place(path: Path, frames: _Frames) -> tuple[list[int], Float[np.ndarray, "4 4"]]:
    """Slice of each frame, and the affine from (column, row, slice) to RAS mm."""
    column, row = frames.orientation[:3], frames.orientation[3:]
    normal = np.cross(column, row)
    straight = np.isfinite(frames.positions).all() and abs(np.linalg.norm(normal) - 1) < 1e-2
    if not straight or not all(0.01 <= mm <= 100 for mm in frames.spacing_mm):
        raise refuse(path, "place or spacing of its frames is not usable", "N16", AGAIN)
    along = frames.positions @ normal
    first = frames.positions[int(along.argmin())]
    aside = frames.positions - first - np.outer(along - along.min(), normal)
    if np.abs(aside).max() > _SAME_MM + 0.1:
        raise refuse(path, "frames are shifted sideways against each other", "D03", AGAIN)
    levels = np.unique(np.round(along / _SAME_MM)) * _SAME_MM
    step = _step(path, levels, frames.between_mm)
    places = np.rint((along - along.min()) / step).astype(int)
    off = np.abs((along - along.min()) / step - places).max()
    if off > _UNEVEN + 0.11 / step:
        raise refuse(path, "distances of its frames are uneven", "D01", AGAIN)
    affine = np.eye(4)
    affine[:3, 0] = column * frames.spacing_mm[1]
    affine[:3, 1] = row * frames.spacing_mm[0]
    affine[:3, 2] = normal * step
    affine[:3, 3] = first
    return places.tolist(), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _step(path: Path, levels: Float[np.ndarray, " n"], said_mm: float) -> float:
    """Distance of slices. Frames of empty slices may be absent, so gaps are whole multiples."""
    if len(levels) == 1:
        if not 0.01 <= said_mm <= 100:
            raise refuse(path, "one slice without a usable thickness", "D08", AGAIN)
        return said_mm
    gaps = np.diff(levels)
    smallest = float(gaps.min())
    # What is said is taken where it fits: every second slice may be outlined.
    if said_mm > 0.01:
        parts = gaps / said_mm
        if np.abs(parts - np.rint(parts)).max() < _UNEVEN and parts.min() > 0.5:
            return float((levels[-1] - levels[0]) / np.rint(parts).sum())
    return float((levels[-1] - levels[0]) / np.rint(gaps / smallest).sum())


def _inside(
    path: Path, data: Dataset, pixels: Integer[np.ndarray, "n rows columns"]
) -> tuple[Integer[np.ndarray, "n rows columns"], tuple[str, ...]]:
    """Probabilities become yes or no at one half, with a note."""
    kind = str(data.get("SegmentationType") or "")
    if kind == "FRACTIONAL":
        top = int(data.get("MaximumFractionalValue") or 255)
        note = f"DICOM SEG of fractions: {path.name} was cut at one half"
        return (2 * pixels.astype(np.uint16) > top).astype(np.uint8), (note,)
    if kind not in ("BINARY", "LABELMAP"):
        raise refuse(path, f"segmentation type {kind[:16]!r}", "D10", AGAIN)
    return pixels, ()


def _parts(
    path: Path,
    frames: _Frames,
    places: Sequence[int],
    pixels: Integer[np.ndarray, "n rows columns"],
    segments: Mapping[int, Segment],
    shape: tuple[int, int, int],
) -> Iterator[tuple[Segment, Bool[np.ndarray, "i j k"]]]:
    """Each segment with its voxels."""
    if any(frames.numbers):
        used = set(frames.numbers)
    else:
        used = {int(value) for value in np.unique(pixels) if value}
    if stray := sorted(used - set(segments)):
        raise refuse(path, f"a frame is of segment {stray[0]}, which is not listed", "D08", AGAIN)
    for number, segment in segments.items():
        inside = np.zeros(shape, bool)
        for n, place in enumerate(places):
            if frames.numbers[n] in (0, number):
                wanted = number if frames.numbers[n] == 0 else 1
                inside[:, :, place] |= (pixels[n] == wanted).T
        yield segment, inside


def _colour(lab: Any) -> Colour | None:
    """From CIELab, as DICOM scales it, to sRGB."""
    if lab is None or len(lab) != 3:
        return None
    light, a, b = lab[0] / 65535 * 100, lab[1] / 65535 * 255 - 128, lab[2] / 65535 * 255 - 128
    y = (light + 16) / 116
    xyz = np.array([y + a / 500, y, y - b / 200])
    xyz = np.where(xyz > 6 / 29, xyz**3, 3 * (6 / 29) ** 2 * (xyz - 4 / 29))
    xyz *= [0.95047, 1.0, 1.08883]  # daylight (D65), as the tools that write SEG take it
    linear = (
        np.array(
            [
                [3.2404542, -1.5371385, -0.4985314],
                [-0.9692660, 1.8760108, 0.0415560],
                [0.0556434, -0.2040259, 1.0572252],
            ]
        )
        @ xyz
    )
    linear = np.clip(linear, 0, 1)
    rgb = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    red, green, blue = (round(255 * float(part)) for part in rgb)
    return red, green, blue
