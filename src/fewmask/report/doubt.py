"""Why a scan should be looked at, in words, and how soon."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fewmask.evaluate.scores import CaseScore
from fewmask.report.measure import Extent

Tags = Mapping[str, tuple[int, int] | None]
"""Structure -> first and last slice d, or None: not in this scan; no key: nobody said."""
ODD_VOLUME, FEWEST = 3.5, 5
"""A volume is odd that lies farther from the median than so many (robust) standard deviations, of
so many scans or more.
"""
_MISSING = {
    "tags": "the mask is empty, but tags say that it is there",
    "outlines": "nothing was drawn beyond the outlines, but it goes on there",
}
_EMPTY, _DENIED, _NOTHING, _MOST_ENDS, _MOST_PIECES, _ODD = 1.0, 0.95, 0.9, 0.8, 0.7, 0.5
RULE = (
    "Doubt runs from 0 to 1. With a truth it is 1 minus the worst Dice. Without one it is the "
    "largest of: an empty mask although somebody said the structure is there (1), a structure "
    "drawn although a tag denies it (0.95), nothing drawn at all (0.9), the share of slices that "
    "tag and mask disagree about (up to 0.8), pieces apart from the largest (up to 0.7), a volume "
    "far from that of the other scans (0.5), and 1 minus the predicted Dice where there is one."
)
"""For the page."""


@dataclass(frozen=True)
class Quality:
    """A line of quality.csv: what a mask's Dice is predicted to be."""

    structure: str
    """A structure's name, or `mean`."""
    dice: float
    low: float
    high: float
    reasons: str = ""


@dataclass(frozen=True)
class Evidence:
    """All that is known of one scan's mask."""

    extents: Sequence[Extent]
    tags: Tags = field(default_factory=dict)
    scores: Sequence[CaseScore] = ()
    quality: Sequence[Quality] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    """Structures of which the network drew nothing though `tags` or `outlines` say that they are
    there (`KnownNote.empty`).
    """


@dataclass(frozen=True)
class Doubt:
    """How much, 0 (none) to 1, and why."""

    amount: float
    reasons: tuple[str, ...]


def find_doubts(
    scans: Mapping[str, Evidence], called: Callable[[str, int], int]
) -> dict[str, Doubt]:
    """Of every scan, the most doubtful first, scans alike by name. `called` turns a case and a
    slice d into the number a person knows it by.
    """
    odd = _odd_volumes({case: evidence.extents for case, evidence in scans.items()})
    doubts = {}
    for case, evidence in scans.items():

        def number(d: int, case: str = case) -> int:
            return called(case, d)

        doubts[case] = _doubt(evidence, odd[case], number)
    return dict(sorted(doubts.items(), key=lambda item: (-item[1].amount, item[0])))


def _doubt(evidence: Evidence, odd: Sequence[str], called: Callable[[int], int]) -> Doubt:
    found = [
        *_empties(evidence),
        *_ends(evidence, called),
        *_pieces(evidence.extents),
        *((_ODD, words) for words in odd),
        *_predicted(evidence.quality),
    ]
    found.sort(key=lambda reason: -reason[0])
    reasons = [words for _, words in found]
    amount = max((weight for weight, _ in found), default=0.0)
    known = [score for score in evidence.scores if not math.isnan(score.dice)]
    if known:
        amount = 1 - min(score.dice for score in known)
        reasons = [*map(_scored, sorted(known, key=lambda score: score.dice)), *reasons]
    return Doubt(amount, tuple(dict.fromkeys(reasons)))


def _scored(score: CaseScore) -> str:
    if score.status == "ok":
        return f"{score.label}: Dice {score.dice:.2f}"
    return f"{score.label}: {score.status} (Dice 0)"


def _empties(evidence: Evidence) -> list[tuple[float, str]]:
    found = []
    for extent in evidence.extents:
        name, tag = extent.structure, evidence.tags.get(extent.structure)
        by = evidence.missing.get(name) or ("tags" if tag and extent.span is None else "")
        if by:
            found.append((_EMPTY, f"{name}: {_MISSING[by]}"))
        elif name in evidence.tags and tag is None and extent.span is not None:
            found.append((_DENIED, f"{name}: drawn, but its tag says that it is not in this scan"))
    nothing = all(extent.span is None for extent in evidence.extents)
    denied = all(evidence.tags.get(e.structure, ()) is None for e in evidence.extents)
    if nothing and not found and not denied:
        found.append((_NOTHING, "empty: nothing was drawn in this scan"))
    return found


def _ends(evidence: Evidence, called: Callable[[int], int]) -> list[tuple[float, str]]:
    """Tags and masks that begin or end at another slice."""
    found = []
    for extent in evidence.extents:
        tag = evidence.tags.get(extent.structure)
        if tag is None or extent.span is None or extent.span == tag:
            continue
        apart = abs(extent.span[0] - tag[0]) + abs(extent.span[1] - tag[1])
        share = min(1.0, apart / (tag[1] - tag[0] + 1))
        words = (
            f"{extent.structure}: mask in slices {spell(extent.span, called)}, "
            f"tag says {spell(tag, called)}"
        )
        found.append((_MOST_ENDS * share, words))
    return found


def spell(span: tuple[int, int], called: Callable[[int], int]) -> str:
    """`21 to 90`, the smaller number first, as the file counts."""
    first, last = sorted(map(called, span))
    return f"{first} to {last}"


def _pieces(extents: Sequence[Extent]) -> list[tuple[float, str]]:
    return [
        (
            min(_MOST_PIECES, 0.05 + 2 * extent.stray),
            f"{extent.structure}: {extent.pieces} pieces, {percent(extent.stray)} of it outside "
            "the largest",
        )
        for extent in extents
        if extent.pieces > 1
    ]


def percent(share: float) -> str:
    """`12 %`; what is more than nothing is not shown as 0."""
    return "under 1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def _predicted(quality: Sequence[Quality]) -> list[tuple[float, str]]:
    found = []
    structures = sum(line.structure != "mean" for line in quality)
    for line in quality:
        if line.structure == "mean" and structures == 1:
            continue  # it says the same again
        name = "all structures" if line.structure == "mean" else line.structure
        known = not math.isnan(line.dice)
        words = [f"predicted Dice {line.dice:.2f}"] if known else []
        if known and not math.isnan(line.low):
            words[0] += f" ({line.low:.2f} to {line.high:.2f})"
        repeats = structures and line.structure == "mean"  # its structures said why
        words += [line.reasons] if line.reasons and not repeats else []
        if words:
            found.append((1 - line.dice if known else 0.0, f"{name}: {'; '.join(words)}"))
    return found


def _odd_volumes(scans: Mapping[str, Sequence[Extent]]) -> dict[str, list[str]]:
    """Volumes far from the median of all scans where the structure was drawn, by case."""
    found: dict[str, list[str]] = {case: [] for case in scans}
    volumes: dict[str, dict[str, float]] = {}
    for case, extents in scans.items():
        for extent in extents:
            if extent.span is not None:
                volumes.setdefault(extent.structure, {})[case] = extent.ml
    for name, by_case in volumes.items():
        values = np.array(list(by_case.values()))
        middle = float(np.median(values))
        spread = 1.4826 * float(np.median(np.abs(values - middle)))
        if len(values) < FEWEST or spread == 0:
            continue
        for case, ml in by_case.items():
            if abs(ml - middle) > ODD_VOLUME * spread:
                side = "far above" if ml > middle else "far below"
                found[case].append(
                    f"{name}: {ml:.0f} mL, {side} the other scans (median {middle:.0f} mL)"
                )
    return found
