"""What stands round every picture of a scan: sides of the patient, scale, window."""

import math
from dataclasses import dataclass

from fewmask.core.recipe import Recipe
from fewmask.core.volume import Plane, Volume

SIDES: dict[Plane, tuple[str, str, str, str]] = {
    "axial": ("R", "L", "A", "P"),
    "sagittal": ("A", "P", "S", "I"),
    "coronal": ("R", "L", "S", "I"),
}
"""Left, right, top and bottom of a picture of a slice (h, w), as the patient has them."""
_BARS_MM = (1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Frame:
    """Of all pictures of one scan."""

    left: str
    right: str
    top: str
    bottom: str
    bar_mm: int
    bar_percent: float
    """Length of the scale bar, in per cent of the picture's width."""
    ratio: str
    """Width / height of a picture, for CSS."""
    window: str
    """Grey values shown as black and white."""
    low: float
    high: float


def make_frame(volume: Volume, recipe: Recipe) -> Frame:
    """The window is the recipe's; of MR the percentiles of the whole scan."""
    grey = volume.intensities() if recipe.modality != "ct" else volume.intensities([0])
    low, high = recipe.bounds(grey)
    _, rows, columns = volume.shape
    _, row_mm, column_mm = volume.spacing_mm
    width_mm, height_mm = columns * column_mm, rows * row_mm
    bar = max((mm for mm in _BARS_MM if mm <= width_mm / 3), default=_BARS_MM[0])
    unit = " HU" if recipe.modality == "ct" else ""
    sides = SIDES[volume.grid.plane]
    return Frame(
        *sides,
        bar_mm=bar,
        bar_percent=round(100 * bar / width_mm, 2),
        ratio=f"{width_mm:.4g} / {height_mm:.4g}",
        window=f"{_short(low)} to {_short(high)}{unit}",
        low=low,
        high=high,
    )


def _short(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"
