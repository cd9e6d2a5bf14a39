"""Batches are pure functions of (seed, step), and no mask outside the budget can reach them."""

import shutil
from collections import Counter
from dataclasses import fields, replace
from functools import cache, partial

import h5py
import numpy as np
import pytest
import torch

from fewmask.core.batch import BatchSpec, Unlabelled, Weak
from fewmask.core.budget import Budget, draw_slices
from fewmask.core.errors import BadConfig, LabelWithheld
from fewmask.core.placement import Placement
from fewmask.core.randomness import rng
from fewmask.core.run_record import Provided
from fewmask.data.augment import apply_image, draw
from fewmask.data.label_guard import LabelGuard
from fewmask.data.loader import Ahead
from fewmask.data.slices import SliceLoader
from fewmask.io.prepared import Prepared
from tests.narrow import required
from tests.scans import prepare_scans

FEED = BatchSpec(labelled=2, weak=3, unlabelled=2, strong=True)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Prepared:
    return prepare_scans(tmp_path_factory.mktemp("feed"))


def on_grid(prepared: Prepared, size: int) -> Prepared:
    """The same scans, 32 x 32 pixels of 3 mm, before a network of another size: 20 makes four
    windows of each slice, at 0 and 12.
    """
    return replace(prepared, recipe=replace(prepared.recipe, size=size))


def placed(prepared: Prepared, name: str) -> tuple[Placement, torch.Tensor]:
    """Where a slice `case:d` lies, and what all of it looks like."""
    case, d = name.split(":")
    row = prepared.cases[case]
    placement = Placement.of(row.shape, row.spacing_mm, prepared.recipe)
    with prepared.case(case) as file:
        grey = file.intensities([int(d)])
    scaled = prepared.recipe.scale(grey, prepared.bounds(case))
    return placement, torch.from_numpy(placement.place(scaled))


def budget_of(prepared: Prepared, n: int = 3) -> Budget:
    return draw_slices(prepared.candidates(prepared.split.train), prepared.patients, n, 0)


def tensors(batch) -> list[torch.Tensor]:
    parts = [batch.labelled, batch.weak, batch.unlabelled]
    return [
        value
        for part in parts
        for f in fields(part)
        if isinstance(value := getattr(part, f.name), torch.Tensor)
    ]


@pytest.mark.parametrize("size", [64, 20])
def test_a_batch_does_not_depend_on_what_came_before(prepared, size) -> None:
    prepared = on_grid(prepared, size)
    with (
        SliceLoader(prepared, budget_of(prepared), FEED, 7) as a,
        SliceLoader(prepared, budget_of(prepared), FEED, 7) as b,
    ):
        for index in (0, 1, 2, 5):
            first = a.batch(index)
        again = b.batch(5)
    assert first.names == again.names
    assert all(torch.equal(x, y) for x, y in zip(tensors(first), tensors(again), strict=True))
    with SliceLoader(prepared, budget_of(prepared), FEED, 8) as other:
        assert not torch.equal(
            required(other.batch(5).labelled).image, required(first.labelled).image
        )


def test_three_threads_ahead_give_the_same_batches(prepared, monkeypatch) -> None:
    """In a row, and after a jump; with one file open at a time, which the threads share."""
    monkeypatch.setattr("fewmask.data.slices._OPEN_FILES", 1)
    order = [*range(12), 3, 4, 40, 41]
    with (
        SliceLoader(prepared, budget_of(prepared), FEED, 7) as one,
        SliceLoader(prepared, budget_of(prepared), FEED, 7, ahead=Ahead(3)) as three,
    ):
        for index in order:
            first, again = one.batch(index), three.batch(index)
            assert first.names == again.names
            pairs = zip(tensors(first), tensors(again), strict=True)
            assert all(torch.equal(x, y) for x, y in pairs)


def test_every_item_comes_once_per_epoch(prepared) -> None:
    with SliceLoader(prepared, budget_of(prepared), BatchSpec(labelled=2, weak=6), 0) as loader:
        weak = [name for index in range(4) for name in loader.batch(index).names["weak"]]
    assert len(weak) == 24 == 3 * 8 and len(set(weak)) == 24


@pytest.mark.parametrize("size", [64, 20])
def test_masks_outside_the_budget_cannot_matter(prepared, tmp_path, size) -> None:
    """Blank every mask the budget does not grant, in the files themselves: batches stay
    the same, whether scans fit or are seen through windows.
    """
    prepared = on_grid(prepared, size)
    budget = budget_of(prepared)
    shutil.copytree(prepared.folder, tmp_path / "copy")
    for case in prepared.cases:
        with h5py.File(tmp_path / "copy" / "cases" / f"{case}.h5", "r+") as file:
            for d in range(8):
                if not budget.grants(case, d):
                    file["label"][d] = 1 - file["label"][d]
    with (
        SliceLoader(prepared, budget, FEED, 0) as a,
        SliceLoader(on_grid(Prepared.open(tmp_path / "copy"), size), budget, FEED, 0) as b,
    ):
        for index in range(4):
            assert all(
                torch.equal(x, y)
                for x, y in zip(tensors(a.batch(index)), tensors(b.batch(index)), strict=True)
            )


