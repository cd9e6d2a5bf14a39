"""Label files that list segments by name, where one voxel may lie in several: from them to one
number per voxel, without losing a voxel in silence.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Integer, Shaped

from fewmask.core.errors import BadScan
from fewmask.core.words import count

Colour = tuple[int, int, int]
_MAX_SEGMENTS = 4096


@dataclass(frozen=True)
class Segment:
    """One structure of a label file."""

    name: str
    value: int
    """Its number in the label map that is read."""
    colour: Colour | None = None
    """Red, green, blue from 0 to 255."""
    layer: int = 0
    stored: int = 1
    """What its voxels hold in its layer."""


def names_of(segments: Iterable[Segment]) -> dict[str, int]:
    """Name -> value; of a name that two segments have, none."""
    found: dict[str, int] = {}
    twice = set()
    for segment in segments:
        twice |= {segment.name} & found.keys()
        found[segment.name] = segment.value
    return {name: value for name, value in found.items() if name and name not in twice}


def slicer_segments(texts: Mapping[str, str], layers: int) -> tuple[Segment, ...]:
    """The segments that 3D Slicer lists in a `.seg.nrrd`; empty for another file.

    Files of before 2020 name neither layer nor value: there each segment has a layer of its own.
    Raises `BadScan` (M08) for what cannot be meant.
    """
    numbers = sorted(
        {int(found[1]) for key in texts if (found := re.match(r"Segment(\d{1,4})_", key))}
    )
    segments = []
    for number in numbers:
        own = {
            key.split("_", 1)[1]: text
            for key, text in texts.items()
            if key.startswith(f"Segment{number}_")
        }
        layer = _whole(own.get("Layer", str(number if layers > 1 else 0)))
        stored = _whole(own.get("LabelValue", "1"))
        if layer >= layers or stored < 1:
            raise BadScan(
                f"Segment{number}: layer {layer} of {layers}, value {stored}",
                fix="export the segmentation again",
                code="M08",
            )
        name = own.get("Name", own.get("ID", f"Segment {number}"))
        segments.append(Segment(name, stored, _colour(own.get("Color", "")), layer, stored))
    return numbered(segments)


def numbered(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """The segments with values of their own: as stored where those differ, else 1, 2, ..."""
    if len({segment.stored for segment in segments}) == len(segments):
        return tuple(replace(segment, value=segment.stored) for segment in segments)
    return tuple(replace(segment, value=n) for n, segment in enumerate(segments, 1))


def merge_layers(
    layers: Shaped[np.ndarray, "v i j k"],
    segments: Sequence[Segment],
    wanted: Mapping[int, str] | None = None,
) -> Integer[np.ndarray, "i j k"]:
    """One number per voxel out of the layers of a file. Raises as `merge`, and `BadScan` (M08) for
    voxels of a layer that no segment has.
    """
    if len(layers) == 1 and all(segment.value == segment.stored for segment in segments):
        flat: Integer[np.ndarray, "i j k"] = layers[0]
        return flat
    for number, layer in enumerate(layers):
        known = [0, *(segment.stored for segment in segments if segment.layer == number)]
        if stray := sorted(set(np.unique(layer).tolist()) - set(known)):
            raise BadScan(
                f"layer {number} holds {stray[0]:g}, which no segment has",
                fix="export the segmentation again",
                code="M08",
            )
    parts = ((segment, layers[segment.layer] == segment.stored) for segment in segments)
    return merge(layers.shape[1:], parts, wanted)


def merge(
    shape: tuple[int, int, int],
    parts: Iterable[tuple[Segment, Bool[np.ndarray, "i j k"]]],
    wanted: Mapping[int, str] | None = None,
) -> Integer[np.ndarray, "i j k"]:
    """One number per voxel.

    `wanted` says for values that somebody asked for which class they are part of: where segments
    overlap they win over the others; None: every segment is a class of its own. Raises `BadScan`
    (M17) where segments of two classes share voxels.
    """
    labels = np.zeros(shape, np.uint16)
    seen: dict[int, Segment] = {}
    for segment, inside in parts:
        seen[segment.value] = segment
        if len(seen) > _MAX_SEGMENTS:
            raise BadScan(
                f"more than {_MAX_SEGMENTS} segments",
                fix="save the segments in several files",
                code="M08",
            )
        under = labels[inside]
        taken = [seen[value] for value in np.unique(under[under > 0]).tolist()]
        own = _class_of(segment, wanted)
        rivals = [other for other in taken if _class_of(other, wanted)]
        if clash := [other for other in rivals if own and _class_of(other, wanted) != own]:
            raise _overlap(clash[0], segment, int((under == clash[0].value).sum()))
        keep = [other.value for other in (rivals if wanted is not None and not own else ())]
        labels[inside] = np.where(np.isin(under, keep), under, segment.value)
    return labels


def _class_of(segment: Segment, wanted: Mapping[int, str] | None) -> str:
    """What a segment is part of; empty for one that nobody asked for."""
    return str(segment.value) if wanted is None else wanted.get(segment.value, "")


def _overlap(one: Segment, other: Segment, voxels: int) -> BadScan:
    names = [segment.name or f"value {segment.value}" for segment in (one, other)]
    return BadScan(
        f"{names[0]!r} and {names[1]!r} share {count(voxels, 'voxel')}",
        where="one voxel can be of one class only",
        fix="ask for one of them, or for both as one class, with `labels`; or save them without "
        "overlap",
        code="M17",
    )


def _whole(text: str) -> int:
    if not re.fullmatch(r"\s*\d{1,5}\s*", text):
        raise BadScan(
            f"a segment's layer or value is {text[:40]!r}",
            fix="export the segmentation again",
            code="M08",
        )
    return int(text)


def _colour(text: str) -> Colour | None:
    """Slicer writes three numbers from 0 to 1."""
    words = text.split()
    if len(words) != 3 or not all(re.fullmatch(r"[01](\.\d+)?", word) for word in words):
        return None
    red, green, blue = (min(255, round(255 * float(word))) for word in words)
    return red, green, blue


_COLOURS = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
    (128, 128, 128),
)
"""Told apart by colour-blind eyes (Okabe and Ito)."""


def coloured(names: Sequence[str]) -> tuple[Segment, ...]:
    """Structures 1, 2, ... of these names, each with a colour."""
    return tuple(
        Segment(name, n, _COLOURS[(n - 1) % len(_COLOURS)], 0, n) for n, name in enumerate(names, 1)
    )
