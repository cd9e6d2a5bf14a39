"""Enhanced CT and MR: one file with all slices of a volume, each with a place of its own."""

from typing import Any

import numpy as np
import pydicom
from jaxtyping import Float, Integer
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from fewmask.io.instance import AGAIN, Instance, check_pixels, grey, quiet, refuse
from fewmask.io.memory import check_room
from fewmask.io.slicestack import Stack

_KINDS = (
    "Enhanced CT Image Storage",
    "Enhanced MR Image Storage",
    "Legacy Converted Enhanced CT Image Storage",
    "Legacy Converted Enhanced MR Image Storage",
)
_MAX_FRAMES = 100_000


def is_multiframe(instance: Instance) -> bool:
    """Is this a file of several slices that can be read?"""
    return instance.kind in _KINDS


def read_multiframe(
    instance: Instance, keep_first: bool = False
) -> tuple[
    Integer[np.ndarray, "i j k"], Float[np.ndarray, "4 4"], tuple[float, float], tuple[str, ...]
]:
    """Stored values in file order (column, row, slice), affine, slope and intercept, notes.

    Raises `BadScan` as a series of single files does: no decoder (D07), damaged (D08), frames that
    differ (D05), several frames at one place (D02), gaps (D01), tilt (D03); and `NoRoom`.
    """
    path = instance.path
    check_pixels(instance)
    with quiet(path):
        data = pydicom.dcmread(path, force=instance.bare)
        count = int(data.get("NumberOfFrames") or 1)
        shared = (data.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
        groups = list(data.get("PerFrameFunctionalGroupsSequence") or [])
        held = len(data.get("PixelData") or b"")
    size = int(instance.number("Rows") * instance.number("Columns"))
    needed = size * count * int(instance.number("BitsAllocated")) // 8
    if not 0 < count <= _MAX_FRAMES or len(groups) != count:
        raise refuse(path, f"{count} frames, {len(groups)} descriptions of them", "D08", AGAIN)
    if not instance.syntax.is_encapsulated and held < needed:
        what = f"truncated: {held} of {needed} bytes of pixels"
        raise refuse(path, what, "D08", "copy the file again from the source")
    with quiet(path):
        stack = _stack(groups, shared)
        scalings = {_scaling(group, shared) for group in groups}
    if len(scalings) != 1:
        what = f"rescale slope and intercept differ within the file: {len(scalings)} kinds"
        raise refuse(path, what, "D05", "convert it with dcm2niix")
    order, affine = stack.place(keep_first)
    check_room(3 * needed, f"{path.name} ({count} frames)")
    with quiet(path):
        stored = pixel_array(data, correct_unused_bits=False).reshape(
            count, int(instance.number("Rows")), int(instance.number("Columns"))
        )
    values = grey(stored, instance)[order]
    notes = (f"{count - len(order)} frames left out",) if len(order) < count else ()
    return values.transpose(2, 1, 0), affine, scalings.pop(), notes


def _group(group: Dataset, shared: Dataset, name: str) -> Dataset:
    """A description of one frame, or of all alike."""
    found: Dataset = (group.get(name) or shared.get(name))[0]
    return found


def _stack(groups: list[Dataset], shared: Dataset) -> Stack:
    """Where the frames lie. Raises whatever for what is missing or differs."""

    def numbers(name: str, tag: str) -> list[tuple[float, ...]]:
        return [tuple(float(n) for n in _group(one, shared, name)[tag].value) for one in groups]

    turns = set(numbers("PlaneOrientationSequence", "ImageOrientationPatient"))
    spacings = set(numbers("PixelMeasuresSequence", "PixelSpacing"))
    if len(turns) != 1 or len(spacings) != 1:
        raise ValueError("frames differ in orientation or spacing")
    measures = _group(groups[0], shared, "PixelMeasuresSequence")
    thickness: Any = measures.get("SpacingBetweenSlices") or measures.get("SliceThickness")
    between_rows, between_columns = spacings.pop()
    return Stack(
        positions=np.array(numbers("PlanePositionSequence", "ImagePositionPatient"), float),
        orientation=np.array(turns.pop(), float),
        spacing_mm=(between_rows, between_columns),
        thickness_mm=abs(float(thickness)) if thickness else None,
        names=tuple(f"frame {n}" for n in range(1, len(groups) + 1)),
        ranks=tuple(range(len(groups))),
    )


def _scaling(group: Dataset, shared: Dataset) -> tuple[float, float]:
    """Slope and intercept of a frame; 1 and 0 where there are none."""
    found = group.get("PixelValueTransformationSequence") or shared.get(
        "PixelValueTransformationSequence"
    )
    if not found:
        return 1.0, 0.0
    return float(found[0].RescaleSlope), float(found[0].RescaleIntercept)
