"""Rules learned from small scans: one piece, two pieces, tags, and too few slices."""

import numpy as np

from fewmask.cleanup import Evidence, learn_rule
from fewmask.cleanup.learn import learn_structure


def scan(slices=(1, 2, 3, 4), second=(), present=(), absent=()) -> Evidence:
    """An organ in slices 0 to 5, rows and columns 2 to 7, found whole; a false part of 4 voxels in
    slice 8. `second`: slices in which a smaller true part lies apart, found as well.
    """
    truth = np.zeros((10, 12, 12), bool)
    truth[0:6, 2:8, 2:8] = True
    for d in second:
        truth[d, 9:11, 9:11] = True
    predicted = truth.copy()
    predicted[8, 0:2, 0:2] = True
    return Evidence(predicted, truth[list(slices)], tuple(slices), present, absent)


def test_one_piece_wherever_it_was_outlined_keeps_the_largest() -> None:
    found = learn_structure([scan()])
    assert found.keep == "largest" and found.fill_holes
    assert found.reason == "in 4 of 4 outlined slices nothing right is lost"


def test_tags_that_say_no_show_the_gain() -> None:
    """Outlined: 4 x 36 = 144 right voxels. Before, 4 false ones in slice 8: 288 / 292 = 0.986."""
    assert learn_structure([scan(absent=(7, 8, 9))]).reason.endswith("0.986 to 1.000")


def test_two_pieces_keep_both_and_drop_what_is_smaller() -> None:
    """The second true part has 2 x 4 = 8 voxels, 0.037 of the largest (216): no share spares it."""
    assert learn_structure([scan(second=(1, 2))]).keep == "all"
    both = scan(second=(0, 1, 2, 3, 4, 5))  # 24 voxels, 0.11 of the largest; the false part 0.019
    found = learn_structure([both])
    assert (found.keep, found.share) == ("above", 0.05)


def test_a_slice_tagged_present_that_would_become_empty_speaks_against_it() -> None:
    assert learn_structure([scan(present=(8,))]).keep == "all"


def test_a_speck_in_one_tagged_slice_of_twenty_does_not() -> None:
    """Slices 4 to 24 and one of two specks are tagged: 1 of 22 emptied is 0.045, 2 of 23 0.087."""
    truth = np.zeros((30, 12, 12), bool)
    truth[:25, 2:8, 2:8] = True
    predicted = truth.copy()
    predicted[28:, 0:2, 0:2] = True
    slices, tagged = (0, 1, 2, 3), (*range(4, 25), 28)
    assert learn_structure([Evidence(predicted, truth[:4], slices, tagged)]).keep == "largest"
    assert learn_structure([Evidence(predicted, truth[:4], slices, (*tagged, 29))]).keep == "all"


def test_a_right_speck_in_one_outlined_slice_of_twenty_does_not_either() -> None:
    """Slices 0 to 19 are outlined; the tip in slice 19 (or 18 and 19) hangs together with nothing.
    Dice gains more by a false part of 400 voxels, tagged as not there, than the tip is worth.
    """
    for tip, keep in (((19,), "largest"), ((18, 19), "all")):
        truth = np.zeros((30, 24, 12), bool)
        truth[: tip[0], 2:8, 2:8] = True
        truth[list(tip), 20:22, 2:4] = True
        predicted = truth.copy()
        predicted[25:29, :10, :10] = True
        given = Evidence(predicted, truth[:20], tuple(range(20)), (), (25, 26, 27, 28))
        found = learn_structure([given])
        assert found.keep == keep
        if keep == "largest":
            assert found.reason.startswith("in 19 of 20 outlined slices nothing right is lost")


def test_one_scan_in_which_it_is_in_two_pieces_is_enough() -> None:
    assert learn_structure([scan(), scan(second=(1, 2))]).keep == "all"


def test_three_slices_are_too_few() -> None:
    found = learn_structure([scan(slices=(1, 2, 3))])
    assert (found.keep, found.fill_holes) == ("all", False)
    assert found.reason == "found in 3 outlined slices: too few to learn a rule from (4)"
    assert learn_structure([]).reason.startswith("found in 0 outlined slices")


def test_an_outline_with_a_hole_leaves_holes() -> None:
    given = scan()
    given.outlined[0, 4, 4] = False
    assert not learn_structure([given]).fill_holes


def test_a_ring_around_everything_is_not_filled() -> None:
    """Found by mistake in each outlined slice, 36 voxels long; filled, 28 more would be wrong."""
    given = scan()
    given.predicted[1:5, 1:11, 1] = given.predicted[1:5, 1:11, 10] = True
    given.predicted[1:5, 1, 1:11] = given.predicted[1:5, 10, 1:11] = True
    assert not learn_structure([given]).fill_holes


def test_each_structure_has_its_own_rule() -> None:
    rule = learn_rule({"liver": [scan()], "kidneys": [scan(second=(1, 2))]})
    assert [rule.structures[name].keep for name in ("liver", "kidneys")] == ["largest", "all"]


def test_slices_that_the_network_missed_speak_for_nothing() -> None:
    """Four outlines, all missed: no rule could lose anything there, and none is learned."""
    given = scan()
    given.predicted[:6] = False
    assert learn_structure([given]).keep == "all"
