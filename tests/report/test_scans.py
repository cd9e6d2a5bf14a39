"""Scans on a page: their slices, the room they take, what a person drew."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fewmask.core.recipe import RECIPES
from fewmask.core.volume import Grid, LabelMap, Volume
from fewmask.report.frame import make_frame
from fewmask.report.slices import PAGE_BYTES, Drawer, Room, choose
from fewmask.report.story import make_story
from tests.scans import AFFINE, SHAPE


def scan_and_masks() -> tuple[Volume, LabelMap, LabelMap]:
    truth = np.zeros(SHAPE, np.uint8)
    truth[8:24, 8:24, 2:6] = 1
    pred = truth.copy()
    pred[8:24, 8:24, 5] = 0  # file slice 5 is missed altogether
    pred[8:9, 8:24, 2] = 0
    scan = np.random.default_rng(0).normal(50, 20, SHAPE).astype(np.int16)
    return (
        Volume.from_file_order(scan, AFFINE),
        LabelMap.from_file_order(pred, AFFINE),
        LabelMap.from_file_order(truth, AFFINE),
    )


def turned(one: Any) -> Any:
    """The same, stored from the head down."""
    grid = Grid(SHAPE, AFFINE @ np.diag([1.0, 1, -1, 1]))
    return replace(one, grid=grid, voxels=one.to_file_order().transpose(2, 1, 0)[::-1])


RECIPE = replace(RECIPES["ct"], size=64, spacing_mm=3.0)


def drawer(slices_from: int = 0, down: bool = False, truth: bool = True) -> Drawer:
    volume, pred, true = scan_and_masks()
    if down:
        volume, pred, true = turned(volume), turned(pred), turned(true)
    person = dict(enumerate(true.voxels)) if truth else {}
    frame = make_frame(volume, RECIPE)
    return Drawer("a", volume, frame, ("liver",), pred, person, slices_from, "truth")


def test_the_first_picture_is_where_mask_and_truth_differ_most() -> None:
    """256 pixels of 3 mm x 3 mm = 23.0 cm2."""
    told = choose(drawer(), {}, truth=True)
    assert told == [
        (5, "largest disagreement, 23.0\u00a0cm²"),
        (2, "largest cross-section of the truth"),
    ]
    assert choose(drawer(truth=False), {}, False) == [(3, "largest cross-section of the mask")]


def test_an_outlined_slice_stands_beside_the_mask() -> None:
    one = drawer()
    mine = replace(one, person={2: one.person[2]}, whose="the outline")
    told = choose(mine, {}, truth=False)
    # Slice 2 lacks a row of 16 pixels: 1.4 cm2.
    assert told == [
        (2, "your outline and the mask differ by 1.4\u00a0cm²"),
        (3, "largest cross-section of the mask"),
    ]
    picture = mine.picture(2, "", 64)
    assert [layer.person for layer in picture.layers] == [False, True]
    assert picture.alt == "a, slice 2. liver: mask 21.6 cm², the outline 23.0 cm²."
    assert [layer.person for layer in mine.picture(3, "", 64).layers] == [False]


def test_an_empty_mask_shows_where_its_tag_is() -> None:
    one = drawer(truth=False)
    none = replace(one, pred=replace(one.pred, voxels=np.zeros_like(one.pred.voxels)))
    told = choose(none, {"liver": (2, 6)}, False)
    assert told == [(4, "nothing drawn; the tag of liver holds this slice")]
    assert choose(none, {}, False) == [(4, "nothing drawn; the middle of the scan")]
    assert none.picture(4, "", 64).alt == "a, slice 4. Nothing drawn."


def test_slices_are_called_as_the_file_does() -> None:
    """Stored from head to feet, of 8 slices: the file's 5 is d = 2. ITK-SNAP calls it 6."""
    for slices_from in (0, 1):
        one = drawer(slices_from, down=True)
        d, _ = choose(one, {}, truth=True)[0]
        assert (d, one.called(d)) == (2, 5 + slices_from)
        strip = one.strip(d, 10**6)
        assert strip is not None
        numbers = [int(picture.caption.removeprefix("slice ")) for picture in strip.pictures]
        assert numbers == list(range(slices_from, 8 + slices_from)), "upwards, as the file counts"
        assert numbers[strip.start] == 5 + slices_from
        assert strip.bound == f"every slice from {slices_from} to {7 + slices_from}"


def test_a_strip_keeps_within_its_room_and_says_what_it_left_out() -> None:
    one = drawer()
    whole = one.strip(5, 10**6)
    assert whole is not None and len(whole.pictures) == 8
    weight = sum(picture.weight for picture in whole.pictures)
    half = one.strip(5, weight * 5 // 8)
    assert half is not None and half.bound == "every 2nd slice from 0 to 7"
    assert [picture.caption for picture in half.pictures] == [f"slice {d}" for d in (1, 3, 5, 7)]
    assert sum(picture.weight for picture in half.pictures) <= weight * 5 // 8
    assert half.start == 2 and one.strip(5, weight // 5) is None


def test_forty_scans_fit_the_page() -> None:
    assert Room.for_scans(40).bytes_a_scan * 40 < PAGE_BYTES
    assert Room.for_scans(40).large == 480 and Room.for_scans(400).large == 256
    assert Room.for_scans(1).bytes_a_scan < 1_000_000 and Room.for_scans(0).bytes_a_scan > 0


def test_sides_scale_and_window() -> None:
    """32 pixels of 3 mm: the longest bar within a third of 96 mm is 20 mm."""
    frame = drawer().frame
    assert (frame.left, frame.right, frame.top, frame.bottom) == ("R", "L", "A", "P")
    assert frame.bar_mm == 20 and frame.bar_percent == pytest.approx(100 * 20 / 96, abs=0.01)
    assert frame.window == "-125 to 240 HU" and frame.ratio == "96 / 96"
    volume = scan_and_masks()[0]
    sides = {
        plane: "".join(
            getattr(make_frame(volume.in_plane(plane), RECIPE), side)
            for side in ("left", "right", "top", "bottom")
        )
        for plane in ("sagittal", "coronal")
    }
    assert sides == {"sagittal": "APSI", "coronal": "RLSI"}


def test_no_prompt_no_story() -> None:
    one = drawer()
    line = {"d": 3, "present": [0.2], "boxes_raw": [None], "heat": None, "no_prompt": [0]}
    prompts = {"classes": ["liver"], "slices": [line]}
    assert make_story(prompts, one, RECIPE) is None
    line |= {"boxes_raw": [[8.0, 8.0, 24.0, 24.0]], "heat": [[[0.1, 0.9], [0.2, 0.3]]]}
    story = make_story(prompts, one, RECIPE)
    assert (
        story is not None
        and len(story.pictures) == 4
        and "P(liver) = 0.20" in story.pictures[1].caption
        and story.pictures[2].caption == "3. box the model gives SAM"
        and "16 x 16 pixels" in story.pictures[2].alt
    )
    prompts["slices"] = [{**line, "windows": 4}]
    story = make_story(prompts, one, RECIPE)
    assert story is not None
    assert story.pictures[2].caption == "3. around its boxes in 4 windows"
