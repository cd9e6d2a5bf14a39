"""What can be told of a mask without any truth: volume, extent, pieces."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from fewmask.core.volume import LabelMap, Volume


@dataclass(frozen=True)
class Extent:
    """One structure in one mask."""

    structure: str
    ml: float
    span: tuple[int, int] | None
    """First and last slice d; None where there is none of it."""
    pieces: int
    """Sets of voxels that touch by their faces, as clean-up and volumes.csv count them."""
    stray: float
    """Share of its volume outside its largest piece, 0 to 1."""
    intensity: float | None
    """Mean grey value (HU for CT) inside; None where there is none of it, or no scan."""


def measure(labels: LabelMap, classes: Sequence[str], volume: Volume | None) -> list[Extent]:
    """One per class, in their order: class index = position + 1. Of an empty one 0 mL, no slices,
    no piece.
    """
    boxes = ndimage.find_objects(labels.voxels, max_label=len(classes))
    return [
        _measure(labels, name, index, boxes[index - 1], volume)
        for index, name in enumerate(classes, 1)
    ]


def _measure(
    labels: LabelMap,
    name: str,
    index: int,
    box: tuple[slice, slice, slice] | None,
    volume: Volume | None,
) -> Extent:
    if box is None:
        return Extent(name, 0.0, None, 0, 0.0, None)
    mask = labels.voxels[box] == index
    parts, pieces = ndimage.label(mask)
    sizes = np.bincount(parts[mask])[1:]
    voxels = int(sizes.sum())
    grey = None
    if volume is not None:
        stored = volume.voxels[box][mask]
        grey = float(stored.mean(dtype=float) * volume.slope + volume.inter)
    return Extent(
        structure=name,
        ml=voxels * labels.voxel_ml,
        span=(box[0].start, box[0].stop - 1),
        pieces=pieces,
        stray=1 - int(sizes.max()) / voxels,
        intensity=grey,
    )
