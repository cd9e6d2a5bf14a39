"""Presence along a scan: neighbours overrule a slice that stands alone, by an amount that can be
computed by hand.
"""

import itertools

import numpy as np
import pytest

from fewmask.predict.presence import smooth_presence


def probs(odds: list[float]) -> np.ndarray:
    return (1 / (1 + np.exp(-np.array(odds, np.float64))))[:, None].astype(np.float32)


def settled(odds: list[float], cost: float) -> list[int]:
    return [int(there) for there in smooth_presence(probs(odds), cost)[:, 0]]


def test_a_gap_is_bridged_if_it_costs_less_than_two_changes() -> None:
    """Two changes at 2 cost 4: a silent slice of -3 is filled, one of -5 is believed."""
    assert settled([-9, 5, 5, -3, 5, 5, -9], 2.0) == [0, 1, 1, 1, 1, 1, 0]
    assert settled([-9, 5, 5, -5, 5, 5, -9], 2.0) == [0, 1, 1, 0, 1, 1, 0]


def test_a_lone_slice_is_believed_if_it_is_worth_two_changes() -> None:
    assert settled([-5, 5, 5, -5, -5, 3, -5], 2.0) == [0, 1, 1, 0, 0, 0, 0]
    assert settled([-5, 5, 5, -5, -5, 5, -5], 2.0) == [0, 1, 1, 0, 0, 1, 0]


def test_a_structure_that_some_slice_called_does_not_vanish() -> None:
    """Nowhere are two neighbours worth 4, so the best sequence is all "no": then each slice is
    judged alone.
    """
    assert settled([-5, 1, -5, 2, -5], 2.0) == [0, 1, 0, 1, 0]


def test_the_ends_of_a_scan_are_no_change() -> None:
    """A structure cut by the first slice: one change, so 3 > 2 is enough."""
    assert (
        settled([3, -5, -5], 2.0) == [1, 0, 0]
        and settled([3], 2.0) == [1]
        and settled([-3], 2.0) == [0]
    )


def test_without_a_cost_each_slice_is_judged_alone() -> None:
    assert settled([-1, 1, -1, 0, 2], 0.0) == [0, 1, 0, 1, 1]


def test_certainty_is_finite_and_nothing_is_nothing() -> None:
    assert smooth_presence(np.array([[1.0], [0.0], [1.0]], np.float32), 2.0)[:, 0].tolist() == [
        True,
        False,
        True,
    ]
    assert smooth_presence(np.zeros((0, 3), np.float32), 2.0).shape == (0, 3)


@pytest.mark.parametrize("seed", range(20))
def test_no_other_sequence_fits_better(seed: int) -> None:
    """Against all 2^7 sequences, two classes at once."""
    odds = np.random.default_rng(seed).normal(0, 3, (7, 2))
    found = smooth_presence(np.concatenate([probs(list(column)) for column in odds.T], 1), 2.0)

    def worth(sequence: np.ndarray, column: np.ndarray) -> float:
        return float((sequence * column).sum() - 2.0 * np.abs(np.diff(sequence)).sum())

    for k in range(2):
        best = max(worth(np.array(one), odds[:, k]) for one in itertools.product((0, 1), repeat=7))
        if best > 0:  # else all "no" is best, and slices are judged alone
            assert worth(found[:, k].astype(int), odds[:, k]) == pytest.approx(best, abs=1e-5)
        else:
            assert found[:, k].tolist() == (odds[:, k] >= 0).tolist()
