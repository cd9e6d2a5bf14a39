"""What is done to every slice before a network sees it, as one value that travels with the prepared
dataset and the run.
"""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from fewmask.core.config import parse
from fewmask.core.errors import BadConfig
from fewmask.core.volume import Plane


@dataclass(frozen=True)
class Recipe:
    """Intensity scaling, in-plane sampling and slice rule. Orientation is always canonical (see
    `core.volume`).
    """

    name: str = "auto"
    """Name under which it was chosen."""
    modality: Literal["auto", "ct", "mr"] = "auto"
    """`ct` uses `window_hu`; `mr` uses the `percentiles` of each scan; `auto` is resolved at
    prepare from the intensities.
    """
    window_hu: tuple[float, float] = (-125.0, 240.0)
    """HU mapped to 0 and 1; clipped outside."""
    percentiles: tuple[float, float] = (0.5, 99.5)
    """Percentiles of a scan's intensities mapped to 0 and 1; clipped outside."""
    spacing_mm: float = 0.0
    """In-plane pixel size of the network's grid; 0 = resolved at prepare (median of the scans, so
    that `size` covers them).
    """
    size: int = 0
    """Side of the square network grid in pixels; 0 = resolved at prepare."""
    stretch: bool = False
    """True: the whole slice is resized to size x size whatever its shape (the SAM-Mix paper);
    pixels need not stay square.
    """
    central: float = 1.0
    """Fraction of slices kept around the middle; the rest is never seen in training (the SAM-Mix
    paper: 0.3).
    """
    per_slice: bool = False
    """True: after the window each slice is stretched to its own minimum and maximum (the SAM-Mix
    paper, A2).
    """
    slice_mm: float = 0.0
    """Distance of slices for methods that work in 3D; 0 = every scan's own."""
    plane: Plane = "axial"
    """Which slices networks look at: those that were outlined."""

    def __post_init__(self) -> None:
        """Refuse values that no slice could be made with."""
        if not (
            self.window_hu[0] < self.window_hu[1]
            and 0 <= self.percentiles[0] < self.percentiles[1] <= 100
        ):
            raise BadConfig(
                "recipe: lower bound is not below upper bound",
                where=f"{self}",
                fix="give the lower bound first",
                code="C02",
            )
        if (
            self.size < 0
            or self.size > 4096
            or not all(0 <= mm < math.inf for mm in (self.spacing_mm, self.slice_mm))
        ):
            raise BadConfig(
                "recipe: size must be 0..4096 px, spacing_mm and slice_mm 0 or more",
                where=f"{self}",
                fix="give values within these bounds",
                code="C02",
            )
        if not 0 < self.central <= 1:
            raise BadConfig(
                "recipe: central must lie in (0, 1]",
                where=f"central = {self.central}",
                fix="give a part such as 0.8",
                code="C02",
            )

    def __repr__(self) -> str:
        """What differs from a recipe that leaves everything open."""
        changed = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in fields(self)
            if getattr(self, f.name) != f.default
        ]
        return f"Recipe({', '.join(changed)})"

    @property
    def resolved(self) -> bool:
        """True once nothing is left to be found out from the data."""
        return self.modality != "auto" and self.size > 0 and (self.stretch or self.spacing_mm > 0)

    def on_grid(self, size: int) -> "Recipe":
        """The same on a grid of `size` x `size` pixels, whose spacing follows from the scans: fewer
        pixels, faster and coarser.

        Raises `BadConfig` for a size that the networks cannot halve five times (multiples of 32, 64
        to 1024).
        """
        if size % 32 or not 64 <= size <= 1024:
            raise BadConfig(
                f"slices of {size} x {size} pixels were asked for",
                fix="use a multiple of 32 from 64 to 1024, such as `size=160`",
                code="C02",
            )
        return replace(self, size=size, spacing_mm=0.0)

    def resolve(
        self, *, modality: Literal["ct", "mr"], extent_mm: list[float], spacing_mm: list[float]
    ) -> "Recipe":
        """Fill in what is left open from the scans: their modality, in-plane extents and pixel
        sizes (one number per scan).

        The spacing is the median of the scans, made coarser where 256 pixels would not cover the
        95th percentile of the extents; the size is then the smallest multiple of 32 that does, at
        least 64.
        """
        chosen = replace(self, modality=modality if self.modality == "auto" else self.modality)
        cover = float(np.percentile(extent_mm, 95))
        if chosen.spacing_mm == 0 and not chosen.stretch:
            # Rounded up where it has to cover: rounded down, `limit` pixels would not.
            coarse_enough = math.ceil(cover / (chosen.size or 256) * 1e4 - 1e-6) / 1e4
            usual = round(float(np.median(spacing_mm)), 4)
            chosen = replace(chosen, spacing_mm=max(usual, coarse_enough))
        if chosen.size == 0:
            pixels = (
                256
                if chosen.stretch
                else max(64, 32 * math.ceil(cover / chosen.spacing_mm / 32 - 1e-6))
            )
            chosen = replace(chosen, size=pixels)
        return chosen

    def bounds(self, intensities: Float[np.ndarray, "d h w"]) -> tuple[float, float]:
        """Intensities mapped to 0 and 1 for one scan. Label-free."""
        if self.modality == "ct":
            return self.window_hu
        sample = intensities[np.isfinite(intensities)]
        step = max(1, sample.size // 2_000_000)
        low, high = np.percentile(sample[::step], self.percentiles)
        return float(low), float(high)

    def scale(
        self, intensities: Float[np.ndarray, "n h w"], bounds: tuple[float, float]
    ) -> Float[np.ndarray, "n h w"]:
        """Map `bounds` to [0, 1] and clip; a scan without contrast (bounds equal) gives zeros."""
        low, high = bounds
        if self.per_slice:
            intensities = np.clip(intensities, low, high)
            low = intensities.min(axis=(1, 2), keepdims=True)
            high = intensities.max(axis=(1, 2), keepdims=True)
        span = np.maximum(np.float32(high) - np.float32(low), np.float32(1e-20))
        result: Float[np.ndarray, "n h w"] = np.clip(
            (intensities - np.float32(low)) / span, 0, 1
        ).astype(np.float32)
        return result

    def slices(self, depth: int) -> range:
        """Slices that take part, of `depth` (the paper keeps ceil(m - 0.3 m) .. floor(m + 0.3 m) -
        1 with m = (n - 1) / 2).
        """
        if self.central >= 1:
            return range(depth)
        middle = (depth - 1) / 2
        first = math.ceil(middle - self.central * middle)
        return range(first, max(first + 1, math.floor(middle + self.central * middle)))

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; the plane only where it is not axial, as earlier versions wrote."""
        record = asdict(self)
        if self.plane == "axial":
            del record["plane"]
        return record

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Recipe":
        """Rebuild from `as_dict`; unknown keys are refused by name."""
        return parse(cls, record, "recipe")


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(),
        Recipe("ct-liver", modality="ct", spacing_mm=1.75, size=224),
        Recipe("ct", modality="ct"),
        Recipe("mr", modality="mr"),
        Recipe("left-atrium", modality="mr", spacing_mm=0.625, size=256, slice_mm=0.625),
        Recipe("left-atrium-half", modality="mr", spacing_mm=1.25, size=128, slice_mm=1.25),
        Recipe(
            "sam-mix-paper",
            "ct",
            window_hu=(-160.0, 240.0),
            size=256,
            stretch=True,
            central=0.3,
            per_slice=True,
        ),
    )
}
"""Named recipes of `--recipe`."""
