"""Signs of one predicted structure that need no truth: how sure the network was, and whether the
mask has the form of one thing. No torch.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage
from scipy.special import entr

_SHELL = 2
"""Pixels of a slice on both sides of the border that count as its shell."""
_IN_PLANE = np.zeros((3, 3, 3), bool)
_IN_PLANE[1] = ndimage.generate_binary_structure(2, 1)
_SURENESS = np.arange(256) / 255
_BITS = (entr(_SURENESS) + entr(1 - _SURENESS)) / np.log(2)
"""Binary entropy of each value of `Sure.confidence`."""


@dataclass(frozen=True)
class Sure:
    """How sure a network was of a whole scan, before clean-up."""

    confidence: UInt8[np.ndarray, "d h w"]
    """Probability of each voxel's class, 0 to 255."""
    mass: Float[np.ndarray, "d k"]
    """Sum over each slice of the probabilities of every structure."""
    drawn: UInt8[np.ndarray, "d h w"]
    """Class of each voxel, as the network drew it."""


@dataclass(frozen=True)
class Signs:
    """What is seen of one structure in one mask. Slices are counted in the file's order from 0."""

    ml: float = 0.0
    first: int | None = None
    """First slice with the structure; None if it is empty."""
    last: int | None = None
    """Last slice with it."""
    pieces_ml: tuple[float, ...] = ()
    """Volumes of pieces (voxels that touch by their faces), the largest first; ten at most."""
    pieces: int = 0
    """How many pieces there are."""
    mean_intensity: float | None = None
    """Mean grey level in it, as the file means it (HU in CT)."""
    expected: float | None = None
    """Dice that the network's own probabilities expect of the mask; None where there are none."""
    border: float | None = None
    """Mean confidence close to the border, 0 to 1; None where the mask fills whole slices."""
    doubt: float | None = None
    """Bits of doubt per voxel of the mask: binary entropy of each voxel's confidence, summed over
    the box around the mask and two pixels more. None where there are no probabilities.
    """
    likeness: float | None = None
    """Mean Dice of slices with their neighbours within its extent; None of less than two slices."""
    gaps: int = 0
    """Slices between the first and the last that lack it."""
    removed: float = 0.0
    """Share of what the network drew that clean-up, tags or outlines took away."""
    unsure: float | None = None
    """Slices whose presence the network judged against its own mask, as a share of the mask's
    slices (of all slices if it is empty); None for networks that judge no presence.
    """
    at_end: bool = False
    """Does it reach the scan's first or last slice?"""
    outside_tags: int | None = None
    """Slices of the mask before or after its tags; None without tags."""
    short_of_tags: int | None = None
    """Slices between its tags and its ends that lack it; None without tags."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Signs":
        """From plain data. Raises `TypeError` for unknown keys."""
        known = {one.name for one in fields(cls)}
        if strangers := set(record) - known:
            raise TypeError(f"unknown signs: {', '.join(sorted(strangers))}")
        return cls(**{**record, "pieces_ml": tuple(record.get("pieces_ml", ()))})


def read_signs(
    labels: UInt8[np.ndarray, "d h w"],
    k: int,
    voxel_ml: float,
    sure: Sure | None = None,
    present: Float[np.ndarray, "d k"] | None = None,
    tags: Sequence[tuple[int, int] | None] | None = None,
    flipped: bool = False,
) -> list[Signs]:
    """Signs of structures 1 to k of a label map; `mean_intensity` is left to `with_intensity`.

    `sure` is None for what gives no probabilities. `present`: judged probability that a slice holds
    a structure. `tags`: per structure its first and last d, as a person said. `flipped`: does the
    file count slices the other way?
    """
    boxes = [*ndimage.find_objects(labels, k), *[None] * k][:k]
    found = []
    for number in range(1, k + 1):
        box = boxes[number - 1]
        values: dict[str, Any] = {}
        if box is not None:
            values |= _form(labels[box] == number, voxel_ml)
            first, last = box[0].start, box[0].stop - 1
            depth = len(labels)
            ends = (depth - 1 - last, depth - 1 - first) if flipped else (first, last)
            values |= {"first": ends[0], "last": ends[1]}
            values["at_end"] = first == 0 or last == depth - 1
        if sure is not None:
            values |= _certainty(labels, number, box, sure)
        holds = (labels == number).any((1, 2)) if box else np.zeros(len(labels), bool)
        if present is not None:
            judged = present[:, number - 1] >= 0.5
            values["unsure"] = float((judged != holds).sum() / max(holds.sum() or len(labels), 1))
        if tags is not None and (said := tags[number - 1]) is not None:
            inside = np.zeros(len(labels), bool)
            inside[said[0] : said[1] + 1] = True
            values["outside_tags"] = int((holds & ~inside).sum())
            values["short_of_tags"] = _short(holds, said)
        found.append(Signs(**values))
    return found


def mean_in(
    labels: UInt8[np.ndarray, "h w"], values: Float[np.ndarray, "h w"], k: int
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Sum of grey levels and count of voxels of classes 0 to k in one slice."""
    flat = labels.ravel()
    sums = np.bincount(flat, values.ravel().astype(float), minlength=k + 1)
    return sums, np.bincount(flat, minlength=k + 1).astype(float)


