"""What a person decides about a data folder, and about the scans in it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fewmask.core.errors import BadConfig
from fewmask.core.recipe import RECIPES, Recipe
from fewmask.core.volume import Plane
from fewmask.io.header import AS_IS, ReadOptions
from fewmask.prepare.intensity import check_intensity
from fewmask.prepare.seriestable import is_table


@dataclass(frozen=True)
class ScanOptions:
    """How scans are found and read; all that prediction needs to know."""

    read: ReadOptions = AS_IS
    """What a person declares about NIfTI files that do not speak for themselves."""
    series: str | None = None
    """DICOM series to take: its UID, number or description in every folder, or a table of series
    (`.csv`) as `check` proposes it.
    """
    keep_first: bool = False
    """Keep the first of DICOM slices at one position."""
    follow_links: bool = False
    """Accept links that leave the data folder."""
    channel: str | None = None
    """Which of several channels of a scan (`_0001`, `_flair`) is taken: its number or name; None
    takes the first.
    """
    intensity: str | None = None
    """What CT scans' numbers are where they are not Hounsfield units: `offset`, `wrapped`, or
    `SLOPE INTER` (`prepare/intensity.py`).
    """

    plane: Plane | None = None
    """In which plane scans are outlined and looked at, and slices are counted; None: axial, or as
    the run that predicts learned it.
    """

    def __post_init__(self) -> None:
        """Raises `BadConfig` for a word that means nothing."""
        check_intensity(self.intensity)

    @property
    def series_word(self) -> str | None:
        """The series that is meant in every folder; a table says it of each."""
        return None if is_table(self.series) else self.series


AS_THEY_ARE = ScanOptions()
"""Nothing declared."""


@dataclass(frozen=True)
class PrepareOptions:
    """What `prepare` makes of a data folder; `check` takes the same."""

    labels: dict[str, tuple[int | str, ...]] = field(default_factory=dict)
    """Class name -> values or structure names in the masks, in the order of the classes."""
    recipe: str = "auto"
    """Name of a recipe."""
    size: int = 0
    """Side in pixels of the grid that the recipe's slices are laid on (`Recipe.on_grid`); 0 = the
    recipe's own.
    """
    masks: str = "partial"
    """`partial`: slices without outline are unknown. `complete`: they are truly empty."""
    outlines: Path | None = None
    """Folder of masks, a file per case and named after it, instead of all masks beside the
    scans (`take_outlines`).
    """
    tags: Path | Literal["from-masks"] | None = None
    """Tag file, or tags read off complete masks (for experiments), or none."""
    tags_off: int = 0
    """Slices by which both ends of tags read off masks are wrong (for experiments)."""
    reviewed: Path | None = None
    """File of further reviewed slices (outlined or declared empty). A budget of slices is drawn
    from slices that hold something, so these enter no training today; `convert` exports them.
    """
    slices_from: int = 0
    """What the first slice of a file is called in `tags` and `reviewed`: 0, or 1 (ITK-SNAP)."""
    patients: Path | str | None = None
    """Table `case,patient`, or a regular expression with one group over case ids; default: one
    patient per case.
    """
    split: Path | None = None
    """Split file; default: drawn by patient."""
    jobs: int = 1
    """Worker processes, fewer for small files; with more than one a script needs
    `if __name__ == "__main__":` around its calls.
    """
    scans: ScanOptions = AS_THEY_ARE
    """How scans are found and read."""

    def __post_init__(self) -> None:
        """Raises `BadConfig` for a word that means nothing, and as `wanted_recipe` does."""
        if self.masks not in ("partial", "complete"):
            raise BadConfig(
                f"masks {self.masks!r} are not known",
                fix="partial or complete",
                code="C02",
            )
        if self.slices_from not in (0, 1):
            raise BadConfig(
                f"`slices_from={self.slices_from}`: the first slice is called 0 or 1",
                fix="`slices_from=0` as arrays count, `slices_from=1` as ITK-SNAP does",
                code="C02",
            )
        _ = self.wanted_recipe  # a wrong one is refused before anything is read

    @property
    def wanted_recipe(self) -> Recipe:
        """The named recipe, on the grid asked for. Raises `BadConfig` for a name that is not there
        or a size that cannot be.
        """
        if self.recipe not in RECIPES:
            raise BadConfig(
                f"no recipe is called {self.recipe!r}",
                fix=f"use one of: {', '.join(RECIPES)}",
                code="C01",
            )
        recipe = replace(RECIPES[self.recipe], plane=self.plane)
        return recipe.on_grid(self.size) if self.size else recipe

    @property
    def plane(self) -> Plane:
        """Which slices are outlined."""
        return self.scans.plane or "axial"

    @property
    def mark(self) -> dict[str, Any]:
        """What a prepared case depends on: a case made under another mark is made again."""
        return {
            "labels": [
                [name, *values] for name, values in self.labels.items()
            ],  # their order is the classes' numbers
            "masks": self.masks,
            "read": repr(self.scans.read),
            "series": self.scans.series_word or "",
            "keep_first": self.scans.keep_first,
            **({"intensity": self.scans.intensity} if self.scans.intensity else {}),
            **({"plane": self.plane} if self.plane != "axial" else {}),
        }

    def made(self, earlier: Mapping[str, Any]) -> bool:
        """Were cases with this mark in their dataset made under these very options?"""
        mark, later = (
            self.mark,
            {"intensity": "", "plane": ""},
        )  # of which earlier versions knew nothing
        return all(earlier.get(key, later.get(key)) == mark.get(key, "") for key in mark | later)


def table_or_pattern(text: str) -> Path | str:
    """What a person means by `patients`: a regular expression has a group, anything else is the
    name of a table.
    """
    return text if re.search(r"[()]", text) else Path(text)
