"""From signs to a Dice: on made-up masks whose Dice is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from fewmask.quality.estimate import (
    NAMES,
    Prior,
    Sample,
    Shift,
    doubt_scores,
    expect,
    features_of,
    fit_prior,
    learn_shift,
    volume_scores,
)
from fewmask.quality.prior import PRIOR
from fewmask.quality.signs import Signs

GOOD = Signs(
    ml=1500.0,
    first=10,
    last=49,
    pieces_ml=(1500.0,),
    pieces=1,
    expected=0.97,
    border=0.9,
    likeness=0.95,
    unsure=0.0,
)
EXPECTED_ALONE = Prior(0.0, (1.0, *[0.0] * 6), -1.0, 1.0)


def known(*words, **more) -> tuple[float, float, float]:
    """An estimate that is one."""
    one = expect(*words, **more)
    assert one.dice is not None and one.low is not None and one.high is not None
    return one.dice, one.low, one.high


def features(signs: Signs) -> np.ndarray:
    found = features_of(signs)
    assert found is not None
    return found


def test_without_other_weights_it_is_what_the_network_expects() -> None:
    dice, low, high = known(GOOD, EXPECTED_ALONE)
    assert dice == pytest.approx(0.97)
    assert low == pytest.approx(expit(np.log(0.97 / 0.03) - 1))
    assert low < 0.97 < high < 1


@pytest.mark.parametrize(
    "worse",
    [
        {"expected": 0.6},
        {"border": 0.6},
        {"removed": 0.6},
        {"unsure": 0.6},
        {"gaps": 20},
    ],
)
def test_no_sign_of_doubt_makes_the_shipped_mapping_surer(worse) -> None:
    assert known(replace(GOOD, **worse), PRIOR)[0] <= known(GOOD, PRIOR)[0]


def test_the_shipped_mapping_is_sane() -> None:
    assert len(PRIOR.weights) == len(NAMES) and PRIOR.low < 0 < PRIOR.high
    bad = replace(GOOD, expected=0.5, border=0.6, likeness=0.4, gaps=10, unsure=0.8)
    assert known(GOOD, PRIOR)[0] > 0.8 > 0.6 > known(bad, PRIOR)[0]


def test_what_cannot_be_known_is_said() -> None:
    one = expect(replace(GOOD, expected=None, border=None), PRIOR)
    assert (one.dice, one.low, one.high) == (None, None, None)
    assert "cannot be known" in one.why_not
    assert features_of(replace(GOOD, expected=None)) is None


def test_doubt_is_compared_with_that_of_the_other_scans() -> None:
    """The median of the five known ones is 0.2; 0.22 lies the logarithm of 1.1 above it."""
    doubts = [0.1, 0.2, 0.22, 9.0, 0.2, None]
    assert doubt_scores(doubts) == pytest.approx([-0.5, 0, np.log(1.1), 0.5, 0, 0])
    assert doubt_scores(doubts[1:]) == [0] * 5
    more = known(GOOD, EXPECTED_ALONE, doubt_score=0.5)[0]
    assert more == pytest.approx(expit(np.log(0.97 / 0.03) - 2 * 0.5))


def test_an_empty_mask_is_the_most_doubtful() -> None:
    one = expect(Signs(), PRIOR)
    assert (one.dice, one.low, one.high) == (0, 0, 1)


def test_scored_masks_move_it_from_five_on() -> None:
    """True values are one logit below what was expected: so is the next."""
    pairs = [(0.9, float(expit(np.log(9) - 1 + off))) for off in (-0.1, -0.05, 0, 0.05, 0.1)]
    assert learn_shift(pairs[:4]) is None
    shift = learn_shift(pairs)
    assert shift is not None and shift.mean == pytest.approx(-1) and shift.scans == 5
    dice, low, high = known(replace(GOOD, expected=0.9), EXPECTED_ALONE, shift=shift)
    assert dice == pytest.approx(expit(np.log(9) - 1))
    wider = replace(shift, spread=1.0)
    _, lower, higher = known(replace(GOOD, expected=0.9), EXPECTED_ALONE, shift=wider)
    assert lower < low and higher > high
    few = Shift(-1.0, 0.1, 4)
    assert expect(GOOD, EXPECTED_ALONE, shift=few) == expect(GOOD, EXPECTED_ALONE)


def test_outlines_that_it_learned_from_only_lower_it() -> None:
    _, low, high = usual = known(GOOD, EXPECTED_ALONE)
    assert known(GOOD, EXPECTED_ALONE, ceiling=0.98) == usual
    dice, lower, same = known(GOOD, EXPECTED_ALONE, ceiling=0.8)
    assert dice == pytest.approx(0.8) and lower < low and same == high


def test_a_volume_is_far_from_others_in_its_logarithm() -> None:
    scores = volume_scores([100.0, 100.0, 100.0, 100.0, 200.0, 0.0])
    assert scores == pytest.approx([0, 0, 0, 0, np.log(2) / 0.15, 0])
    assert volume_scores([100.0, 100.0, 100.0, 900.0]) == [0.0] * 4


def test_fitting_finds_the_mapping_that_made_the_samples() -> None:
    """Two sets of 60: logit Dice = 0.5 + half the logit of what was expected, and some noise."""
    draw = np.random.default_rng(0)
    samples = []
    for group in ("a", "b"):
        for _ in range(60):
            expected, noise = draw.uniform(0.3, 0.98), draw.normal(0, 0.05)
            x = features(replace(GOOD, expected=expected))
            true = float(expit(0.5 + 0.5 * np.log(expected / (1 - expected)) + noise))
            samples.append(Sample(x, true, group))
    prior = fit_prior(samples)
    assert prior.weights[0] == pytest.approx(0.5, rel=0.1)
    assert prior.low == pytest.approx(-1.64 * 0.05, abs=0.08) and prior.high < 0.2
    made = expect(replace(GOOD, expected=0.8), prior)
    assert made.dice == pytest.approx(expit(0.5 + 0.5 * np.log(4)), abs=0.02)


def test_one_data_set_cannot_say_how_it_does_on_another() -> None:
    with pytest.raises(ValueError, match="two data sets"):
        fit_prior([Sample(features(GOOD), 0.9, "a")] * 3)