def test_the_gate_withholds(prepared) -> None:
    budget = budget_of(prepared, 1)
    gate = LabelGuard(prepared, budget)
    case, d = budget.slices[0]
    assert gate.labels(case, [d]).any()
    with pytest.raises(LabelWithheld, match="budget"):
        gate.labels(case, [d, (d + 1) % 8])
    test_case = prepared.split.test[0]
    with pytest.raises(LabelWithheld):
        LabelGuard(prepared, Budget("volumes", 0, volumes=(test_case,))).labels(test_case, [3])


def test_weak_and_unlabelled_have_no_mask_field() -> None:
    for kind in (Weak, Unlabelled):
        assert "mask" not in {f.name for f in fields(kind)}


def test_tags_say_what_is_where(prepared) -> None:
    """The blob fills slices 2..5: those weak slices are tagged 1, the others 0."""
    with SliceLoader(prepared, budget_of(prepared), BatchSpec(labelled=1, weak=24), 0) as loader:
        batch = loader.batch(0)
        report = loader.report()
    tags = required(batch.weak).present[:, 0].tolist()
    for name, present in zip(batch.names["weak"], tags, strict=True):
        assert present == (2 <= int(name.split(":")[1]) <= 5)
    assert report == Provided(
        labelled_slices=3, tagged_slices=24, tagged_scans=3, unknown_slices=0, slices=24
    )


def test_without_tags_only_outlined_slices_are_known(tmp_path) -> None:
    prepared = prepare_scans(tmp_path, tags=None)
    with SliceLoader(prepared, budget_of(prepared), BatchSpec(labelled=1, weak=2), 0) as loader:
        batch, report = loader.batch(0), loader.report()
    assert required(batch.weak).present.tolist() == [[1], [1]]
    assert (report.tagged_slices, report.unknown_slices) == (0, 21)


def test_labelled_present_is_what_the_mask_shows(prepared) -> None:
    with SliceLoader(prepared, budget_of(prepared), BatchSpec(labelled=3), 0) as loader:
        labelled = required(loader.batch(0).labelled)
    assert labelled.present.tolist() == [[int((mask == 1).any())] for mask in labelled.mask]
    assert np.isclose(labelled.image.min(), 0) and labelled.image.max() <= 1


def test_closing_files_and_a_full_cache_change_nothing(prepared, monkeypatch) -> None:
    """One open file and no cache give the same batches, and never more than one file is open."""
    with SliceLoader(prepared, budget_of(prepared), FEED, 0) as loader:
        expected = [tensors(loader.batch(index)) for index in range(3)]
    monkeypatch.setattr("fewmask.data.slices._OPEN_FILES", 1)
    monkeypatch.setattr("fewmask.data.slices._CACHE_BYTES", 0)
    with SliceLoader(prepared, budget_of(prepared), FEED, 0) as loader:
        for index, want in enumerate(expected):
            assert all(
                torch.equal(x, y) for x, y in zip(tensors(loader.batch(index)), want, strict=True)
            )
            # The thread that makes the next batch may be between closing one file and opening
            # another.
            assert len(loader._files) <= 1 and not loader._cache


def test_a_budget_of_volumes_feeds_every_slice_of_it(prepared) -> None:
    case = prepared.split.train[1]
    with SliceLoader(
        prepared, Budget("volumes", 0, volumes=(case,)), BatchSpec(labelled=8, augment=False), 0
    ) as loader:
        batch = loader.batch(0)
    assert sorted(batch.names["labelled"]) == [f"{case}:{d}" for d in range(8)]
    shown = {
        int(name.split(":")[1]): bool(mask.any())
        for name, mask in zip(batch.names["labelled"], required(batch.labelled).mask, strict=True)
    }
    assert shown == {d: 2 <= d <= 5 for d in range(8)}


def test_empty_slices_are_those_known_to_hold_nothing(prepared) -> None:
    """The blob fills slices 2..5 of 8, so each of three scans has four empty slices; the other
    streams do not notice.
    """
    budget = budget_of(prepared)
    with (
        SliceLoader(prepared, budget, FEED, 7) as plain,
        SliceLoader(prepared, budget, replace(FEED, empty=4), 7) as more,
    ):
        batches = [more.batch(index) for index in range(3)]
        assert all(
            torch.equal(x, y)
            for index, batch in enumerate(batches)
            for x, y in zip(tensors(plain.batch(index)), tensors(batch), strict=True)
        )
    drawn = [name for batch in batches for name in batch.names["empty"]]
    assert len(drawn) == len(set(drawn)) == 12
    assert all(int(name.split(":")[1]) in (0, 1, 6, 7) for name in drawn)
    assert not any(required(batch.empty).present.any() for batch in batches)


