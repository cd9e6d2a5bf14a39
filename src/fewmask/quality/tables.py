"""`quality.csv`: the Dice that each mask of a folder probably has, and why some look doubtful."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fewmask.core.words import count
from fewmask.io.lock import waiting_lock
from fewmask.io.tables import write_csv
from fewmask.quality import volumes
from fewmask.quality.beside import Seen, read_all
from fewmask.quality.estimate import (
    LEAST_SCANS,
    Estimate,
    Prior,
    Shift,
    doubt_scores,
    expect,
    learn_shift,
    volume_scores,
)
from fewmask.quality.prior import PRIOR
from fewmask.quality.reasons import reasons_of

FILE = "quality.csv"
COLUMNS = ("case", "structure", "dice", "low", "high", "reasons")
MEAN = "mean"
DOUBTFUL = 0.7
"""A predicted Dice below which a mask is called doubtful."""
_NAMED = 5
_LEAST_OUTLINED = 5
"""Scans with outlines from which on they are a ceiling."""


@dataclass(frozen=True)
class Judged:
    """One row of the table."""

    case: str
    structure: str
    """`mean` for all of them."""
    estimate: Estimate
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Calibration:
    """What a run's own scans say about the mapping, per structure."""

    shifts: Mapping[str, Shift] = field(default_factory=dict)
    """Of structures with five kept-aside scans or more that were scored."""
    ceilings: Mapping[str, float] = field(default_factory=dict)
    """Dice on outlined slices that the network learned from."""


UNCALIBRATED = Calibration()
"""The shipped mapping as it is."""


def calibrate(
    scans: Sequence[Seen], truths: Mapping[tuple[str, str], float], prior: Prior = PRIOR
) -> Calibration:
    """From the masks of a run: `truths` are Dice of (case, structure) of scans that were kept aside
    and scored; outlines that the network learned from are a ceiling only.
    """
    shifts: dict[str, Shift] = {}
    pairs: dict[str, list[tuple[float, float]]] = {}
    for name, one in _estimates(scans, UNCALIBRATED, prior):
        true = truths.get((one.case, name))
        if true is not None and one.estimate.dice:
            pairs.setdefault(name, []).append((one.estimate.dice, true))
    for name, known in pairs.items():
        if shift := learn_shift(known):
            shifts[name] = shift
    return Calibration(shifts, _ceilings(scans))


def judge(
    scans: Sequence[Seen], calibration: Calibration = UNCALIBRATED, prior: Prior = PRIOR
) -> list[Judged]:
    """Rows of all scans: each structure, then `mean`."""
    rows: dict[str, list[Judged]] = {}
    for _, one in _estimates(scans, calibration, prior):
        rows.setdefault(one.case, []).append(one)
    judged = []
    for case, structures in rows.items():
        judged += [*structures, Judged(case, MEAN, _mean(structures), _named(structures))]
    return judged


def doubtful(rows: Sequence[Judged]) -> list[str]:
    """Cases whose mean is low, the worst first."""
    means = [(one.estimate.dice, one.case) for one in rows if one.structure == MEAN]
    return [
        case for dice, case in sorted((d, c) for d, c in means if d is not None) if dice < DOUBTFUL
    ]


def tell_doubtful(rows: Sequence[Judged], folder: Path) -> str:
    """`2 of 20 masks look doubtful: ct_03, ct_07, see masks/quality.csv`."""
    means = [one for one in rows if one.structure == MEAN]
    worst, masks = doubtful(rows), count(len(means), "mask")
    if all(one.estimate.dice is None for one in means):
        return f"how good the masks are cannot be known, see {folder / FILE} and {volumes.FILE}"
    if not worst:
        return f"none of {masks} looks doubtful, see {folder / FILE} and {volumes.FILE}"
    named = ", ".join(worst[:_NAMED]) + " ..." * (len(worst) > _NAMED)
    look = "looks" if len(worst) == 1 else "look"
    return f"{len(worst)} of {masks} {look} doubtful: {named}, see {folder / FILE}"


