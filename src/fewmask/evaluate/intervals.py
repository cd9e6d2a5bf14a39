"""Means over patients with t intervals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from fewmask.evaluate.scores import CaseScore

_UPPER = 0.975  # so that 95 % lie between
_RANGES = {
    "dice": (0.0, 1.0),
    "nsd": (0.0, 1.0),
    "hd95_mm": (0.0, math.inf),
    "hd_mm": (0.0, math.inf),
    "assd_mm": (0.0, math.inf),
    "volume_error_ml": (-math.inf, math.inf),
}
"""Metric -> what it can be."""
METRICS = tuple(_RANGES)


@dataclass(frozen=True)
class Interval:
    """A mean over patients with its 95 % t interval.

    Without patients all three are NaN; of one patient there is a mean, and no interval.
    """

    mean: float
    low: float
    high: float

    def ends(self, digits: int, sign: str = "", to: str = " to ") -> str:
        """`0.82 to 0.88`, with signs `+0.02 to +0.08`; a dash where there is no interval."""
        if math.isnan(self.low):
            return "-"
        return f"{self.low:{sign}.{digits}f}{to}{self.high:{sign}.{digits}f}"


@dataclass(frozen=True)
class Summary:
    """One structure over all volumes. Both-empty volumes are counted, not averaged."""

    label: str
    prompts: str
    n: int
    """Volumes that enter the means."""
    n_missed: int
    n_spurious: int
    n_both_empty: int
    metrics: Mapping[str, Interval]

    @property
    def dice(self) -> Interval:
        """The headline."""
        return self.metrics["dice"]


def summarise(
    scores: Sequence[CaseScore], patients: Mapping[str, str] | None = None
) -> list[Summary]:
    """One summary per (class, kind of prompts), in order of appearance. `patients` maps case to
    patient (default: itself).
    """
    groups: dict[tuple[str, str], list[CaseScore]] = {}
    for score in scores:
        groups.setdefault((score.label, score.prompts), []).append(score)
    return [
        _summary(label, prompts, group, patients or {})
        for (label, prompts), group in groups.items()
    ]


def t_interval(
    values: Float[np.ndarray, " n"], least: float = -math.inf, most: float = math.inf
) -> Interval:
    """Mean of a value per patient and its 95 % interval by Student's t, n - 1 degrees of freedom.

    An interval of a few skewed values may reach past what the number can be (`least`, `most`, such
    as Dice 1); it is cut there. One value has a mean and no interval, none has neither: NaN.
    """
    if len(values) == 0:
        return Interval(math.nan, math.nan, math.nan)
    mean = float(values.mean())
    if len(values) == 1:
        return Interval(mean, math.nan, math.nan)
    half = float(half_width(values))
    return Interval(mean, max(mean - half, least), min(mean + half, most))


def half_width(values: Float[np.ndarray, "*tables n"]) -> Float[np.ndarray, "*tables"]:
    """Of the 95 % interval of each row's mean; rows hold two values or more."""
    n = values.shape[-1]
    return np.asarray(stdtrit(n - 1, _UPPER) * values.std(-1, ddof=1) / math.sqrt(n))


def by_patient(
    values: Sequence[tuple[str, float]], patients: Mapping[str, str]
) -> Float[np.ndarray, " n"]:
    """A mean per patient, in order of appearance, from (case, value). `patients` maps case to
    patient (default: itself).
    """
    groups: dict[str, list[float]] = {}
    for case, value in values:
        groups.setdefault(patients.get(case, case), []).append(value)
    return np.array([np.mean(group) for group in groups.values()], float)


def _summary(
    label: str, prompts: str, scores: Sequence[CaseScore], patients: Mapping[str, str]
) -> Summary:
    counts = {
        status: sum(score.status == status for score in scores)
        for status in ("missed", "spurious", "both_empty")
    }
    averaged = [score for score in scores if score.status != "both_empty"]
    metrics: dict[str, Interval] = {}
    for name in METRICS:
        values = [(score.case, float(getattr(score, name))) for score in averaged]
        metrics[name] = t_interval(by_patient(values, patients), *_RANGES[name])
    return Summary(
        label,
        prompts,
        n=len(averaged),
        n_missed=counts["missed"],
        n_spurious=counts["spurious"],
        n_both_empty=counts["both_empty"],
        metrics=metrics,
    )
