"""Label lines, and source values to class indices, on maps small enough to see."""

from typing import Any

import numpy as np
import pytest

from fewmask.core.errors import BadConfig, BadDataset
from fewmask.prepare.mapping import (
    Values,
    check_found,
    check_labels,
    map_labels,
    map_parts,
    parse_labels,
    part_names,
)

SMALL = np.array([[[0, 1], [2, 3]], [[3, 3], [0, 6]]], np.uint8)


def test_lines():
    assert parse_labels(["liver=6", "kidney = 2,3", "spleen=spleen.nii.gz", "aorta"]) == {
        "liver": (6,),
        "kidney": (2, 3),
        "spleen": ("spleen",),
        "aorta": ("aorta",),
    }
    assert parse_labels([]) == {}
    assert list(parse_labels(["b=1", "a=2"])) == ["b", "a"]


@pytest.mark.parametrize(
    "lines",
    [
        ["liver=0"],
        ["liver=-1"],
        ["liver=1.5"],
        ["liver="],
        ["=6"],
        [""],
        ["liver=6,"],
        ["liver=6,6"],
        ["background=1"],
        ["Background=1"],
        ["liver=1", "Liver=2"],
        ["liver=1", "tumour=1"],
        ["a/=1"],
        ["/a=1"],
        ["../a=1"],
        ["liver=../x"],
        ["liver=6=7"],
        ["x" * 80 + "=1"],
    ],
)
def test_nonsense(lines):
    with pytest.raises(BadConfig) as caught:
        parse_labels(lines)
    assert caught.value.code == "C02"
    assert caught.value.fix


def test_values_become_indices_in_class_order():
    mapped = map_labels(SMALL, {"kidney": (2, 3), "liver": (6,)}, {})
    assert mapped.voxels.tolist() == [[[0, 0], [1, 1]], [[1, 1], [0, 2]]]
    assert mapped.voxels.dtype == np.uint8
    assert mapped.counts == {1: 1, 2: 1, 3: 3, 6: 1}
    assert mapped.dropped == {1: 1}


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_any_whole_type(dtype):
    assert map_labels(SMALL.astype(dtype), {"a": (3,)}, {}).counts == {1: 1, 2: 1, 3: 3, 6: 1}


def test_large_values():
    mapped = map_labels(SMALL.astype(np.int32) * 100_000, {"a": (600_000,)}, {})
    assert mapped.voxels.sum() == 1


def test_names():
    names = {"Kidney": 2, "cyst": 3, "one": 1, "liver": 6}
    assert map_labels(SMALL, {"organ": ("kidney", "liver")}, names).voxels.tolist() == [
        [[0, 0], [1, 0]],
        [[0, 0], [0, 1]],
    ]
    with pytest.raises(BadDataset, match="'livr'") as caught:
        map_labels(SMALL, {"organ": ("livr",)}, names)
    assert caught.value.code == "M08"
    assert caught.value.fix == "ask for organ=liver with `labels`"
    with pytest.raises(BadDataset) as caught:  # once by name, once by value
        map_labels(SMALL, {"a": ("liver",), "b": (6,)}, names)
    assert caught.value.code == "M17"
    with pytest.raises(BadDataset, match="'liver'"):
        map_labels(SMALL, {"liver": ("liver",)}, {})


def test_value_outside_the_declared_list():  # M08
    with pytest.raises(BadDataset) as caught:
        map_labels(SMALL, {"a": (1,)}, {"a": 1, "b": 2}, "case_1.nii")
    text = str(caught.value)
    assert "label 3, 6 is not in the data set's own list" in text
    assert "value 3: 3 voxels, slices 0 to 1" in text
    assert "value 6: 1 voxel, slices 1 to 1" in text
    assert "case_1.nii" in text


def test_undeclared_value_that_was_asked_for_is_no_surprise():
    assert map_labels(SMALL, {"a": (6,)}, {"x": 1, "y": 2, "z": 3}).voxels.sum() == 1


def test_zero_and_255():  # M07
    mask = np.array([[[0, 255]]], np.uint8)
    with pytest.raises(BadDataset) as caught:
        map_labels(mask, {"liver": (1,)}, {}, "m.nii")
    assert (caught.value.code, caught.value.fix) == ("M07", "ask for liver=255 with `labels`")
    assert map_labels(mask, {"liver": (255,)}, {}).voxels.tolist() == [[[0, 1]]]


def test_empty_map_is_all_background():
    mapped = map_labels(np.zeros((2, 2, 2), np.uint8), {"liver": (1,)}, {"liver": 1})
    assert not mapped.voxels.any()
    assert mapped.counts == {}


def test_asked_for_but_nowhere():
    check_found({"liver": (6,)}, {}, {6: 10}, 3)
    with pytest.raises(BadDataset) as caught:
        check_found({"liver": (1,), "spleen": (6,)}, {}, {6: 10, 3: 1}, 3)
    assert "no label map holds liver=1" in str(caught.value)
    assert "values found in 3 label maps: 3, 6" in str(caught.value)
    check_found({"liver": (1,)}, {}, {}, 0)  # no label map at all: scans without masks


