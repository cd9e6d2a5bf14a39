"""t intervals, by tables of Student's t."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fewmask.evaluate.intervals import Interval, summarise, t_interval
from fewmask.evaluate.scores import CaseScore

SCORE = CaseScore(
    case="a", label="liver", prompts="automatic", status="ok", dice=0.99, nsd=1.0,
    nsd_tolerance_mm=2.0, hd95_mm=1.0, hd_mm=2.0, assd_mm=1.0, volume_error_ml=1.0,
    pred_ml=10.0, truth_ml=9.0,
)  # fmt: skip


def test_equal_values_have_an_interval_without_width() -> None:
    interval = t_interval(np.full(6, 0.8))
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.8, 0.8, 0.8))


def test_three_values_by_hand() -> None:
    """1, 2, 3: deviation 1, standard error 1 / sqrt(3); t of 2 degrees is 4.303."""
    interval = t_interval(np.array([1.0, 2.0, 3.0]))
    half = 4.303 / math.sqrt(3)
    assert (interval.mean, interval.low, interval.high) == pytest.approx(
        (2, 2 - half, 2 + half), abs=1e-3
    )


def test_one_patient_has_no_interval_and_none_no_mean() -> None:
    one, none = t_interval(np.array([0.9])), t_interval(np.array([]))
    assert one.mean == 0.9 and math.isnan(one.low) and math.isnan(one.high)
    assert one.ends(3) == "-" and math.isnan(none.mean) and none.ends(2) == "-"
    assert Interval(0.0, -0.02, 0.03).ends(2, "+") == "-0.02 to +0.03"


def test_intervals_are_cut_at_what_a_number_can_be() -> None:
    """Two patients: 0.99 and 0.89 of Dice, half of the width 12.706 * 0.05; distances of 1 and
    9 mm, 12.706 * 4. A volume error may be anything.
    """
    scores = [SCORE, _other(dice=0.89, hd95_mm=9.0, volume_error_ml=9.0)]
    metrics = summarise(scores)[0].metrics
    dice, hd95, error = (metrics[name] for name in ("dice", "hd95_mm", "volume_error_ml"))
    assert dice.high == 1.0 and dice.low == pytest.approx(0.94 - 12.706 * 0.05, abs=1e-3)
    assert hd95.low == 0.0 and hd95.high == pytest.approx(5 + 12.706 * 4, abs=1e-2)
    assert error.low == pytest.approx(5 - 12.706 * 4, abs=1e-2)


def test_scans_of_one_patient_are_one_value() -> None:
    (summary,) = summarise([SCORE, _other(dice=0.89)], {"a": "p", "b": "p"})
    assert summary.n == 2 and summary.dice.mean == pytest.approx(0.94)
    assert math.isnan(summary.dice.low)


def _other(**changes: Any) -> CaseScore:
    return replace(SCORE, case="b", **changes)
