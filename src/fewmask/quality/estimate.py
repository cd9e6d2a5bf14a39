"""From signs to the Dice that a mask probably has, with an interval that should hold nine of ten.

Each sign may only speak for or against a mask in the direction that makes sense (weights have a
sign), so that a mapping learned on some scans stays sane on others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.optimize import lsq_linear
from scipy.special import expit, logit, stdtrit

from fewmask.quality.signs import Signs

LEAST_SCANS = 5
"""Scans from which on volumes are compared, and scored masks speak for a run."""
_SHARE = 0.9
"""Of true values that should lie in an interval."""
_RIDGE = 0.1
"""How hard weights are held at those of `_BELIEVED`: the rest is what the rows insist on."""
_BELIEVED = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""To take the network's own probabilities at their word."""
_PER_DOUBT = -2.0
"""Logits for a doubt e times that of the other scans. Set by hand, from hippocampus rows: over runs
doubt says little, so that a fit to all rows would not see that it orders the scans of one run.
"""
_MOST = 0.5
"""How far one doubt may lie from the others': it moves a mask by one logit at most."""
NAMES = ("expected", "border", "pieces", "removed", "unsure", "gaps", "volume")
"""Signs that are weighed, in the order of weights. How alike neighbouring slices are is not one: it
tells thin structures from thick ones, and not good masks of one structure from bad ones.
"""
_DIRECTIONS = (1, 1, -1, -1, -1, -1, -1)


@dataclass(frozen=True)
class Prior:
    """A mapping learned on scans with truth: logit Dice = offset + weights . features."""

    offset: float
    weights: tuple[float, ...]
    low: float
    high: float
    """5 % and 95 % of what was left over, in logits, on data sets that were left out."""


@dataclass(frozen=True)
class Estimate:
    """The Dice a mask probably has; all None where it cannot be known."""

    dice: float | None = None
    low: float | None = None
    high: float | None = None
    why_not: str = ""


@dataclass(frozen=True)
class Shift:
    """What scored masks of the same run say about a mapping: by how much it is off, in logits."""

    mean: float
    spread: float
    scans: int


@dataclass(frozen=True)
class Sample:
    """A mask whose true Dice is known, for fitting."""

    features: Float[np.ndarray, " f"]
    dice: float
    group: str
    """The data set that it is left out with."""


def volume_scores(volumes_ml: Sequence[float]) -> list[float]:
    """How far each volume lies from the others' median, in robust standard deviations of its
    logarithm (of 15 % at least); 0 where fewer than five are not empty, and of an empty one.
    """
    logs = np.log([ml for ml in volumes_ml if ml > 0] or [1.0])
    if len(logs) < LEAST_SCANS:
        return [0.0] * len(volumes_ml)
    middle = float(np.median(logs))
    spread = max(1.4826 * float(np.median(np.abs(logs - middle))), 0.15)
    return [(float(np.log(ml)) - middle) / spread if ml > 0 else 0.0 for ml in volumes_ml]


def doubt_scores(doubts: Sequence[float | None]) -> list[float]:
    """How far the logarithm of each doubt (`Signs.doubt`) lies from the others' median, from -0.5
    to 0.5; 0 where fewer than five are known, and for an unknown one.
    """
    logs = [None if one is None else float(np.log(max(one, 0.01))) for one in doubts]
    known = [one for one in logs if one is not None]
    if len(known) < LEAST_SCANS:
        return [0.0] * len(logs)
    middle = float(np.median(known))
    return [0.0 if one is None else float(np.clip(one - middle, -_MOST, _MOST)) for one in logs]


def features_of(signs: Signs, volume_score: float = 0.0) -> Float[np.ndarray, " f"] | None:
    """Numbers in the order of `NAMES`; None where the network gave no probabilities, or for an
    empty mask.
    """
    if signs.expected is None or signs.border is None:
        return None
    slices = 1 if signs.first is None or signs.last is None else signs.last - signs.first + 1
    second = signs.pieces_ml[1] / signs.pieces_ml[0] if len(signs.pieces_ml) > 1 else 0.0
    return np.array(
        [
            _odds(signs.expected),
            _odds(signs.border),
            second + min(np.log2(max(signs.pieces, 1)), 4) / 4,
            min(signs.removed, 1.0),
            min(signs.unsure or 0.0, 1.0),
            min(signs.gaps / slices, 1.0),
            min(max(abs(volume_score) - 1, 0), 4.0),
        ]
    )


