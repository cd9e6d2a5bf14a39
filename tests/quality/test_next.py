"""Rules that choose slices: who goes first, what is never suggested, numbers checked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from fewmask.core.errors import BadConfig
from fewmask.quality.next import RULES, CaseView, choose


def view(case: str, first: int = 2, last: int = 7, depth: int = 10, **more) -> CaseView:
    """One structure, tagged in `first` .. `last`."""
    tags = np.zeros((depth, 1), np.int8)
    tags[first : last + 1] = 1
    return CaseView(case, more.pop("patient", case), tags, **more)


def unsaid(case: str, area, doubt, **more) -> CaseView:
    """One structure without tags, as a network sees it."""
    area, doubt = (np.array(values, float)[:, None] for values in (area, doubt))
    return CaseView(case, case, np.full((len(area), 1), -1, np.int8), frozenset(), area, doubt)


@pytest.mark.parametrize("rule", RULES)
def test_at_most_two_a_scan_spread_over_patients_never_known(rule) -> None:
    views = [view(f"c{n}", known=frozenset({0, 3, 4})) for n in range(4)]
    plan = choose(views, ["liver"], 20, rule)
    assert [one.case for one in plan[:4]] != [] and len(plan) == 8
    assert sorted(one.case for one in plan[:4]) == ["c0", "c1", "c2", "c3"], "one each, then again"
    assert all(sum(one.case == case for one in plan) == 2 for case in ("c0", "c1", "c2", "c3"))
    assert all(2 <= one.d <= 7 and one.d not in (0, 3, 4) for one in plan)
    assert len({(one.case, one.d) for one in plan}) == 8
    assert all(one.reason.startswith("liver: ") for one in plan)
    assert plan == choose(views[::-1], ["liver"], 20, rule), "the order of scans does not matter"


def test_two_scans_of_a_patient_share_its_turn() -> None:
    views = [view("a1", patient="a"), view("a2", patient="a"), view("b", patient="b")]
    plan = choose(views, ["liver"], 4, "random")
    assert sorted(one.case[0] for one in plan) == ["a", "a", "b", "b"]
    some = choose([replace(views[0], known=frozenset({4})), *views[1:]], ["liver"], 1, "random")
    assert [one.case for one in some] == ["b"], "patient a has an outline already"


def test_random_is_uniform_over_slices_that_hold_the_structure() -> None:
    picks = [choose([view("a")], ["liver"], 1, "random", seed)[0].d for seed in range(600)]
    counts = np.bincount(picks, minlength=10)
    assert counts[[0, 1, 8, 9]].sum() == 0
    assert (abs(counts[2:8] - 100) < 40).all(), counts  # four standard deviations


def test_spread_fills_the_extent_evenly() -> None:
    """One scan of 12 slices with the structure: the middle, then the sixths of both sides."""
    plan = choose([view("a", 0, 11, 12)], ["liver"], 3, "spread", per_scan=3)
    first, *rest = (one.d for one in plan)
    assert first in (5, 6)
    assert sorted(rest)[0] in (1, 2) and sorted(rest)[1] in (9, 10)
    assert "middle" in plan[0].reason and "end" in plan[1].reason


def test_entropy_takes_the_most_doubtful_where_there_are_many_outlines() -> None:
    """Noise is divided by outlines / 5: with 2000 it cannot turn a doubt twice as large."""
    area = [0, 5, 5, 5, 5, 5, 0]
    doubt = [0, 40, 10, 20, 10, 300, 1]
    many = view("other", 0, 1999, 2000, known=frozenset(range(2000)))
    plan = choose([unsaid("a", area, doubt), many], ["liver"], 2, "entropy")
    assert [(one.case, one.d) for one in plan] == [("a", 5), ("a", 1)]
    assert "upper end" in plan[0].reason and "3.0 cm2" in plan[0].reason
    assert "lower end" in plan[1].reason


def test_noise_makes_early_choices_differ() -> None:
    area, doubt = [5] * 8, [10, 12, 9, 11, 10, 12, 9, 11]
    picks = {
        choose([unsaid("a", area, doubt)], ["x"], 1, "entropy", seed)[0].d for seed in range(9)
    }
    assert len(picks) > 2


def test_a_doubtful_slice_beyond_the_mask_may_be_asked_for_by_doubt_alone() -> None:
    area, doubt = [0, 0, 5, 5, 0], [0, 90, 10, 10, 0]
    many = view("other", 0, 1999, 2000, known=frozenset(range(2000)))
    (one,) = choose([unsaid("a", area, doubt), many], ["x"], 1, "entropy")
    assert one.d == 1 and "ends before" in one.reason
    picks = {choose([unsaid("a", area, doubt)], ["x"], 1, "random", s)[0].d for s in range(20)}
    assert picks == {2, 3}


def test_mixed_keeps_away_from_what_is_outlined() -> None:
    """Equal doubt everywhere, the lower half outlined in another scan: the upper half is asked."""
    other = view("b", 0, 1999, 2000, known=frozenset(range(1000)))
    one = unsaid("a", [5] * 20, [50] * 20)
    (first,) = choose([one, other], ["x"], 1, "mixed")
    assert first.case == "a" and 12 <= first.d <= 17


def test_structures_take_turns_and_one_without_a_free_slice_is_passed() -> None:
    tags = np.zeros((6, 3), np.int8)
    tags[:3, 0] = tags[3:, 1] = 1  # the third is nowhere
    views = [CaseView(f"c{n}", f"c{n}", tags) for n in range(4)]
    plan = choose(views, ["liver", "spleen", "kidney"], 6, "random")
    assert [one.structure for one in plan] == [
        "liver",
        "spleen",
        "liver",
        "liver",
        "spleen",
        "liver",
    ]


def test_where_nothing_says_where_it_is_any_slice_may_be_looked_at() -> None:
    views = [CaseView(f"c{n}", f"c{n}", np.full((9, 1), -1, np.int8)) for n in range(3)]
    plan = choose(views, ["x"], 3, "spread")
    assert plan[0].d == 4 and len({one.case for one in plan}) == 3
    assert all("look for it" in one.reason for one in plan)


def test_slices_are_numbered_as_in_the_file_and_only_used_ones_suggested() -> None:
    one = replace(view("a", 0, 9), flipped=True, used=range(8, 9), plane="coronal")
    (found,) = choose([one], ["x"], 5, "random")
    assert (found.d, found.slice) == (8, 1) and "back end" in found.reason


def test_nothing_is_left_or_asked_for() -> None:
    assert choose([view("a", known=frozenset(range(10)))], ["x"], 3) == []
    assert choose([], ["x"], 3) == []
    with pytest.raises(BadConfig):
        choose([view("a")], ["x"], 0)
