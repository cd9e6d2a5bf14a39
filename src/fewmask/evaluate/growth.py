"""How scores grow with the number of outlines: a saturating power law, and how sure it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fewmask.evaluate.intervals import Interval

LEAST_BUDGETS = 3
FARTHEST = 4
"""Times the largest budget: beyond that a curve through smaller ones says nothing."""
RUN_NOISE = 0.1
"""By how much of their error runs differ that learn from other outlines of one budget: the usual
value of the committed rows (`experiments/more.py`), to which a series' own draws are added.
"""
_PRIOR_RUNS = 4
"""Degrees of freedom that this value counts as."""
_POWERS = np.linspace(0.1, 2.0, 39)
_TIMES = 1000
_SMALLEST = 1e-4
"""Errors are held above it: they are weighted by one over their square."""


@dataclass(frozen=True)
class Curves:
    """Many laws error = floor + slope x budget^-power; each array holds one number a law."""

    floor: Float[np.ndarray, " laws"]
    slope: Float[np.ndarray, " laws"]
    power: Float[np.ndarray, " laws"]

    def error(self, budget: int) -> Float[np.ndarray, " laws"]:
        """1 - Dice with this many outlines."""
        return np.asarray(self.floor + self.slope * float(budget) ** -self.power)

    def more(self, budget: int, gain: float) -> Float[np.ndarray, " laws"]:
        """Outlines beyond `budget` that bring `gain`; infinite where the law ends below it, or
        where they are beyond `FARTHEST` times the budget.
        """
        left = self.slope * float(budget) ** -self.power - gain
        needed = np.full_like(left, math.inf)
        some = left > 0
        needed[some] = (self.slope[some] / left[some]) ** (1 / self.power[some])
        needed[needed > FARTHEST * budget] = math.inf
        return needed - budget


@dataclass(frozen=True)
class Growth:
    """A law fitted to runs of several budgets, and fits to resampled patients and runs."""

    budgets: tuple[int, ...]
    """From the smallest."""
    dice: tuple[float, ...]
    """Mean over patients at each of them."""
    fit: Curves
    """One law."""
    resampled: Curves
    rise: Interval
    """Dice at the largest budget minus that at the smallest."""
    noise: float
    """Of a run, as a share of its error."""

    def predict(self, budget: int, runs: int = 1) -> Interval:
        """Dice of the mean of so many runs with this budget, and where 95 % of such means lie."""
        errors = self.resampled.error(budget)
        errors = errors * (1 + self.noise / math.sqrt(runs) * _rng("predict", len(errors)))
        low, high = np.percentile(1 - errors, (2.5, 97.5))
        return Interval(1 - float(self.fit.error(budget)[0]), float(low), float(high))

    def more(self, gain: float) -> Interval:
        """Outlines beyond the largest budget that bring `gain` in Dice, with its 95 % interval;
        infinite where there is no such number.
        """
        needed = np.sort(self.resampled.more(self.budgets[-1], gain))
        low, high = needed[int(0.025 * len(needed))], needed[int(0.975 * len(needed))]
        return Interval(float(self.fit.more(self.budgets[-1], gain)[0]), float(low), float(high))


def fit_growth(
    budgets: Sequence[int],
    scores: Float[np.ndarray, "budgets patients"],
    runs: Sequence[Sequence[float]],
) -> Growth:
    """Fit the law to mean errors. `scores` are Dice per budget (from the smallest) and patient,
    means over runs; `runs` holds per budget the mean Dice of each run.

    Patients are drawn anew a thousand times, the same at all budgets, and each budget's error is
    moved as another draw of outlines would. The same scores give the same answer. Raises
    `ValueError` for fewer than three budgets, or none with a patient.
    """
    if len(budgets) < LEAST_BUDGETS or scores.shape[1] == 0:
        raise ValueError(f"{len(budgets)} budgets of {scores.shape[1]} patients")
    errors = 1 - scores
    noise = _noise(runs)
    patients = scores.shape[1]
    chosen = np.random.default_rng(0).integers(0, patients, (_TIMES, patients))
    means = errors[:, chosen].mean(-1).T
    shares = noise / np.sqrt([len(one) for one in runs])
    moved = means * (1 + shares * _rng("runs", _TIMES * len(budgets)).reshape(means.shape))
    low, high = np.percentile(moved[:, 0] - moved[:, -1], (2.5, 97.5))
    mean = errors.mean(1)
    return Growth(
        tuple(budgets),
        tuple(float(dice) for dice in 1 - mean),
        _fit(np.asarray(budgets, float), mean[None]),
        _fit(np.asarray(budgets, float), moved),
        Interval(float(mean[0] - mean[-1]), float(low), float(high)),
        noise,
    )


def run_noise(runs: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Variance of runs of one budget as a share of their squared error, pooled over budgets (each
    holds the mean Dice of its runs), and its degrees of freedom.
    """
    total, free = 0.0, 0
    for dice in runs:
        if len(dice) > 1:
            error = max(1 - float(np.mean(dice)), _SMALLEST)
            total += float(np.var(dice, ddof=1)) / error**2 * (len(dice) - 1)
            free += len(dice) - 1
    return (total / free if free else 0.0), free


def _noise(runs: Sequence[Sequence[float]]) -> float:
    """The usual noise, and that of these runs by their number."""
    own, free = run_noise(runs)
    return math.sqrt((_PRIOR_RUNS * RUN_NOISE**2 + free * own) / (_PRIOR_RUNS + free))


def _fit(budgets: Float[np.ndarray, " n"], errors: Float[np.ndarray, "laws n"]) -> Curves:
    """Least squares of relative errors, floor and slope not below 0: in closed form for each power,
    of which the best is taken.
    """
    errors = np.maximum(errors, _SMALLEST)
    weights = errors**-2
    best = np.full(len(errors), math.inf)
    found = np.zeros((3, len(errors)))
    for power in _POWERS:
        shape = budgets**-power
        floor, slope = _line(shape, errors, weights)
        misfit = (weights * (floor[:, None] + slope[:, None] * shape - errors) ** 2).sum(1)
        better = misfit < best
        best[better] = misfit[better]
        found[:, better] = floor[better], slope[better], np.full(int(better.sum()), power)
    return Curves(*found)


def _line(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, "laws n"],
    weights: Float[np.ndarray, "laws n"],
) -> tuple[Float[np.ndarray, " laws"], Float[np.ndarray, " laws"]]:
    """Weighted y = floor + slope x with neither below 0."""
    total = weights.sum(1)
    mean_x, mean_y = (weights * x).sum(1) / total, (weights * y).sum(1) / total
    across = (weights * (x - mean_x[:, None]) * (y - mean_y[:, None])).sum(1)
    slope = np.maximum(across / (weights * (x - mean_x[:, None]) ** 2).sum(1), 0)
    floor = mean_y - slope * mean_x
    through_zero = (weights * x * y).sum(1) / (weights * x * x).sum(1)
    return np.maximum(floor, 0), np.where(floor < 0, through_zero, slope)


def _rng(what: str, n: int) -> Float[np.ndarray, " n"]:
    """Standard normal numbers, the same every time."""
    return np.random.default_rng({"predict": 1, "runs": 2}[what]).standard_normal(n)
