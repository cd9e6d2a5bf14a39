"""The literature's own ways of counting, under their own names, so that published tables can be
compared. Never the default.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Integer

from fewmask.evaluate.scores import dice_of
from fewmask.evaluate.surfaces import surface_distances

Protocol = Literal["default", "sam-mix", "la-2018"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
NOTES = {
    "la-2018": "LA 2018 volumes were cropped around the truth by their authors: "
    "a pre-localised task."
}
"""Protocol -> what a reader of its numbers must know."""


@dataclass(frozen=True)
class SliceScores:
    """`sam-mix`: over slices in which the truth holds the structure."""

    dice: float
    hd_px: float
    n: int
    n_missed: int
    """Slices without prediction: Dice 0, distance = the slice's diagonal."""


@dataclass(frozen=True)
class VoxelScores:
    """`la-2018`: Dice, Jaccard, HD95 and ASD in voxels; an empty prediction scores 0 in all four,
    as in those papers.

    NaN without truth, which their scans do not have: absence found and a structure made up would
    both look as good as perfect.
    """

    dice: float
    jaccard: float
    hd95_voxel: float
    asd_voxel: float
    empty: bool


def score_sam_mix(
    pred: Integer[np.ndarray, "d h w"], truth: Integer[np.ndarray, "d h w"], index: int = 1
) -> SliceScores:
    """Per-slice Dice and plain symmetric Hausdorff distance in pixels of the grid given (the
    paper's: 256 x 256).

    Positive slices only (A20, A22). NaN without any.
    """
    dice: list[float] = []
    hd_px: list[float] = []
    missed = 0
    for pred_slice, truth_slice in zip(pred == index, truth == index, strict=True):
        if not truth_slice.any():
            continue
        if pred_slice.any():
            dice.append(dice_of(pred_slice, truth_slice))
            # A spacing of 1: distances come in pixels.
            hd_px.append(surface_distances(pred_slice, truth_slice, (1.0, 1.0)).hd_mm)
        else:
            dice.append(0.0)
            hd_px.append(math.hypot(*truth_slice.shape))
            missed += 1
    if not dice:
        return SliceScores(math.nan, math.nan, 0, 0)
    return SliceScores(float(np.mean(dice)), float(np.mean(hd_px)), len(dice), missed)


def score_la_2018(pred: Bool[np.ndarray, "d h w"], truth: Bool[np.ndarray, "d h w"]) -> VoxelScores:
    """The left-atrium papers' numbers (MedPy without spacing: pooled HD95, directed ASD)."""
    if not truth.any():
        return VoxelScores(math.nan, math.nan, math.nan, math.nan, not pred.any())
    if not pred.any():
        return VoxelScores(0.0, 0.0, 0.0, 0.0, True)
    dice = dice_of(pred, truth)
    in_voxels = surface_distances(pred, truth, (1.0, 1.0, 1.0))
    return VoxelScores(
        dice=dice,
        jaccard=dice / (2 - dice),
        hd95_voxel=in_voxels.hd95_pooled_mm,
        asd_voxel=in_voxels.asd_mm,
        empty=False,
    )