def expect(
    signs: Signs,
    prior: Prior,
    volume_score: float = 0.0,
    shift: Shift | None = None,
    ceiling: float | None = None,
    doubt_score: float = 0.0,
) -> Estimate:
    """The Dice that a mask probably has.

    `volume_score` and `doubt_score` compare it with the other masks of its folder.
    `shift`: what masks of this run with known Dice say. `ceiling`: the Dice on outlined slices that
    the network learned from; new scans are seldom better, so it may lower a value and never raise
    it. An empty mask has Dice 0, unless the scan really lacks the structure: its interval is all.
    """
    if not signs.ml:
        return Estimate(0.0, 0.0, 1.0)
    features = features_of(signs, volume_score)
    if features is None:
        return Estimate(why_not="cannot be known: the method gives no probabilities")
    middle = _apply(prior, features) + _PER_DOUBT * doubt_score
    low, high = middle + prior.low, middle + prior.high
    if shift is not None and shift.scans >= LEAST_SCANS:
        middle += shift.mean
        reach = stdtrit(shift.scans - 1, (1 + _SHARE) / 2) * shift.spread
        reach *= np.sqrt(1 + 1 / shift.scans)
        low, high = middle - reach, middle + reach
    if ceiling is not None:
        drop = max(middle - _odds(ceiling), 0.0)
        middle, low = middle - drop, low - drop
    dice, low, high = (float(expit(value)) for value in (middle, low, high))
    return Estimate(dice, low, high)


def learn_shift(pairs: Sequence[tuple[float, float]]) -> Shift | None:
    """From (expected Dice, true Dice) of scans of this run that were kept aside and scored; None of
    fewer than five. The spread counts what is left of each when the others give the mean.
    """
    if len(pairs) < LEAST_SCANS:
        return None
    off = np.array([_odds(true) - _odds(expected) for expected, true in pairs])
    n = len(off)
    spread = max(float(off.std(ddof=1)), 0.1)
    return Shift(float(off.mean()), spread, n)


def fit_prior(samples: Sequence[Sample]) -> Prior:
    """The mapping of samples from two data sets or more; every set weighs the same.

    The interval comes from what is left over where the mapping saw nothing of a set, widened as
    conformal prediction does. Raises `ValueError` for fewer sets.
    """
    groups = sorted({one.group for one in samples})
    if len(groups) < 2:
        raise ValueError("a mapping needs samples of two data sets or more")
    left: list[float] = []
    weights: list[float] = []
    for group in groups:
        inside = [one for one in samples if one.group == group]
        rest = _solve([one for one in samples if one.group != group])
        left += [_odds(one.dice) - _apply(rest, one.features) for one in inside]
        weights += [1 / len(inside)] * len(inside)
    low, high = _quantiles(np.array(left), np.array(weights))
    return replace(_solve(samples), low=low, high=high)


def _solve(samples: Sequence[Sample]) -> Prior:
    x = np.stack([one.features for one in samples])
    y = np.array([_odds(one.dice) for one in samples])
    sizes = {one.group: 0 for one in samples}
    for one in samples:
        sizes[one.group] += 1
    weight = np.sqrt([1 / sizes[one.group] / len(sizes) for one in samples])
    middle, scale = x.mean(0), x.std(0) + 1e-6
    z = np.c_[np.ones(len(x)), (x - middle) / scale] * weight[:, None]
    ridge = np.c_[np.zeros(len(scale)), np.eye(len(scale)) * np.sqrt(_RIDGE)]
    believed = np.array(_BELIEVED) * scale * np.sqrt(_RIDGE)
    bounds = [(0, np.inf) if way > 0 else (-np.inf, 0) for way in _DIRECTIONS]
    lower, upper = zip((-np.inf, np.inf), *bounds, strict=True)
    found = lsq_linear(np.r_[z, ridge], np.r_[y * weight, believed], (lower, upper)).x
    weights = found[1:] / scale
    return Prior(float(found[0] - weights @ middle), tuple(weights.tolist()), 0.0, 0.0)


def _apply(prior: Prior, features: Float[np.ndarray, " f"]) -> float:
    return float(np.clip(prior.offset + np.dot(prior.weights, features), -6, 6))


def _quantiles(
    left: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"]
) -> tuple[float, float]:
    order = np.argsort(left)
    share = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
    tail = (1 - _SHARE) / 2
    low, high = np.interp([tail, 1 - tail], share, left[order])
    return float(low), float(high)


def _odds(dice: float) -> float:
    return float(logit(np.clip(dice, 0.02, 0.99)))
