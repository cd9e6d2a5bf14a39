"""What is removed from a label map and what is filled, per structure, and doing it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

from fewmask.core.config import parse

Keep = Literal["all", "largest", "above"]


@dataclass(frozen=True)
class StructureRule:
    """The rule of one structure. A part is a set of voxels that touch by their faces."""

    keep: Keep = "all"
    """`all` parts, the `largest`, or those `above` a share of the largest."""
    share: float = 0.0
    """With `keep="above"`: voxels of the smallest part that stays, as a share of the largest."""
    fill_holes: bool = False
    """Fill background that the structure encloses within a slice."""
    reason: str = ""
    """Why, in words, for the report."""

    @property
    def words(self) -> str:
        """`largest part, holes filled`; `nothing` where it leaves all as it is."""
        kept = {"all": "", "largest": "largest part"}.get(
            self.keep, f"parts from {self.share:.0%} of the largest on"
        )
        return ", ".join(word for word in (kept, self.fill_holes and "holes filled") if word) or (
            "nothing"
        )


@dataclass(frozen=True)
class CleanupRule:
    """The rules of all structures, by name; a structure without one is left as it is."""

    structures: dict[str, StructureRule] = field(default_factory=dict)

    @property
    def changes_nothing(self) -> bool:
        """Is there nothing to do?"""
        return all(rule.keep == "all" and not rule.fill_holes for rule in self.structures.values())

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for `cleanup.json`."""
        return {"structures": {name: asdict(rule) for name, rule in self.structures.items()}}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "CleanupRule":
        """From plain data. Raises `BadConfig` for unknown keys or values."""
        return parse(cls, record, "clean-up")


@dataclass(frozen=True)
class Cleaned:
    """A label map after clean-up, and what was done to it."""

    voxels: UInt8[np.ndarray, "d h w"]
    removed: Mapping[str, int]
    """Voxels of each structure that became background."""
    filled: Mapping[str, int]
    """Voxels of background that became the structure."""

    def changes(self, voxel_ml: float) -> "dict[str, Change]":
        """The same per structure, with millilitres."""
        changes = {}
        for name, removed in self.removed.items():
            filled = self.filled[name]
            changes[name] = Change(removed, removed * voxel_ml, filled, filled * voxel_ml)
        return changes


@dataclass(frozen=True)
class Change:
    """What clean-up did to one structure of one scan."""

    removed_voxels: int = 0
    removed_ml: float = 0.0
    filled_voxels: int = 0
    filled_ml: float = 0.0


@dataclass(frozen=True)
class Cleaning:
    """What clean-up did to one scan; stands beside its mask as `CASE.cleanup.json`."""

    structures: dict[str, Change]
    learned: bool = True
    """By the run's own rule? Else by one that was given."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Cleaning":
        """From plain data. Raises `BadConfig` for unknown keys or values."""
        return parse(cls, record, "clean-up")


def clean(
    voxels: UInt8[np.ndarray, "d h w"], classes: tuple[str, ...], rule: CleanupRule
) -> Cleaned:
    """The label map (class number = place in `classes` + 1) under a rule.

    Structures are cleaned in their order. A hole is filled where it is background only: one
    structure never takes a voxel from another. An empty structure stays empty.
    """
    out = voxels.copy()
    removed, filled = dict.fromkeys(classes, 0), dict.fromkeys(classes, 0)
    for number, name in enumerate(classes, 1):
        wanted = rule.structures.get(name, StructureRule())
        mask = out == number
        dropped = mask & ~keep_parts(mask, wanted)
        out[dropped] = 0
        removed[name] = int(dropped.sum())
        if wanted.fill_holes:
            holes = holes_of(mask & ~dropped) & (out == 0)
            out[holes] = number
            filled[name] = int(holes.sum())
    return Cleaned(out, removed, filled)


def keep_parts(mask: Bool[np.ndarray, "d h w"], rule: StructureRule) -> Bool[np.ndarray, "d h w"]:
    """The parts of a structure that a rule keeps. Of equally large parts the first one stays."""
    if rule.keep == "all" or not mask.any():
        return mask
    box = ndimage.find_objects(mask.view(np.uint8))[0]  # the rest of a scan costs time only
    parts, sizes = parts_of(mask[box])
    stays = sizes >= rule.share * sizes.max()
    if rule.keep == "largest":
        stays = np.arange(len(sizes)) == sizes.argmax()
    kept = np.zeros_like(mask)
    kept[box] = np.insert(stays, 0, False)[parts]
    return kept


def parts_of(mask: Bool[np.ndarray, "d h w"]) -> tuple[np.ndarray, np.ndarray]:
    """Number of the part of every voxel (0 = none, then 1, 2, ...), and the voxels of each part."""
    parts, count = ndimage.label(mask)
    return parts, np.bincount(parts.ravel(), minlength=count + 1)[1:]


def holes_of(mask: Bool[np.ndarray, "d h w"]) -> Bool[np.ndarray, "d h w"]:
    """What the mask encloses within each slice without being it."""
    holes = np.zeros_like(mask)
    for d in np.flatnonzero(mask.any((1, 2))):
        holes[d] = ndimage.binary_fill_holes(mask[d]) & ~mask[d]
    return holes
