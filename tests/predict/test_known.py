"""Tags and outlines have the last word over a mask."""

import numpy as np
import pytest

from fewmask.core.budget import Budget
from fewmask.core.errors import LabelWithheld
from fewmask.data.label_guard import LabelGuard
from fewmask.predict.known import Known, read_known, settle
from tests.scans import prepare_scans


def test_a_mask_ends_where_tags_end_and_outlines_stay() -> None:
    """Two structures in four slices of 2 x 2. Slice 0 is tagged as holding no `1`: its three voxels
    go, its `2` stays. Slice 3 is tagged empty. Slice 1 is outlined.
    """
    voxels = np.ones((4, 2, 2), np.uint8)
    voxels[0, 0, 0] = 2
    tags = np.array([[0, 1], [1, 1], [-1, 1], [0, 0]], np.int8)
    outline = np.array([[0, 0], [2, 2]], np.uint8)
    done = settle(voxels, Known(tags, {1: outline}))
    assert done.voxels.tolist() == [
        [[2, 0], [0, 0]],
        [[0, 0], [2, 2]],
        [[1, 1], [1, 1]],
        [[0, 0], [0, 0]],
    ]
    assert (done.removed, done.outlined, done.sure.tolist()) == (7, 1, [False, True, False, True])
    assert voxels[3].all(), "the mask that was given is as it was"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare_scans(tmp_path_factory.mktemp("known"))


def test_only_outlines_of_the_budget_are_read(prepared) -> None:
    """The blob lies in slices 2 to 5 of 8."""
    case, other = prepared.split.train[:2]
    guard = LabelGuard(prepared, Budget("slices", 0, slices=((case, 3),)))
    known = read_known(prepared, guard, case)
    assert known.absent[:, 0].tolist() == [True, True, False, False, False, False, True, True]
    assert list(known.outlines) == [3] and known.outlines[3].any()
    assert not read_known(prepared, guard, other).outlines


def test_a_scan_kept_aside_is_never_opened(prepared) -> None:
    case = prepared.split.test[0]
    guard = LabelGuard(prepared, Budget("slices", 0, slices=((case, 3),)))
    with pytest.raises(LabelWithheld):
        read_known(prepared, guard, case)
