"""Means with patient-bootstrap intervals, and paired differences."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fewmask.core.randomness import rng
from fewmask.evaluate.scores import CaseScore

_RESAMPLES = 10_000
_DECIDING = 6  # patients
METRICS = ("dice", "nsd", "hd95_mm", "hd_mm", "assd_mm", "volume_error_ml")


@dataclass(frozen=True)
class Interval:
    """A mean over patients with its 95 % bootstrap interval; NaN without patients."""

    mean: float
    low: float
    high: float


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


@dataclass(frozen=True)
class Difference:
    """Paired difference of a metric, a minus b, over the patients both have."""

    interval: Interval
    n: int
    n_higher: int
    """Patients in which a is larger."""
    n_lower: int

    @property
    def decided(self) -> bool:
        """Does the interval exclude zero, over at least six patients? If not, no winner is called.

        All of five agree by chance one time in sixteen (two-sided sign test), of six one in 32; the
        bootstrap of two values is only their range, and would call that a winner.
        """
        return self.n >= _DECIDING and (self.interval.low > 0 or self.interval.high < 0)

    def __str__(self) -> str:
        """Mean difference, 95 % interval, patients in which it is higher, and whether that is
        enough.
        """
        i = self.interval
        decided = "" if self.decided else ", not decided"
        return (
            f"{i.mean:+.3f} ({i.low:+.3f} to {i.high:+.3f}), higher in {self.n_higher} of "
            f"{self.n}{decided}"
        )


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


def compare(differences: Sequence[tuple[str, float]]) -> Difference:
    """Paired difference from (patient, a minus b) of every scan, averaged within patients first."""
    values = _by_patient(differences, {})
    return Difference(
        bootstrap(values), len(values), int((values > 0).sum()), int((values < 0).sum())
    )


def bootstrap(values: Float[np.ndarray, " n"]) -> Interval:
    """Mean and percentile interval from 10,000 resamples with replacement, keyed, so that it is the
    same every time.
    """
    if len(values) == 0:
        return Interval(math.nan, math.nan, math.nan)
    picks = rng(0, "bootstrap", len(values)).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.percentile(values[picks].mean(1), (2.5, 97.5))
    return Interval(float(values.mean()), float(low), float(high))


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
        metrics[name] = bootstrap(_by_patient(values, patients))
    return Summary(
        label,
        prompts,
        n=len(averaged),
        n_missed=counts["missed"],
        n_spurious=counts["spurious"],
        n_both_empty=counts["both_empty"],
        metrics=metrics,
    )


def _by_patient(
    values: Sequence[tuple[str, float]], patients: Mapping[str, str]
) -> Float[np.ndarray, " n"]:
    groups: dict[str, list[float]] = {}
    for case, value in values:
        groups.setdefault(patients.get(case, case), []).append(value)
    return np.array([np.mean(group) for group in groups.values()], float)
