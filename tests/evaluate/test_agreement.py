"""Agreement, in numbers that can be checked by hand."""

import math

import numpy as np
import pytest

from fewmask.core.errors import BadDataset
from fewmask.evaluate.agreement import (
    agree,
    kappa_interval,
    limits_of_agreement,
    read_ratings,
    weighted_kappa,
)


def test_kappa_by_hand() -> None:
    """1 2 3 against 1 2 2: squared differences 0 0 1, mean 1/3. By chance, all nine pairs: 1 with
    1 2 2: 0 1 1; 2: 1 0 0; 3: 4 1 1; mean 9/9 = 1. Kappa 1 - 1/3.
    """
    assert weighted_kappa(np.array([1, 2, 3]), np.array([1, 2, 2])) == pytest.approx(2 / 3)


def test_kappa_of_a_table_of_counts() -> None:
    """Yes and no: 20 both yes, 15 both no, 5 and 10 apart: the textbook's 0.4."""
    first = np.repeat([1, 1, 0, 0], [20, 5, 10, 15])
    second = np.repeat([1, 0, 1, 0], [20, 5, 10, 15])
    assert weighted_kappa(first, second) == pytest.approx(0.4)


def test_kappa_of_opposites_and_of_no_disagreement() -> None:
    assert weighted_kappa(np.array([1, 5]), np.array([5, 1])) == pytest.approx(-1)
    assert weighted_kappa(np.array([1, 5, 3]), np.array([1, 5, 3])) == 1
    assert math.isnan(weighted_kappa(np.array([4, 4]), np.array([4, 4])))
    assert math.isnan(weighted_kappa(np.array([], int), np.array([], int)))


def test_the_interval_holds_kappa_and_needs_five() -> None:
    same = kappa_interval(np.array([1, 2, 3, 4, 5]), np.array([1, 2, 3, 4, 5]))
    assert (same.mean, same.low, same.high) == (1, 1, 1)
    few = kappa_interval(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5]))
    assert few.mean > 0.9 and math.isnan(few.low)
    first, second = np.tile([1, 2, 3, 4, 5], 6), np.tile([1, 3, 3, 3, 5], 6)
    wide = kappa_interval(first, second)
    assert wide.low < wide.mean < wide.high <= 1
    longer = kappa_interval(np.tile(first, 4), np.tile(second, 4))
    assert longer.high - longer.low < wide.high - wide.low, "more scans, a narrower interval"


def test_limits_of_agreement_by_hand() -> None:
    """Differences 1, 2, 3: bias 2, standard deviation 1."""
    found = limits_of_agreement(np.array([11.0, 22, 33]), np.array([10.0, 20, 30]))
    assert (found.n, found.bias) == (3, 2)
    assert (found.low, found.high) == pytest.approx((0.04, 3.96))
    one = limits_of_agreement(np.array([5.0]), np.array([3.0]))
    assert one.bias == 2 and math.isnan(one.low)
    assert math.isnan(limits_of_agreement(np.array([]), np.array([])).bias)


HEAD = "rater,case,coverage,spill,boundary,usable,note\n"


def test_raters_of_several_tables_are_paired_over_scans_both_rated(tmp_path) -> None:
    (tmp_path / "a.csv").write_text(HEAD + "ann,x,1,,,yes,\nann,y,2,5,,no,\nann,z,3,,,no,\n")
    (tmp_path / "b.csv").write_text(HEAD + "ben,x,1,,,yes,\nben,y,2,,,yes,\nben,z,2,,,no,\n")
    found = agree(read_ratings([tmp_path / "a.csv", tmp_path / "b.csv"]))
    means = {(one.rater, one.question): (one.n, one.mean.mean) for one in found.means}
    assert means["ann", "coverage"] == (3, 2) and means["ann", "spill"] == (1, 5)
    assert means["ben", "usable"][1] == pytest.approx(2 / 3)
    pairs = {one.question: one for one in found.pairs}
    assert set(pairs) == {"coverage", "usable"}, "nobody else rated the spill"
    assert pairs["coverage"].n == 3 and pairs["coverage"].same == pytest.approx(2 / 3)
    assert pairs["coverage"].kappa.mean == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("ann,x,6,,,,", "coverage is '6'"),
        ("ann,x,,,,maybe,", "usable is 'maybe', wanted one of no, yes"),
        (",x,1,,,,", "no rater"),
        ("ann,x,1,,,,\nann,x,2,,,,", "twice"),
    ],
)
def test_what_is_no_rating_is_refused(tmp_path, line, what) -> None:
    (tmp_path / "a.csv").write_text(HEAD + line + "\n")
    with pytest.raises(BadDataset, match=what) as error:
        read_ratings([tmp_path / "a.csv"])
    assert "a.csv" in str(error.value)
