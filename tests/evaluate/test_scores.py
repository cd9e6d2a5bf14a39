"""Metrics on masks small enough to check by hand."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.core.errors import BadScan
from fewmask.evaluate.intervals import summarise
from fewmask.evaluate.protocols import score_la_2018, score_sam_mix
from fewmask.evaluate.scores import CaseScore, as_row, from_row, score_case
from fewmask.evaluate.surfaces import box_edges, surface_distances


def volume(*voxels: tuple[int, int, int], shape: tuple[int, int, int] = (1, 5, 5)) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    for voxel in voxels:
        mask[voxel] = 1
    return mask


def one(pred: np.ndarray, truth: np.ndarray, spacing=(1.0, 2.0, 1.0), **options: Any) -> CaseScore:
    return score_case("a", pred, truth, spacing, ["liver"], **options)[0]


def test_two_pixels_two_millimetres_apart() -> None:
    """Neighbours along h at 2 mm: no overlap, every distance 2 mm; within a 2 mm tolerance all
    surface agrees.
    """
    score = one(volume((0, 1, 1)), volume((0, 2, 1)))
    assert (score.dice, score.hd_mm, score.hd95_mm, score.assd_mm, score.nsd) == (
        0.0,
        2.0,
        2.0,
        2.0,
        1.0,
    )
    assert one(volume((0, 1, 1)), volume((0, 2, 1)), nsd_tolerance_mm=1.9).nsd == 0.0
    assert score.volume_error_ml == 0 and score.truth_ml == pytest.approx(0.002)


def test_a_mask_too_large_has_a_volume_error_above_zero() -> None:
    """Voxels of 1 x 2 x 1 mm are 0.002 mL: three where one is true are 0.004 mL too much."""
    large, small = volume((0, 2, 1), (0, 2, 2), (0, 2, 3)), volume((0, 2, 2))
    assert one(large, small).volume_error_ml == pytest.approx(0.004)
    assert one(small, large).volume_error_ml == pytest.approx(-0.004)


def test_half_overlap_by_hand() -> None:
    """Prediction x = 1, 2; truth x = 2, 3 (1 mm): Dice 2 * 1 / 4; distances 1, 0 and 0, 1: HD 1,
    ASSD 0.5.
    """
    score = one(volume((0, 2, 1), (0, 2, 2)), volume((0, 2, 2), (0, 2, 3)))
    assert (score.dice, score.hd_mm, score.assd_mm, score.status) == (0.5, 1.0, 0.5, "ok")


def test_the_two_hd95_differ_as_stated() -> None:
    """Truth: one voxel; prediction: that voxel and one 4 mm away. Directed sets {0, 4} and {0}.

    Larger of the directed 95th percentiles: 0.95 * 4 = 3.8. Pooled {0, 0, 4}: position 0.95 * 2 =
    1.9, so 0.9 * 4 = 3.6.
    """
    distances = surface_distances(
        volume((0, 0, 0), (0, 0, 4)) > 0, volume((0, 0, 0)) > 0, (1.0, 1.0, 1.0)
    )
    assert distances.hd95_mm == pytest.approx(3.8)
    assert distances.hd95_pooled_mm == pytest.approx(3.6)
    assert distances.asd_mm == 2.0 and distances.assd_mm == pytest.approx(4 / 3)


@pytest.mark.parametrize(
    ("pred", "truth", "empty"),
    [
        (volume(), volume(), "prediction and truth"),
        (volume(), volume((0, 1, 1)), "prediction"),
        (volume((0, 1, 1)), volume(), "truth"),
    ],
)
def test_an_empty_mask_has_no_surface(pred: np.ndarray, truth: np.ndarray, empty: str) -> None:
    with pytest.raises(ValueError, match=f"at least one voxel each; empty: {empty}$"):
        surface_distances(pred > 0, truth > 0, (1.0, 1.0, 1.0))


def test_empties_are_counted_not_averaged() -> None:
    nothing, something = volume(), volume((0, 1, 1))
    both, missed, spurious = one(nothing, nothing), one(nothing, something), one(something, nothing)
    diagonal = math.sqrt(1 + 10**2 + 5**2)
    assert both.status == "both_empty" and math.isnan(both.dice)
    for score, status in ((missed, "missed"), (spurious, "spurious")):
        assert (score.status, score.dice, score.nsd) == (status, 0.0, 0.0)
        assert score.hd_mm == score.hd95_mm == score.assd_mm == pytest.approx(diagonal)
    summary = summarise([both, missed, spurious, one(something, something)])[0]
    assert (summary.n, summary.n_missed, summary.n_spurious, summary.n_both_empty) == (3, 1, 1, 1)
    assert summary.dice.mean == pytest.approx(1 / 3)


def test_surface_of_a_solid_cube_is_its_shell() -> None:
    """A 3 x 3 x 3 cube in a 4 x 4 x 4 one that shares a corner: farthest point is the outer corner,
    sqrt(3) away.
    """
    pred, truth = np.zeros((6, 6, 6), np.uint8), np.zeros((6, 6, 6), np.uint8)
    pred[1:5, 1:5, 1:5] = 1
    truth[1:4, 1:4, 1:4] = 1
    score = one(pred, truth, (1.0, 1.0, 1.0))
    assert score.hd_mm == pytest.approx(math.sqrt(3)) and score.dice == pytest.approx(
        2 * 27 / (64 + 27)
    )


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 4))
def test_laws(seed: int, factor: float) -> None:
    """Symmetric; the same in any orientation; distances scale with spacing, Dice does not."""
    rng = np.random.default_rng(seed)
    a, b = (rng.random((4, 5, 6)) < 0.3 for _ in range(2))
    a[0, 0, 0] = b[1, 1, 1] = True
    spacing = (2.0, 1.0, 0.5)
    score, swapped = (
        one(a.astype(np.uint8), b.astype(np.uint8), spacing),
        one(b.astype(np.uint8), a.astype(np.uint8), spacing),
    )
    for name in ("dice", "nsd", "hd_mm", "hd95_mm", "assd_mm"):
        assert getattr(score, name) == pytest.approx(getattr(swapped, name))
    turned = one(
        a.T[::-1].astype(np.uint8).copy(), b.T[::-1].astype(np.uint8).copy(), spacing[::-1]
    )
    assert turned.hd95_mm == pytest.approx(score.hd95_mm) and turned.assd_mm == pytest.approx(
        score.assd_mm
    )
    scaled = one(a.astype(np.uint8), b.astype(np.uint8), tuple(s * factor for s in spacing))
    assert scaled.assd_mm == pytest.approx(score.assd_mm * factor) and scaled.dice == score.dice


def test_shapes_must_agree() -> None:
    with pytest.raises(BadScan, match="prediction is"):
        one(volume(), volume(shape=(1, 5, 6)))


def test_rows_come_back() -> None:
    score = one(volume((0, 1, 1)), volume((0, 2, 1)))
    assert from_row({key: str(value) for key, value in as_row(score).items()}) == score


def test_sam_mix_protocol_scores_positive_slices_in_pixels() -> None:
    truth = volume((0, 1, 1), (1, 2, 2), shape=(3, 4, 3))
    pred = volume((0, 1, 1), (2, 0, 0), shape=(3, 4, 3))
    score = score_sam_mix(pred, truth)
    assert (score.n, score.n_missed, score.dice) == (2, 1, 0.5)
    assert score.hd_px == pytest.approx((0 + 5) / 2)


def test_jaccard_by_hand() -> None:
    """Three voxels, two of them true: Dice 2 * 2 / 5, Jaccard 2 / 3."""
    pred, truth = volume((0, 0, 0), (0, 0, 1), (0, 0, 2)) > 0, volume((0, 0, 0), (0, 0, 1)) > 0
    scores = score_la_2018(pred, truth)
    assert (scores.dice, scores.jaccard) == pytest.approx((0.8, 2 / 3))


def test_la_protocol_flatters_empties_as_its_papers_do() -> None:
    score = score_la_2018(volume() > 0, volume((0, 1, 1)) > 0)
    assert (score.dice, score.hd95_voxel, score.asd_voxel, score.empty) == (0.0, 0.0, 0.0, True)
    for made_up in (volume(), volume((0, 1, 1))):
        score = score_la_2018(made_up > 0, volume() > 0)
        assert np.isnan([score.dice, score.jaccard, score.hd95_voxel, score.asd_voxel]).all()
        assert score.empty == (not made_up.any())
    half = score_la_2018(volume((0, 2, 1), (0, 2, 2)) > 0, volume((0, 2, 2), (0, 2, 3)) > 0)
    assert half.jaccard == pytest.approx(1 / 3) and half.asd_voxel == 0.5


def test_true_box_has_pixel_edges() -> None:
    assert box_edges(volume((0, 1, 2), (0, 3, 4))[0] > 0).tolist() == [2, 1, 5, 4]
    assert np.isnan(box_edges(volume()[0] > 0)).all()


@pytest.mark.parametrize(("column", "text"), [("dice", "-0.5"), ("nsd", "2"), ("status", "fine")])
def test_a_line_that_no_score_can_be_is_refused(column: str, text: str) -> None:
    score = CaseScore("p1", "liver", 1.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, "ok")
    line = {key: str(value) for key, value in as_row(score).items()}
    assert from_row(line) == score
    with pytest.raises(ValueError, match=f"{column} is {text!r}, wanted "):
        from_row(line | {column: text})
