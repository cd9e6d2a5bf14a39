"""Which scans are looked at first, and the words for it."""

import math

import numpy as np
import pytest

from fewmask.core.volume import LabelMap, Volume
from fewmask.evaluate.scores import CaseScore
from fewmask.report.doubt import Doubt, Evidence, Quality, find_doubts
from fewmask.report.measure import Extent, measure
from tests.scans import AFFINE, SHAPE


def extent(
    ml: float = 1500.0, span: tuple[int, int] | None = (20, 69), pieces: int = 1, stray: float = 0.0
) -> Extent:
    return Extent("liver", ml if span else 0.0, span, pieces if span else 0, stray, 60.0)


def score(dice: float, status: str = "ok") -> CaseScore:
    return CaseScore("a", "liver", dice, 0.5, 2.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, status)  # type: ignore[arg-type]


def doubt_of(evidence: Evidence) -> Doubt:
    return find_doubts({"a": evidence}, lambda case, d: d)["a"]


def test_what_a_mask_shows_without_truth() -> None:
    """Two blocks of 4 x 4 x 2 and 2 x 2 x 2 voxels of 3 x 3 x 5 mm: 40 voxels of 0.045 mL; a fifth
    of it is not in the larger one.
    """
    mask = np.zeros(SHAPE, np.uint8)
    mask[4:8, 4:8, 1:3], mask[20:22, 20:22, 5:7] = 1, 1
    grey = np.full(SHAPE, 10, np.int16)
    grey[mask > 0] = 40
    volume = Volume.from_file_order(grey, AFFINE, 2.0, -5.0)
    liver, spleen = measure(LabelMap.from_file_order(mask, AFFINE), ("liver", "spleen"), volume)
    assert liver.ml == pytest.approx(1.8) and liver.span == (1, 6) and liver.pieces == 2
    assert liver.stray == pytest.approx(0.2) and liver.intensity == pytest.approx(75)
    assert spleen == Extent("spleen", 0.0, None, 0, 0.0, None)


def test_order_of_doubt() -> None:
    """Empty against a tag, then Dice 0.4, then nothing drawn at all is below only the first; a tag
    that half agrees; pieces; nothing.
    """
    scans = {
        "fine": Evidence([extent()], {"liver": (20, 69)}),
        "pieces": Evidence([extent(pieces=3, stray=0.1)]),
        "ends": Evidence([extent(span=(20, 44))], {"liver": (20, 69)}),
        "truth": Evidence([extent()], scores=[score(0.4)]),
        "nothing": Evidence([extent(span=None)]),
        "denied": Evidence([extent()], {"liver": None}),
        "empty": Evidence([extent(span=None)], {"liver": (20, 69)}),
    }
    doubts = find_doubts(scans, lambda case, d: d + 1)
    assert list(doubts) == ["empty", "denied", "nothing", "truth", "ends", "pieces", "fine"]
    amounts = [doubt.amount for doubt in doubts.values()]
    # Ends: 25 of 50 slices, of 0.8; pieces: 0.05 + 2 x 0.1.
    assert amounts == pytest.approx([1, 0.95, 0.9, 0.6, 0.4, 0.25, 0])
    assert doubts["empty"].reasons == ("liver: the mask is empty, but tags say that it is there",)
    assert doubts["ends"].reasons == ("liver: mask in slices 21 to 45, tag says 21 to 70",)
    assert doubts["pieces"].reasons == ("liver: 3 pieces, 10 % of it outside the largest",)
    assert doubts["truth"].reasons == ("liver: Dice 0.40",) and not doubts["fine"].reasons


def test_slices_are_called_as_the_file_calls_them() -> None:
    """Stored from the head down, of 100 slices: d = 20 to 44 is 55 to 79."""
    evidence = Evidence([extent(span=(20, 44))], {"liver": (20, 69)})
    (told,) = find_doubts({"a": evidence}, lambda case, d: 99 - d)["a"].reasons
    assert told == "liver: mask in slices 55 to 79, tag says 30 to 79"


def test_an_absent_structure_that_is_not_drawn_is_no_doubt() -> None:
    assert doubt_of(Evidence([extent(span=None)], {"liver": None})) == Doubt(0.0, ())


def test_a_network_that_drew_nothing_is_told_though_outlines_were_put_in() -> None:
    found = doubt_of(Evidence([extent()], missing={"liver": "outlines"}))
    assert found.amount == 1
    assert found.reasons[0] == "liver: nothing was drawn beyond the outlines, but it goes on there"


def test_truth_decides_alone_and_other_reasons_follow() -> None:
    found = doubt_of(Evidence([extent(pieces=9, stray=0.5)], scores=[score(0.95)]))
    assert found.amount == pytest.approx(0.05)
    assert found.reasons == ("liver: Dice 0.95", "liver: 9 pieces, 50 % of it outside the largest")
    assert doubt_of(Evidence([extent()], scores=[score(0.0, "missed")])).amount == 1
    both_empty = score(math.nan, "both_empty")
    assert doubt_of(Evidence([extent(span=None)], {"liver": None}, [both_empty])).amount == 0


def test_predicted_dice_is_a_reason() -> None:
    lines = [
        Quality("liver", 0.7, 0.5, 0.9, "jumps between slices"),
        Quality("mean", math.nan, math.nan, math.nan),
    ]
    found = doubt_of(Evidence([extent()], quality=lines))
    assert found.amount == pytest.approx(0.3)
    assert found.reasons == ("liver: predicted Dice 0.70 (0.50 to 0.90); jumps between slices",)


def test_reasons_of_structures_are_not_said_again_for_all_of_them() -> None:
    mean = Quality("mean", 0.8, 0.6, 0.9, "liver: jumps")
    liver = Quality("liver", 0.7, 0.5, 0.9, "jumps")
    spleen = Quality("spleen", 0.9, 0.7, 0.95, "")
    said = doubt_of(Evidence([extent()], quality=[liver, spleen, mean])).reasons
    assert "all structures: predicted Dice 0.80 (0.60 to 0.90)" in said
    one = doubt_of(Evidence([extent()], quality=[liver, mean])).reasons
    assert one == ("liver: predicted Dice 0.70 (0.50 to 0.90); jumps",), "all are that one"
    alone = doubt_of(Evidence([extent()], quality=[mean])).reasons
    assert alone[0].endswith("(0.60 to 0.90); liver: jumps")


def test_a_volume_far_from_the_others_needs_five_of_them() -> None:
    """Median 1500, median distance 100 (of 0 50 100 100 1500): one standard deviation is 148 mL."""
    volumes = {"a": 1400.0, "b": 1450.0, "c": 1500.0, "d": 1600.0, "e": 3000.0}
    scans = {case: Evidence([extent(ml)]) for case, ml in volumes.items()}
    doubts = find_doubts(scans, lambda case, d: d)
    told = "liver: 3000 mL, far above the other scans (median 1500 mL)"
    assert next(iter(doubts)) == "e" and doubts["e"] == Doubt(0.5, (told,))
    assert not any(doubts[case].reasons for case in "abcd")
    del scans["a"]
    assert not find_doubts(scans, lambda case, d: d)["e"].reasons
