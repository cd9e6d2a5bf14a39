"""Where masks fail: along the structure, by its size, by where the scans came from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from jaxtyping import Int

from fewmask.core.volume import LabelMap
from fewmask.evaluate.scores import CaseScore

FIFTHS = ("first fifth", "second", "middle", "fourth", "last fifth")
"""Of the slices that hold the structure in truth, from its first d (axial: nearest the feet)."""
_MOST_SOURCES = 8


@dataclass(frozen=True)
class Positions:
    """Per structure counts of pixels by fifths of the structure: (both, mask, truth)."""

    counts: Mapping[str, Int[np.ndarray, "3 5"]]

    def dice(self, structure: str) -> list[float]:
        """Dice of each fifth, pixels of all scans together; NaN where there is nothing."""
        both, mask, truth = self.counts[structure]
        return [
            2 * int(b) / int(m + t) if m + t else math.nan
            for b, m, t in zip(both, mask, truth, strict=True)
        ]


def positions_of(pred: LabelMap, truth: LabelMap, classes: Sequence[str]) -> Positions:
    """Of one scan; slices beyond the structure's ends are counted with the fifth they follow."""
    counts = {}
    for index, name in enumerate(classes, 1):
        mask, true = pred.voxels == index, truth.voxels == index
        held = np.flatnonzero(true.any((1, 2)))
        if not len(held):
            continue
        first, slices = held[0], held[-1] - held[0] + 1
        fifth = np.clip((np.arange(len(true)) - first) * 5 // slices, 0, 4)
        table = np.zeros((3, 5), int)
        for row, voxels in enumerate((mask & true, mask, true)):
            np.add.at(table[row], fifth, voxels.sum((1, 2)))
        counts[name] = table
    return Positions(counts)


def add_positions(one: Positions, other: Positions) -> Positions:
    """Of all scans together."""
    counts = dict(one.counts)
    for name, table in other.counts.items():
        counts[name] = counts[name] + table if name in counts else table
    return Positions(counts)


@dataclass(frozen=True)
class Group:
    """Scans of one kind."""

    name: str
    structure: str
    n: int
    dice: float
    """Mean."""


def by_size(scores: Sequence[CaseScore]) -> list[Group]:
    """Mean Dice of the smallest, middle and largest third, by true volume, of every structure with
    six scans or more.
    """
    groups = []
    for name, mine in _by_structure(scores).items():
        if len(mine) < 6:
            continue
        mine = sorted(mine, key=lambda score: score.truth_ml)
        for third, part in zip(
            ("smallest", "middle", "largest"), np.array_split(np.arange(len(mine)), 3), strict=True
        ):
            chosen = [mine[i] for i in part]
            ends = f"{chosen[0].truth_ml:.0f} to {chosen[-1].truth_ml:.0f} mL"
            groups.append(_group(f"{third} third, {ends}", name, chosen))
    return groups


def by_source(scores: Sequence[CaseScore], sources: Mapping[str, str]) -> list[Group]:
    """Mean Dice of scans from each source; nothing where there is one source, or too many to be
    sources.
    """
    names = sorted({sources[score.case] for score in scores if score.case in sources})
    if not 1 < len(names) <= _MOST_SOURCES:
        return []
    return [
        _group(source, name, chosen)
        for name, mine in _by_structure(scores).items()
        for source in names
        if (chosen := [score for score in mine if sources.get(score.case) == source])
    ]


def sources_of(images: Mapping[str, str]) -> dict[str, str]:
    """Case -> folder its scan came from: the first part of the path in which scans differ. `images`
    are paths relative to the data folder.
    """
    folders = {case: PurePosixPath(path).parts[:-1] for case, path in images.items()}
    longest = max(map(len, folders.values()), default=0)
    for level in range(longest):
        here = {case: (*parts, *[""] * longest)[level] for case, parts in folders.items()}
        if len(set(here.values())) > 1:
            return here
    return {}


def _by_structure(scores: Sequence[CaseScore]) -> dict[str, list[CaseScore]]:
    found: dict[str, list[CaseScore]] = {}
    for score in scores:
        if not math.isnan(score.dice) and score.truth_ml > 0:
            found.setdefault(score.label, []).append(score)
    return found


def _group(name: str, structure: str, scores: Sequence[CaseScore]) -> Group:
    return Group(name, structure, len(scores), float(np.mean([score.dice for score in scores])))
