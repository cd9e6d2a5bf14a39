"""What the page shows of each case: two slices with outlines, and how the model came to
its mask.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from fewmask.core.placement import Placement
from fewmask.core.recipe import Recipe
from fewmask.core.volume import LabelMap, Volume
from fewmask.report.pictures import (
    BOX,
    PREDICTION,
    TRUTH,
    data_uri,
    draw_box,
    outline,
    overlay_heat,
    scale_to,
    show_slice,
)

_WIDTH = 360


@dataclass(frozen=True)
class Picture:
    """A picture and the line under it."""

    uri: str
    caption: str


@dataclass(frozen=True)
class Card:
    """One case on the wall."""

    case: str
    headline: str
    pictures: tuple[Picture, ...]


def make_card(
    case: str,
    headline: str,
    volume: Volume,
    pred: LabelMap,
    truth: LabelMap | None,
    recipe: Recipe,
    slices_from: int = 0,
) -> Card:
    """The slice with most disagreement and the one with most of the structure; without truth only
    the latter. Slices are called as in the scan's file, the first one `slices_from`.
    """
    if truth is not None:
        wrong = (pred.voxels != truth.voxels).sum((1, 2))
        area = _area(int(wrong.max()), volume)
        shown = [
            (int(wrong.argmax()), f"largest disagreement, {area}\u00a0cm²"),
            (_fullest(truth), "most of the structure"),
        ]
    else:
        shown = [(_fullest(pred), "no truth: look yourself")]
    pictures = [
        Picture(
            _picture(volume, pred, truth, d, recipe),
            f"slice {_called(volume, d, slices_from)}: {text}",
        )
        for d, text in shown
    ]
    return Card(case, headline, tuple(pictures))


def _called(volume: Volume, d: int, slices_from: int) -> int:
    """Slice d by the number that a person knows it by."""
    return volume.grid.orientation.slice_index(d, volume.shape[0]) + slices_from


def make_story(
    case: str,
    prompts: dict[str, Any],
    volume: Volume,
    pred: LabelMap,
    truth: LabelMap | None,
    recipe: Recipe,
    slices_from: int = 0,
) -> Card | None:
    """Scan, heat map, box, mask, for the prompted slice with most predicted pixels; None if the
    model prompted nothing.
    """
    prompted = [line for line in prompts["slices"] if _first_box(line) is not None]
    if not prompted:
        return None
    line = max(prompted, key=lambda item: int((pred.voxels[item["d"]] > 0).sum()))
    d, k = line["d"], _first_box(line)
    bare, size = _slice(volume, d, recipe)
    factor = (size[0] / volume.shape[2], size[1] / volume.shape[1])
    x0, y0, x1, y1 = line["boxes_raw"][k]
    box = (x0 * factor[0], y0 * factor[1], x1 * factor[0], y1 * factor[1])
    steps = [Picture(data_uri(bare), f"1. scan, slice {_called(volume, d, slices_from)}")]
    heat = bare.copy()
    if line["heat"] is not None:
        level = np.array(line["heat"][k], np.float64)
        overlay_heat(heat, level, _heat_window(volume, recipe, factor))
        probability = f"P({prompts['classes'][k]}) = {line['present'][k]:.2f}"
        steps.append(Picture(data_uri(heat), f"2. where the model looks; {probability}"))
    boxed = heat.copy()
    draw_box(boxed, box, BOX)
    count = line.get("windows", 1)
    given = "box the model gives SAM" if count == 1 else f"around its boxes in {count} windows"
    steps.append(Picture(data_uri(boxed), f"3. {given}"))
    steps.append(Picture(_picture(volume, pred, truth, d, recipe), "4. mask"))
    return Card(case, f"{case}: how the mask came about", tuple(steps))


def _first_box(line: dict[str, Any]) -> int | None:
    """The first class that was prompted in this slice; None if none was."""
    for k, box in enumerate(line["boxes_raw"]):
        if box is not None:
            return k
    return None


def _fullest(labels: LabelMap) -> int:
    """The slice with most of the structures."""
    return int((labels.voxels > 0).sum((1, 2)).argmax())


def _heat_window(
    volume: Volume, recipe: Recipe, factor: tuple[float, float]
) -> tuple[float, float, float, float]:
    """The placed slice in picture pixels."""
    placement = Placement.of(volume.shape, volume.spacing_mm, recipe)
    corner = (placement.columns.target, placement.rows.target)
    x0, y0, x1, y1 = placement.box_to_source(np.array([0.0, 0.0, *corner]))
    return x0 * factor[0], y0 * factor[1], x1 * factor[0], y1 * factor[1]


def _slice(
    volume: Volume, d: int, recipe: Recipe
) -> tuple[UInt8[np.ndarray, "y x 3"], tuple[int, int]]:
    grey = volume.intensities([d])
    low, high = recipe.bounds(grey)
    image = (grey[0] - low) / max(high - low, 1e-6)
    size = scale_to(_WIDTH, volume.shape[1:], volume.spacing_mm[1:])
    return show_slice(image.astype(np.float32), size), size


def _picture(volume: Volume, pred: LabelMap, truth: LabelMap | None, d: int, recipe: Recipe) -> str:
    picture, _ = _slice(volume, d, recipe)
    classes = int(pred.voxels[d].max())
    if truth is not None:
        classes = max(classes, int(truth.voxels[d].max()))
    for index in range(1, classes + 1):
        if truth is not None:
            outline(picture, truth.voxels[d] == index, TRUTH, "solid")
        outline(picture, pred.voxels[d] == index, PREDICTION, "dashed")
    return data_uri(picture)


def _area(pixels: int, volume: Volume) -> str:
    _, h, w = volume.spacing_mm
    return f"{pixels * h * w / 100:.1f}"
