"""Two boxes and a hole, counted by hand."""

import numpy as np
import pytest

from fewmask.cleanup import CleanupRule, StructureRule, clean
from fewmask.core.errors import BadConfig


def two_boxes() -> np.ndarray:
    """Structure 1: a box of 3 x 4 x 4 = 48 voxels with a hole of one in each slice (45 left), and
    another of 1 x 2 x 2 = 4. Structure 2: one voxel in the hole of slice 1.
    """
    voxels = np.zeros((6, 10, 10), np.uint8)
    voxels[0:3, 1:5, 1:5] = 1
    voxels[0:3, 2, 2] = 0
    voxels[1, 2, 2] = 2
    voxels[5, 7:9, 7:9] = 1
    return voxels


def rule(**settings) -> CleanupRule:
    return CleanupRule({"liver": StructureRule(**settings)})


def test_the_largest_part_stays_and_the_rest_is_counted() -> None:
    found = clean(two_boxes(), ("liver", "vessel"), rule(keep="largest"))
    assert found.removed == {"liver": 4, "vessel": 0} and not found.voxels[5].any()
    assert (found.voxels == 1).sum() == 45


@pytest.mark.parametrize(("share", "left"), [(4 / 45, 49), (0.1, 45)])
def test_parts_above_a_share_of_the_largest_stay(share, left) -> None:
    found = clean(two_boxes(), ("liver", "vessel"), rule(keep="above", share=share))
    assert (found.voxels == 1).sum() == left


def test_holes_are_filled_within_a_slice_and_never_from_another_structure() -> None:
    found = clean(two_boxes(), ("liver", "vessel"), rule(fill_holes=True))
    assert found.filled == {"liver": 2, "vessel": 0} and found.voxels[1, 2, 2] == 2


def test_no_rule_and_an_empty_map_change_nothing() -> None:
    before = two_boxes()
    assert (clean(before, ("liver", "vessel"), CleanupRule()).voxels == before).all()
    empty = np.zeros((2, 3, 3), np.uint8)
    assert not clean(empty, ("liver",), rule(keep="largest", fill_holes=True)).voxels.any()
    assert CleanupRule().changes_nothing and not rule(keep="largest").changes_nothing


def test_what_was_given_is_not_written_to() -> None:
    before = two_boxes()
    clean(before, ("liver", "vessel"), rule(keep="largest", fill_holes=True))
    assert (before == two_boxes()).all()


def test_plain_data_and_back() -> None:
    learned = rule(keep="above", share=0.2, fill_holes=True, reason="because")
    assert CleanupRule.from_dict(learned.as_dict()) == learned
    with pytest.raises(BadConfig, match="keep"):
        CleanupRule.from_dict({"structures": {"liver": {"keep": "smallest"}}})