def test_parts():
    left, right = np.array([[[1, 0, 0]]], np.uint8), np.array([[[0, 0, 255]]], np.uint8)
    mapped = map_parts(
        {"kidney_left": left, "kidney_right": right},
        {"right": ("kidney_right",), "left": ("Kidney_left",)},
    )
    assert mapped.voxels.tolist() == [[[2, 0, 1]]]
    mapped = map_parts(
        {"kidney_left": left, "kidney_right": right}, {"kidney": ("kidney_right", "kidney_left")}
    )
    assert mapped.voxels.tolist() == [[[1, 0, 1]]]


def test_parts_that_overlap():  # M17
    a, b = np.array([[[1, 1, 0]]], np.uint8), np.array([[[0, 1, 1]]], np.uint8)
    with pytest.raises(BadDataset) as caught:
        map_parts({"a": a, "b": b}, {"liver": ("a",), "tumour": ("b",)}, "s0011")
    assert caught.value.code == "M17"
    assert "structures of liver and tumour overlap in 1 voxel" in str(caught.value)
    assert map_parts({"a": a, "b": b}, {"liver": ("a", "b")}).voxels.tolist() == [[[1, 1, 1]]]


def test_part_that_is_not_there():
    with pytest.raises(BadDataset) as caught:
        part_names({"kidney": ("kidney",)}, ["liver", "kidney_left", "kidney_right"])
    assert caught.value.code == "M08"
    assert "kidney_left" in str(caught.value)
    with pytest.raises(BadDataset):
        part_names({"liver": (2,)}, ["liver"])
    assert part_names({"liver": (1,)}, ["Liver"]) == {"liver": ("Liver",)}, "1 in its own file"
    with pytest.raises(BadDataset) as caught:
        part_names({"liver": (1,)}, ["T2"])
    assert caught.value.fix == "ask for one of these, such as liver=T2", "no value is one"


def test_a_mapping_says_the_same_as_lines() -> None:
    lines = ["liver=6", "kidney=2,3", "spleen=spleen.nii.gz", "aorta"]
    labels: dict[str, Any] = {
        "liver": 6,
        "kidney": (2, 3),
        "spleen": "spleen.nii.gz",
        "aorta": ["aorta"],
    }
    assert check_labels(labels) == parse_labels(lines)
    assert check_labels({"liver": 6, "kidney": np.array([2, 3])}) == {
        "liver": (6,),
        "kidney": (2, 3),
    }


@pytest.mark.parametrize(
    "labels",
    [
        {"liver": 0},
        {"liver": -1},
        {"liver": "6.5"},
        {"liver": ()},
        {"background": 1},
        {"a": 1, "b": 1},
    ],
)
def test_a_mapping_that_cannot_be_meant(labels) -> None:
    with pytest.raises(BadConfig, match="`labels` '"):
        check_labels(labels)


REGIONS: dict[str, Values] = {"kidney": (1, 2, 3), "masses": (2, 3), "tumor": 2}


def test_regions_are_asked_for_by_name_and_their_values_count_as_declared() -> None:
    """1, 2 and three times 3 lie in the kidney; 6 is in no region."""
    known = np.where(SMALL == 6, 0, SMALL)
    assert map_labels(known, {"tumor": ("tumor",)}, REGIONS).voxels.sum() == 1
    assert map_labels(known, {"kidney": ("Kidney",)}, REGIONS).voxels.sum() == 5
    with pytest.raises(BadDataset, match="label 6 is not in the data set's own list") as caught:
        map_labels(SMALL, {"tumor": ("tumor",)}, REGIONS, "m.nii")
    assert caught.value.where[-1] == "declared: kidney=1, 2, 3, masses=2, 3, tumor=2"
    with pytest.raises(BadDataset, match="value 2 is asked for by two classes"):
        map_labels(known, {"kidney": ("kidney",), "tumor": ("tumor",)}, REGIONS)


def test_of_a_region_something_must_be_there_not_everything() -> None:
    check_found({"kidney": ("kidney",)}, REGIONS, {3: 1}, 1)
    with pytest.raises(BadDataset, match="no label map holds masses=2, masses=3"):
        check_found({"masses": ("masses",)}, REGIONS, {1: 1}, 1)


def test_slices_with_ignored_voxels_are_unknown() -> None:
    """Slice 1 holds a 6: nothing of it is kept, its 3s neither."""
    names: dict[str, Values] = {"organ": 3, "lesion": (1, 2), "Ignore": 6}
    mapped = map_labels(SMALL, {"organ": ("organ",)}, names)
    assert mapped.voxels.tolist() == [[[0, 0], [0, 1]], [[0, 0], [0, 0]]]
    assert mapped.unknown == (1,) and mapped.counts == {1: 1, 2: 1, 3: 3, 6: 1}
    assert map_labels(SMALL, {"organ": (3,)}, {}).unknown == ()
    with pytest.raises(BadDataset, match="asks for value 6, which the data set calls 'ignore'"):
        map_labels(SMALL, {"x": (6,)}, names)


def test_names_as_data_sets_write_them() -> None:
    lines = ["prostate/uterus", "liver=liver (whole)", "a (b)", "l. kidney & cyst"]
    assert parse_labels(lines) == {
        "prostate/uterus": ("prostate/uterus",),
        "liver": ("liver (whole)",),
        "a (b)": ("a (b)",),
        "l. kidney & cyst": ("l. kidney & cyst",),
    }
