"""Paired differences between two methods, and when one of them is called the better one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.special import stdtr

from fewmask.evaluate.intervals import Interval, by_patient, t_interval

_PATIENTS, _DRAWS, _CHANCE = 6, 2, 0.05


@dataclass(frozen=True)
class Difference:
    """Paired difference of a metric, a minus b, over the patients both have.

    `interval` and `p` are of this difference alone; `p_in_table` is what is left of `p` among the
    other differences of its table (`correct`).
    """

    interval: Interval
    n: int
    n_higher: int
    """Patients in which a is larger."""
    n_lower: int
    draws: int
    """Choices of the labelled slices or scans that both learned from."""
    p: float
    """Of a paired t test, two-sided; NaN below two patients."""
    p_in_table: float = math.nan
    """`p` after Holm's correction; NaN before it, and where nothing can be decided."""

    @property
    def decided(self) -> bool:
        """Is a winner called? Where six patients or more and two draws or more were compared, and
        the interval excludes zero after Holm's correction.

        One draw never decides: what one choice of labels gives, another may take (R19).
        """
        return self.decidable and self.p_in_table < _CHANCE

    @property
    def decidable(self) -> bool:
        """Are there patients and draws enough, whatever they say?"""
        return self.n >= _PATIENTS and self.draws >= _DRAWS

    def __str__(self) -> str:
        """Mean difference, its 95 % interval, the patients that agree, p after Holm's correction,
        and whether that decides.
        """
        parts = [
            f"{self.interval.mean:+.3f} ({self.interval.ends(3, '+')})",
            f"higher in {self.n_higher} of {self.n}",
        ]
        if not math.isnan(self.p_in_table):
            parts.append(f"p {_digits(self.p_in_table)}")
        return ", ".join([*parts, self._verdict()])

    def _verdict(self) -> str:
        if self.decided:
            return f"decided ({self.draws} draws)"
        if self.n < _PATIENTS:
            return f"not decided ({self.n} {'patient' if self.n == 1 else 'patients'})"
        return "not decided (1 draw)" if self.draws < _DRAWS else "not decided"


def compare(differences: Sequence[tuple[str, float]], draws: int) -> Difference:
    """Paired difference from (patient, a minus b) of every scan of every draw and seed, averaged
    within patients first. No p in a table yet.
    """
    values = by_patient(differences, {})
    return Difference(
        t_interval(values),
        len(values),
        int((values > 0).sum()),
        int((values < 0).sum()),
        draws,
        float(chance(values)),
    )


def correct(differences: Sequence[Difference]) -> list[Difference]:
    """All differences of one table with their p among each other (`holm`).

    Those that could not be decided by any p take no part: nothing is called from them, so they
    are no look at chance.
    """
    places = [place for place, one in enumerate(differences) if one.decidable]
    corrected = holm(np.array([differences[place].p for place in places], float))
    result = list(differences)
    for place, p in zip(places, corrected, strict=True):
        result[place] = replace(result[place], p_in_table=float(p))
    return result


def chance(values: Float[np.ndarray, "*tables n"]) -> Float[np.ndarray, "*tables"]:
    """Two-sided p of each row's mean being zero, by a t test; NaN below two values.

    Values that are all the same have p 0, or 1 if they are all zero.
    """
    n = values.shape[-1]
    if n < 2:
        return np.full(values.shape[:-1], math.nan)
    mean, error = abs(values.mean(-1)), values.std(-1, ddof=1) / math.sqrt(n)
    some = np.where(error > 0, error, 1.0)
    same = np.where(mean > 0, 0.0, 1.0)
    return np.where(error > 0, 2 * stdtr(n - 1, -mean / some), same)


def holm(ps: Float[np.ndarray, "*tables m"]) -> Float[np.ndarray, "*tables m"]:
    """Each row's p corrected for m looks, by Holm's step-down rule.

    The smallest counts m times, the next m - 1 times, and none less than one before it. NaN is
    counted, and stays.
    """
    order = np.argsort(ps, -1, kind="stable")  # NaN last
    times = np.arange(ps.shape[-1], 0, -1)
    steps = np.minimum(np.take_along_axis(ps, order, -1) * times, 1.0)
    corrected = np.empty_like(ps)
    np.put_along_axis(corrected, order, np.maximum.accumulate(steps, -1), -1)
    return corrected


def _digits(p: float) -> str:
    return "below 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
