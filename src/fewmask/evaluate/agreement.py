"""How far two people, or two ways to measure, agree."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from fewmask.core.errors import BadDataset
from fewmask.core.randomness import rng
from fewmask.evaluate.intervals import Interval, t_interval
from fewmask.io.tables import read_csv

SCALE = (1, 2, 3, 4, 5)
"""What a reader may give, worst to best."""
USABLE = ("no", "yes")
QUESTIONS = {
    "coverage": "coverage (5 = all of it)",
    "spill": "spill (5 = nothing outside)",
    "boundary": "border (5 = nothing to mend)",
    "usable": "usable as it is",
}
"""What readers say of every mask; `usable` is counted as 0 and 1."""
COLUMNS = ("rater", "case", *QUESTIONS)
_DRAWS = 2000


@dataclass(frozen=True)
class Limits:
    """Two measurements of the same things (Bland and Altman): first minus second."""

    n: int
    bias: float
    """Mean difference; NaN without pairs."""
    low: float
    high: float
    """Bias minus and plus 1.96 standard deviations; NaN with fewer than two pairs."""


def limits_of_agreement(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> Limits:
    """Bias and 95 % limits of agreement of paired values."""
    apart = np.asarray(first, float) - np.asarray(second, float)
    if len(apart) == 0:
        return Limits(0, math.nan, math.nan, math.nan)
    bias = float(apart.mean())
    if len(apart) == 1:
        return Limits(1, bias, math.nan, math.nan)
    half = 1.96 * float(apart.std(ddof=1))
    return Limits(len(apart), bias, bias - half, bias + half)


def weighted_kappa(first: Int[np.ndarray, " n"], second: Int[np.ndarray, " n"]) -> float:
    """Cohen's kappa with quadratic weights of two raters' whole numbers for the same things.

    1: they always agree, 0: as often as by chance. A number twice as far off weighs four times as
    much. NaN without ratings, or where both gave one and the same number to all: there is no
    disagreement that chance could make.
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    if len(first) == 0:
        return math.nan
    by_chance = float(np.mean(np.subtract.outer(first, second) ** 2))
    if by_chance == 0:
        return math.nan
    return 1 - float(np.mean((first - second) ** 2)) / by_chance


def kappa_interval(first: Int[np.ndarray, " n"], second: Int[np.ndarray, " n"]) -> Interval:
    """Kappa with its 95 % interval over things, from 2000 keyed bootstrap draws; draws without a
    kappa are left out. No interval of fewer than five things, or where half the draws have none.
    """
    kappa, n = weighted_kappa(first, second), len(first)
    if math.isnan(kappa) or n < 5:
        return Interval(kappa, math.nan, math.nan)
    draw = rng(0, "kappa", n).integers(0, n, (_DRAWS, n))
    values = np.array([weighted_kappa(first[rows], second[rows]) for rows in draw])
    values = values[~np.isnan(values)]
    if len(values) < _DRAWS / 2:
        return Interval(kappa, math.nan, math.nan)
    low, high = np.percentile(values, (2.5, 97.5))
    return Interval(kappa, float(low), float(high))


Ratings = dict[str, dict[str, dict[str, int]]]
"""Rater -> case -> question -> number."""


@dataclass(frozen=True)
class MeanRating:
    """One rater's answers to one question."""

    rater: str
    question: str
    n: int
    """Scans."""
    mean: Interval
    """Over scans; of `usable` the share of yes."""


@dataclass(frozen=True)
class Pair:
    """Two raters' answers to one question."""

    first: str
    second: str
    question: str
    n: int
    """Scans that both rated."""
    kappa: Interval
    same: float
    """Share of scans with the same answer; NaN without scans."""


@dataclass(frozen=True)
class Agreement:
    """What readers said, and how far they agree."""

    means: tuple[MeanRating, ...]
    pairs: tuple[Pair, ...]


def read_ratings(paths: Sequence[Path]) -> Ratings:
    """Tables that the report saves (`rater,case,coverage,spill,boundary,usable`), put together.

    An empty cell is no answer. Raises `BadDataset` for a line without rater or case, an answer that
    is none, and a scan rated twice by one rater.
    """
    ratings: Ratings = {}
    for path in paths:
        for number, row in enumerate(read_csv(path, COLUMNS), 2):
            where = [f"file  {path}", f"line  {number}"]
            if not row["rater"] or not row["case"]:
                raise BadDataset(
                    "a line of ratings names no rater or no scan",
                    where=where,
                    fix="fill in `rater` and `case`",
                    code="C03",
                )
            cases = ratings.setdefault(row["rater"], {})
            if row["case"] in cases:
                raise BadDataset(
                    f"{row['rater']} rated {row['case']} twice",
                    where=where,
                    fix="keep one of the two lines",
                    code="C03",
                )
            cases[row["case"]] = _answers(row, where)
    return ratings


def _answers(row: Mapping[str, str], where: list[str]) -> dict[str, int]:
    answers = {}
    for question in QUESTIONS:
        text = row[question]
        allowed = USABLE if question == "usable" else tuple(map(str, SCALE))
        if not text:
            continue
        if text not in allowed:
            raise BadDataset(
                f"{question} is {text[:20]!r}, wanted one of {', '.join(allowed)}",
                where=where,
                fix="correct the line, or leave the cell empty",
                code="C03",
            )
        answers[question] = allowed.index(text) if question == "usable" else int(text)
    return answers


def agree(ratings: Ratings) -> Agreement:
    """Mean answers of every rater, and every two raters' agreement over the scans both rated.

    Questions that nobody answered are left out.
    """
    means, pairs = [], []
    for question in QUESTIONS:
        said = {
            rater: {case: one[question] for case, one in cases.items() if question in one}
            for rater, cases in ratings.items()
        }
        said = {rater: answers for rater, answers in said.items() if answers}
        least, most = (0.0, 1.0) if question == "usable" else (float(SCALE[0]), float(SCALE[-1]))
        for rater, answers in said.items():
            values = np.array(list(answers.values()), float)
            means.append(MeanRating(rater, question, len(values), t_interval(values, least, most)))
        for one, other in itertools.combinations(said, 2):
            both = sorted(set(said[one]) & set(said[other]))
            first = np.array([said[one][case] for case in both], int)
            second = np.array([said[other][case] for case in both], int)
            same = float(np.mean(first == second)) if both else math.nan
            pairs.append(Pair(one, other, question, len(both), kappa_interval(first, second), same))
    return Agreement(tuple(means), tuple(pairs))