def _form(mask: Bool[np.ndarray, "d h w"], voxel_ml: float) -> dict[str, Any]:
    """Volume, pieces, gaps and likeness of a mask within its box."""
    areas = mask.sum((1, 2))
    parts, count = ndimage.label(mask)
    sizes = np.sort(np.bincount(parts.ravel())[1:])[::-1]
    both = (mask[1:] & mask[:-1]).sum((1, 2))
    likeness = 2 * both / np.maximum(areas[1:] + areas[:-1], 1)
    return {
        "ml": float(areas.sum() * voxel_ml),
        "pieces": int(count),
        "pieces_ml": tuple(round(float(size * voxel_ml), 3) for size in sizes[:10]),
        "gaps": int((areas == 0).sum()),
        "likeness": float(likeness.mean()) if len(likeness) else None,
    }


def _certainty(
    labels: UInt8[np.ndarray, "d h w"],
    number: int,
    box: tuple[slice, ...] | None,
    sure: Sure,
) -> dict[str, Any]:
    """Expected Dice, confidence at the border, doubt, and the share that was taken away."""
    mass = float(sure.mass[:, number - 1].sum())
    drawn = int((sure.drawn == number).sum())
    if box is None:
        return {"expected": 0.0 if drawn or mass > 0 else None, "removed": float(drawn > 0)}
    wide = tuple(
        slice(max(side.start - _SHELL * (axis > 0), 0), side.stop + _SHELL * (axis > 0))
        for axis, side in enumerate(box)
    )
    mask, drew = labels[wide] == number, sure.drawn[wide] == number
    confidence = sure.confidence[wide].astype(np.float32) / 255
    # Where something was filled or put in, another class was the surest: at best the rest is left.
    held = float(confidence[mask & drew].sum() + (1 - confidence[mask & ~drew]).sum())
    size = int(mask.sum())
    outer = ndimage.binary_dilation(mask, _IN_PLANE, _SHELL)
    inner = ndimage.binary_erosion(mask, _IN_PLANE, _SHELL, border_value=1)
    kept = int((mask & drew).sum())
    shell = confidence[outer & ~inner]
    return {
        "expected": 2 * held / (mass + size),
        # A mask that fills the slices whole has no border.
        "border": float(shell.mean()) if shell.size else None,
        "doubt": float(np.bincount(sure.confidence[wide].ravel(), minlength=256) @ _BITS) / size,
        "removed": 1 - kept / drawn if drawn else 0.0,
    }


def _short(holds: Bool[np.ndarray, " d"], said: tuple[int, int]) -> int:
    """Slices from either tag to where the mask begins and ends between them."""
    inside = holds[said[0] : said[1] + 1].nonzero()[0]
    length = said[1] - said[0] + 1
    return length if not len(inside) else int(inside[0] + length - 1 - inside[-1])
