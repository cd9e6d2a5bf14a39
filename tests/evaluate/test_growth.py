"""A power law that was put in comes out, and what it cannot know stays open."""

import math

import numpy as np
import pytest

from fewmask.evaluate.growth import FARTHEST, fit_growth, run_noise

BUDGETS = (4, 16, 64)
ERRORS = (0.3, 0.2, 0.15)
"""0.1 + 0.4 / sqrt(n)."""
ONE = [[0.7], [0.8], [0.85]]


def of_patients(*shifts: float) -> np.ndarray:
    """The law for patients that are better or worse than it throughout."""
    return np.array([[1 - error + shift for shift in shifts] for error in ERRORS])


def test_the_law_that_was_put_in_comes_out() -> None:
    """Error 0.14 is reached at n = 100, 0.11 at 1600 (too far to say), 0.09 never."""
    growth = fit_growth(BUDGETS, of_patients(-0.02, 0, 0.02), ONE)
    assert [float(one[0]) for one in vars(growth.fit).values()] == pytest.approx([0.1, 0.4, 0.5])
    assert growth.dice == pytest.approx((0.7, 0.8, 0.85))
    assert growth.predict(100).mean == pytest.approx(0.86)
    assert growth.more(0.01).mean == pytest.approx(36)
    assert FARTHEST * 64 < 1600 and math.isinf(growth.more(0.04).mean)
    assert math.isinf(growth.more(0.06).mean)


def test_the_interval_holds_the_law_and_grows_with_what_is_not_known() -> None:
    near = fit_growth(BUDGETS, of_patients(-0.02, 0, 0.02), ONE)
    needed = near.more(0.01)
    assert needed.low < 36 < needed.high and near.rise.low > 0
    far = fit_growth(BUDGETS, of_patients(-0.14, 0, 0.14), ONE)
    widths = [one.predict(100).high - one.predict(100).low for one in (near, far)]
    assert widths[0] < widths[1]
    several = [[dice] * 6 for (dice,) in ONE]
    sure = fit_growth(BUDGETS, of_patients(-0.02, 0, 0.02), several)
    assert sure.predict(100, 6).high - sure.predict(100, 6).low < widths[0]


def test_the_same_scores_give_the_same_answer() -> None:
    once, again = (fit_growth(BUDGETS, of_patients(-0.1, 0.1), ONE).more(0.01) for _ in range(2))
    assert once == again


def test_scores_that_do_not_rise_have_no_law() -> None:
    growth = fit_growth(BUDGETS, np.full((3, 4), 0.8), [[0.8]] * 3)
    assert growth.rise.mean == 0 and growth.rise.low < 0
    assert math.isinf(growth.more(0.01).mean) and growth.predict(64).mean == pytest.approx(0.8)


def test_perfect_scores_divide_by_nothing() -> None:
    growth = fit_growth(BUDGETS, np.ones((3, 2)), [[1.0]] * 3)
    assert growth.predict(64).mean == pytest.approx(1, abs=1e-3)


def test_noise_of_runs_is_a_share_of_their_error() -> None:
    """0.8 and 0.9: variance 0.005, error 0.15, of which it is 0.2222."""
    share, free = run_noise([[0.8, 0.9], [0.7]])
    assert share == pytest.approx(0.005 / 0.15**2) and free == 1
    assert run_noise([[0.7]]) == (0, 0)


@pytest.mark.parametrize("shape", [(2, 3), (3, 0)])
def test_less_than_three_budgets_or_no_patient_is_refused(shape) -> None:
    with pytest.raises(ValueError, match=f"{shape[0]} budgets of {shape[1]} patients"):
        fit_growth(BUDGETS[: shape[0]], np.full(shape, 0.5), ONE[: shape[0]])