def test_what_cannot_be_learned_is_refused(tmp_path, prepared) -> None:
    """Outlined slices all hold the blob. With tags, or the mask of a whole scan, some are known not
    to.
    """
    untagged = prepare_scans(tmp_path, tags=None)
    asked = BatchSpec(labelled=1, weak=2, presence=True)
    with pytest.raises(BadConfig, match="which slices hold a structure") as caught:
        SliceLoader(untagged, budget_of(untagged), asked, 0)
    assert "`presence=none`" in caught.value.fix and "tags" in caught.value.fix
    with pytest.raises(BadConfig, match="hold none of the structures"):
        SliceLoader(untagged, budget_of(untagged), BatchSpec(labelled=1, empty=2), 0)
    whole = Budget("volumes", 0, volumes=(untagged.split.train[0],))
    for data, budget in ((untagged, whole), (prepared, budget_of(prepared))):
        with SliceLoader(data, budget, replace(asked, empty=1), 0) as loader:
            assert required(loader.batch(0).empty).present.tolist() == [[0]]


def test_a_scan_that_fits_is_seen_whole(prepared) -> None:
    """To the bit: the placed slice under the draw of its place in the batch, and nothing else."""
    with SliceLoader(prepared, budget_of(prepared), FEED, 7) as loader:
        batch = loader.batch(3)
    for stream in ("labelled", "weak", "unlabelled"):
        for place, name in enumerate(batch.names[stream]):
            one = draw(rng(7, "augment", stream, 3, place), FEED.ranges)
            image = required(getattr(batch, stream)).image[place]
            assert torch.equal(image, apply_image(placed(prepared, name)[1], one))


def test_every_window_is_an_image_to_remember(prepared) -> None:
    """Three outlined slices and 24 in all; four windows each before a smaller network."""
    for size, each in ((64, 1), (20, 4)):
        scans = on_grid(prepared, size)
        with SliceLoader(scans, budget_of(scans), FEED, 0) as loader:
            assert [loader.views(name) for name in ("labelled", "unlabelled")] == [
                3 * each,
                24 * each,
            ]


STILL = BatchSpec(labelled=2, weak=3, unlabelled=2, augment=False)


def test_all_of_a_wide_scan_is_learnt_from(prepared) -> None:
    """Each item is one of the four windows, and all come; of labelled slices, those that hold some
    of the outline in at least half of the draws.
    """
    wide, seen = on_grid(prepared, 20), {"labelled": Counter[int](), "unlabelled": Counter[int]()}
    holding = items = 0
    place_slice = cache(partial(placed, wide))
    with SliceLoader(wide, budget_of(wide), STILL, 0) as loader:
        for index in range(40):
            batch = loader.batch(index)
            for stream, counts in seen.items():
                for place, name in enumerate(batch.names[stream]):
                    placement, whole = place_slice(name)
                    image = required(getattr(batch, stream)).image[place]
                    counts[
                        next(
                            number
                            for number, window in enumerate(placement.windows)
                            if torch.equal(whole[window.part], image)
                        )
                    ] += 1
            labelled = required(batch.labelled)
            held = (labelled.mask == 1).flatten(1).any(1)
            assert labelled.present[:, 0].tolist() == held.long().tolist()
            holding, items = holding + int(held.sum()), items + len(held)
    assert all(set(counts) == {0, 1, 2, 3} for counts in seen.values())
    assert items == 80 and holding >= 40


def test_outline_and_image_of_a_window_lie_on_each_other(prepared) -> None:
    """The structure is 120 brighter than what is around it, in every window."""
    wide = on_grid(prepared, 20)
    with SliceLoader(wide, budget_of(wide), replace(STILL, labelled=12), 0) as loader:
        labelled = required(loader.batch(0).labelled)
    inside = labelled.mask == 1
    assert inside.any() and labelled.image[:, 0][inside].min() > 0.45
    assert labelled.image[:, 0][~inside].max() < 0.6


def test_a_positive_tag_holds_for_the_middle_and_absence_everywhere(prepared) -> None:
    wide, windows = on_grid(prepared, 20), set()
    with SliceLoader(wide, budget_of(wide), STILL, 0) as loader:
        for index in range(24):
            batch = loader.batch(index)
            weak = required(batch.weak)
            for name, image, present in zip(
                batch.names["weak"], weak.image, weak.present[:, 0].tolist(), strict=True
            ):
                placement, whole = placed(wide, name)
                assert present == (2 <= int(name.split(":")[1]) <= 5)
                if present:
                    assert torch.equal(whole[placement.middle.part], image)
                else:
                    windows |= {
                        window
                        for window in placement.windows
                        if torch.equal(whole[window.part], image)
                    }
    assert len(windows) == 4
