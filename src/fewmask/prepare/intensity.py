"""Are a scan's numbers Hounsfield units? What they look like where they are not, and what a person
declares them to be.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from fewmask.core.errors import BadConfig, BadScan
from fewmask.core.volume import Volume

Wanted = Literal["auto", "ct", "mr"]

_WORDS = {"offset": (1.0, -1024.0)}
_WRAPPED = 2**16
_SLICES = 16
"""So many slices are looked at."""


@dataclass(frozen=True)
class _Look:
    """A scan's numbers: their ends, and some slices of them."""

    low: float
    high: float
    some: Float[np.ndarray, "n h w"]

    def share(self, low: float, high: float) -> float:
        """Share of voxels from `low` to below `high`."""
        return float(((self.some >= low) & (self.some < high)).mean())

    @property
    def ct(self) -> bool:
        """Air or fat far below zero: only Hounsfield units do that."""
        return bool(self.low <= -100 and np.percentile(self.some, 1) < -90)


def looks_like_ct(volume: Volume) -> bool:
    """Do the scan's intensities look like Hounsfield units?"""
    return _look(volume).ct


def check_intensity(text: str | None) -> None:
    """Raise `BadConfig` (C02) for a text that `declare` cannot mean anything by."""
    if text is not None and text != "wrapped":
        _scaling(text)


def declare(volume: Volume, intensity: str | None, where: str) -> Volume:
    """The scan with its numbers as Hounsfield units, as a person declares them: `offset` (1024 too
    high), `wrapped` (negative numbers stored as unsigned 16 bits) or `SLOPE INTER`, as in HU =
    slope x number + inter. A scan that looks like Hounsfield units already is left alone, with a
    note. None changes nothing.
    """
    if intensity is None:
        return volume
    if looks_like_ct(volume):
        note = "N38: looks like Hounsfield units already: `intensity` was left out"
        return replace(volume, notes=(*volume.notes, note))
    note = f"N38: numbers taken as `intensity={intensity}` says"
    if intensity == "wrapped":
        return replace(_unwrap(volume, where), notes=(*volume.notes, note))
    slope, inter = _scaling(intensity)
    return replace(
        volume,
        slope=volume.slope * slope,
        inter=volume.inter * slope + inter,
        notes=(*volume.notes, note),
    )


def intensity_notes(volume: Volume, wanted: Wanted) -> list[str]:
    """N38: what a scan's numbers look like, where they are not what is wanted; `auto`: nobody said
    whether it is CT, so only what no MR looks like is told.
    """
    look = _look(volume)
    shown = f"values {look.low:g}..{look.high:g}"
    if look.ct:
        return [f"N38: looks like CT ({shown}), MR was expected"] if wanted == "mr" else []
    if wanted == "mr":
        return []
    wrapped = look.share(_WRAPPED - 1100.0, float(_WRAPPED)) > 0.001
    if look.low >= 0 and look.high < _WRAPPED and wrapped:
        return [
            f"N38: {shown}: CT whose negative numbers were stored as unsigned ones? Then say "
            "`intensity=wrapped`"
        ]
    if look.low >= 0 and _is_offset(look):
        return [
            f"N38: {shown}: CT stored without its intercept, 1024 too high? Then say "
            "`intensity=offset`"
        ]
    if wanted == "auto":
        return []
    if look.low >= 0 and look.high <= 255:
        span = "0..1" if look.high <= 1 else "0..255"
        top = 1 if look.high <= 1 else 255
        return [
            f"N38: {shown}: CT that was windowed and scaled to {span}? Hounsfield units are needed;"
            f" for a window of -160..240 HU say `intensity={400 / top:.6g} -160`"
        ]
    return [
        f"N38: {shown} are not like Hounsfield units (no air or fat below -90), which CT needs; "
        "say `intensity=SLOPE INTER` if HU = slope x number + inter"
    ]


def _is_offset(look: _Look) -> bool:
    """Air near 0, soft tissue near 1024, and less between them; or twelve bits, most of them air.

    The first is what a body in air gives; no MR is that dark between its background and its tissue
    at these very numbers.
    """
    tissue = look.share(874.0, 1324.0)
    gap = look.share(224.0, 774.0)
    body_in_air = tissue > 0.02 and look.share(0.0, 224.0) > 0.1 and gap < 0.5 * tissue
    twelve_bits = 3500 <= look.high <= 4200 and float(np.median(look.some)) < 200
    return body_in_air or twelve_bits


def _look(volume: Volume) -> _Look:
    low, high = intensity_ends(volume)
    step = max(1, volume.shape[0] // _SLICES)
    return _Look(low, high, volume.intensities(slice(None, None, step)))


def intensity_ends(volume: Volume) -> tuple[float, float]:
    """Least and largest intensity."""
    first, last = (end * volume.slope + volume.inter for end in _ends(volume))
    return min(first, last), max(first, last)


def _ends(volume: Volume) -> tuple[float, float]:
    return float(volume.voxels.min()), float(volume.voxels.max())


def _unwrap(volume: Volume, where: str) -> Volume:
    low, high = _ends(volume)
    if volume.voxels.dtype.kind not in "iu" or low < 0 or high >= _WRAPPED:
        raise BadScan(
            f"`intensity=wrapped` is for whole numbers from 0 to 65535, these go from {low:g} to "
            f"{high:g}",
            where=where,
            fix="leave it out, or declare this scan apart from the others",
            code="N38",
        )
    # uint16 to int16 in place of the bits: 65535 becomes -1.
    return replace(volume, voxels=volume.voxels.astype(np.uint16).view(np.int16))


def _scaling(text: str) -> tuple[float, float]:
    """Slope and inter of a word, or of two numbers."""
    if text in _WORDS:
        return _WORDS[text]
    words = re.split(r"[\s,]+", text.strip())
    try:
        slope, inter = map(float, words)
    except ValueError:
        slope = inter = 0.0
    if not (slope > 0 and np.isfinite([slope, inter]).all()):
        raise BadConfig(
            f"`intensity` {text!r} is not known",
            fix="offset, wrapped, or two numbers: `intensity=1 -1024` for HU = 1 x number - 1024",
            code="C02",
        )
    return slope, inter
