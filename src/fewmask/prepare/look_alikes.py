"""Scans that look like one in another part of the split: one scan saved twice (S02)."""

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float

from fewmask.core.budget import Split
from fewmask.io.prepared import CaseRow

_SIDE = 12
"""Pixels along a side of each of three thumbnails."""
_ALIKE = 0.998
"""Correlation of thumbnails from which two scans are told to be alike; patients of one hospital
reach 0.7 to 0.9, simulated ones 0.98.
"""
_ROWS = 256
_MOST = 100
"""Pairs that are named; of thousands nobody reads the rest."""


_MOST_SCANS = 50_000
"""All are compared with all: two minutes of a core, and of ten times as many three hours."""


def thumbnails(intensities: Float[np.ndarray, "d h w"]) -> str:
    """The middle planes across d, h and w, each as 12 x 12 grey levels, as text."""
    low, high = np.percentile(intensities[:: max(1, len(intensities) // 32)], (1, 99))
    planes = [np.take(intensities, n // 2, axis) for axis, n in enumerate(intensities.shape)]
    levels = [np.clip((_shrink(p) - low) / max(high - low, 1e-20), 0, 1) for p in planes]
    return np.round(255 * np.stack(levels)).astype(np.uint8).tobytes().hex()


def _shrink(plane: Float[np.ndarray, "a b"]) -> Float[np.ndarray, "12 12"]:
    """Means of equal parts; a short axis is repeated first."""
    for axis, n in enumerate(plane.shape):
        edges = np.arange(_SIDE) * n // _SIDE
        stops = np.maximum((np.arange(_SIDE) + 1) * n // _SIDE, edges + 1)
        parts = [
            np.take(plane, range(a, b), axis).mean(axis) for a, b in zip(edges, stops, strict=True)
        ]
        plane = np.stack(parts, axis)
    return plane


def look_alikes(rows: Mapping[str, CaseRow], split: Split) -> Iterator[str]:
    """A line per pair of scans of different parts that look alike; those with equal voxels are
    refused elsewhere (N44), those of earlier versions were never looked at.
    """
    part_of = {case: part for part in ("train", "val", "test") for case in getattr(split, part)}
    cases = [case for case in sorted(part_of) if len(rows[case].thumbnails) == 6 * _SIDE * _SIDE]
    if len(cases) < 2:
        return
    if len(cases) > _MOST_SCANS:
        yield (
            f"S02: {len(cases):,} scans are too many to compare each with each: whether one is "
            "saved twice with other voxels was not looked for"
        )
        return
    texts = [bytes.fromhex(rows[case].thumbnails) for case in cases]
    pixels = np.array([np.frombuffer(text, np.uint8) for text in texts], float)
    pixels -= pixels.mean(1, keepdims=True)
    pixels /= np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1e-20)
    count = 0
    for one, other in _pairs_alike(pixels):
        first, second = cases[one], cases[other]
        if part_of[first] == part_of[second]:
            continue
        count += 1
        if count <= _MOST:
            yield (
                f"S02: {first} ({part_of[first]}) looks like {second} ({part_of[second]}): if they "
                "are one scan saved twice, or one patient, put both in one part of the split"
            )
    if count > _MOST:
        yield f"S02: {count - _MOST:,} more pairs of scans of different parts look alike"


def _pairs_alike(pixels: Float[np.ndarray, "n p"]) -> Iterator[tuple[int, int]]:
    """Row by row, some rows at a time: all against all at once would take n x n numbers."""
    for start in range(0, len(pixels), _ROWS):
        alike = pixels[start : start + _ROWS] @ pixels[start:].T > _ALIKE
        for i, j in np.argwhere(np.triu(alike, 1)):
            yield start + int(i), start + int(j)
