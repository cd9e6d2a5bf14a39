"""How the model came to a mask: what it saw, where it looked, the box it gave, what SAM drew."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from fewmask.core.placement import Placement
from fewmask.core.recipe import Recipe
from fewmask.core.volume import Volume
from fewmask.report.frame import Frame
from fewmask.report.pictures import (
    BOX,
    data_uri,
    draw_box,
    overlay_heat,
    scale_to,
    show_slice,
)
from fewmask.report.slices import Drawer, Picture

_WIDTH = 360


@dataclass(frozen=True)
class Story:
    """Four pictures of one slice."""

    case: str
    slice: int
    """As the file counts."""
    frame: Frame
    pictures: tuple[Picture, ...]


def make_story(prompts: dict[str, Any], drawer: Drawer, recipe: Recipe) -> Story | None:
    """Scan, heat map, box, mask, for the prompted slice with most predicted pixels; None if the
    model prompted nothing.
    """
    prompted = [line for line in prompts["slices"] if _first_box(line) is not None]
    if not prompted:
        return None
    volume, pred = drawer.volume, drawer.pred
    line = max(prompted, key=lambda item: int((pred.voxels[item["d"]] > 0).sum()))
    d, k = line["d"], _first_box(line)
    called, name = drawer.called(d), prompts["classes"][k]
    bare, size = _slice(drawer, d)
    factor = (size[0] / volume.shape[2], size[1] / volume.shape[1])
    x0, y0, x1, y1 = line["boxes_raw"][k]
    box = (x0 * factor[0], y0 * factor[1], x1 * factor[0], y1 * factor[1])
    where = f"{drawer.case}, slice {called}"
    steps = [Picture(data_uri(bare), f"1. scan, slice {called}", f"{where}, nothing drawn on it.")]
    heat = bare.copy()
    if line["heat"] is not None:
        level = np.array(line["heat"][k], np.float64)
        overlay_heat(heat, level, _heat_window(volume, recipe, factor))
        probability = f"P({name}) = {line['present'][k]:.2f}"
        steps.append(
            Picture(
                data_uri(heat),
                f"2. where the model looks; {probability}",
                f"{where}, under a heat map of where the model sees {name}.",
            )
        )
    boxed = heat.copy()
    draw_box(boxed, box, BOX)
    count = line.get("windows", 1)
    given = "box the model gives SAM" if count == 1 else f"around its boxes in {count} windows"
    wide, high = abs(x1 - x0), abs(y1 - y0)
    alt = f"{where}: the box round {name} is {wide:.0f} x {high:.0f} pixels."
    steps.append(Picture(data_uri(boxed), f"3. {given}", alt))
    steps.append(drawer.picture(d, "4. mask", _WIDTH))
    return Story(drawer.case, called, drawer.frame, tuple(steps))


def _first_box(line: dict[str, Any]) -> int | None:
    """The first class that was prompted in this slice; None if none was."""
    for k, box in enumerate(line["boxes_raw"]):
        if box is not None:
            return k
    return None


def _heat_window(
    volume: Volume, recipe: Recipe, factor: tuple[float, float]
) -> tuple[float, float, float, float]:
    """The placed slice in picture pixels."""
    placement = Placement.of(volume.shape, volume.spacing_mm, recipe)
    corner = (placement.columns.target, placement.rows.target)
    x0, y0, x1, y1 = placement.box_to_source(np.array([0.0, 0.0, *corner]))
    return x0 * factor[0], y0 * factor[1], x1 * factor[0], y1 * factor[1]


def _slice(drawer: Drawer, d: int) -> tuple[UInt8[np.ndarray, "y x 3"], tuple[int, int]]:
    volume, frame = drawer.volume, drawer.frame
    image = (volume.intensities([d])[0] - frame.low) / max(frame.high - frame.low, 1e-6)
    size = scale_to(_WIDTH, volume.shape[1:], volume.spacing_mm[1:])
    return show_slice(image.astype(np.float32), size), size
