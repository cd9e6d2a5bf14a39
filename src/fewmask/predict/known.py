"""What a person said of a scan has the last word over its mask: tags say where a structure ends,
outlines what a slice holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from fewmask.data.label_guard import LabelGuard
from fewmask.io.prepared import Prepared


@dataclass(frozen=True)
class Known:
    """What was said of one scan."""

    absent: Bool[np.ndarray, "d k"]
    """Slices tagged as not holding a structure."""
    outlines: Mapping[int, UInt8[np.ndarray, "h w"]]
    """Outlined slices of the budget, by d."""


@dataclass(frozen=True)
class Settled:
    """A label map after what was said was put in."""

    voxels: UInt8[np.ndarray, "d h w"]
    sure: Bool[np.ndarray, " d"]
    """Slices about which nothing is left to a network."""
    removed: int
    """Voxels that lay where tags say the structure is not."""
    outlined: int
    """Slices that show their outline."""


def read_known(prepared: Prepared, guard: LabelGuard, case: str) -> Known:
    """Tags and granted outlines of a scan of the training part."""
    slices = [d for name, d in guard.granted() if name == case]
    masks = guard.labels(case, slices) if slices else ()
    tags = [prepared.tag(case, d) for d in range(prepared.cases[case].shape[0])]
    return Known(np.array(tags) == 0, dict(zip(slices, masks, strict=True)))


def settle(voxels: UInt8[np.ndarray, "d h w"], known: Known) -> Settled:
    """The label map (class number = place in the classes + 1) with outlines put in, and background
    where tags deny a structure.
    """
    out, removed = voxels.copy(), 0
    sure = known.absent.all(1)
    for d, denied in enumerate(known.absent):
        wrong = np.isin(out[d], np.flatnonzero(denied) + 1)
        removed += int(wrong.sum())
        out[d][wrong] = 0
    for d, outline in known.outlines.items():
        out[d], sure[d] = outline, True
    return Settled(out, sure, removed, len(known.outlines))