def write_tables(
    folder: Path, calibration: Calibration = UNCALIBRATED, slices_from: int = 0
) -> list[Judged]:
    """Write `quality.csv` and `volumes.csv` of all masks of the folder from the signs beside them;
    returns the rows. Several processes may do so, each when its masks are there: of two that read
    at the same time the later one reads again, so that no table lacks what a finished one drew.
    """
    while True:
        before = _state_of(folder / FILE)
        scans = read_all(folder)
        rows = judge(scans, calibration)
        with waiting_lock(folder, "write tables"):
            # Not: have signs come since? Among hundreds of processes some always have; who drew
            # them writes when it ends.
            if _state_of(folder / FILE) != before:
                continue
            write_csv(folder / FILE, COLUMNS, map(_row, rows))
            write_csv(
                folder / volumes.FILE, volumes.COLUMNS, volumes.volume_rows(scans, slices_from)
            )
            return rows


def _state_of(path: Path) -> tuple[int, int, int] | None:
    """What changes when another process writes the table."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _row(one: Judged) -> dict[str, object]:
    numbers = {name: getattr(one.estimate, name) for name in ("dice", "low", "high")}
    rounded = {name: None if value is None else round(value, 3) for name, value in numbers.items()}
    return {
        "case": one.case,
        "structure": one.structure,
        **rounded,
        "reasons": "; ".join(one.reasons),
    }


def _estimates(
    scans: Sequence[Seen], calibration: Calibration, prior: Prior
) -> list[tuple[str, Judged]]:
    """Structure and row, scan by scan."""
    names = list(dict.fromkeys(name for seen in scans for name in seen.signs))
    found: dict[tuple[str, str], Judged] = {}
    for name in names:
        having = [seen for seen in scans if name in seen.signs]
        sizes = [seen.signs[name].ml for seen in having]
        there = [ml for ml in sizes if ml > 0]
        usual = float(np.median(there)) if len(there) >= LEAST_SCANS else None
        doubts = doubt_scores([seen.signs[name].doubt for seen in having])
        for seen, score, doubt in zip(having, volume_scores(sizes), doubts, strict=True):
            signs = seen.signs[name]
            shift, ceiling = calibration.shifts.get(name), calibration.ceilings.get(name)
            estimate = expect(signs, prior, score, shift, ceiling, doubt)
            why = reasons_of(signs, score, usual)
            if estimate.why_not:
                why.append(estimate.why_not)
            found[seen.case, name] = Judged(seen.case, name, estimate, tuple(why))
    return [(name, found[seen.case, name]) for seen in scans for name in seen.signs]


def _mean(rows: Sequence[Judged]) -> Estimate:
    """Of all structures, where each can be known. Ends are means of ends: structures of one scan
    tend to be wrong together.
    """
    known = [one.estimate for one in rows]
    columns = [[getattr(one, name) for one in known] for name in ("dice", "low", "high")]
    if not rows or any(value is None for column in columns for value in column):
        return Estimate(why_not="cannot be known")
    dice, low, high = (float(np.mean(column)) for column in columns)
    return Estimate(dice, low, high)


def _named(rows: Sequence[Judged]) -> tuple[str, ...]:
    """Reasons of the structures, the worst structure first."""
    if len(rows) == 1:
        return rows[0].reasons
    worst = sorted(rows, key=lambda one: 1.0 if one.estimate.dice is None else one.estimate.dice)
    return tuple(f"{one.structure}: {', '.join(one.reasons)}" for one in worst if one.reasons)


def _ceilings(scans: Sequence[Seen]) -> dict[str, float]:
    """Dice on slices that the network learned from, over all scans: of five scans or more."""
    sums: dict[str, list[tuple[int, int]]] = {}
    for seen in scans:
        for name, both in (seen.outlined or {}).items():
            if both[1]:
                sums.setdefault(name, []).append(both)
    return {
        name: sum(both for both, _ in pairs) / sum(all_ for _, all_ in pairs)
        for name, pairs in sums.items()
        if len(pairs) >= _LEAST_OUTLINED
    }
