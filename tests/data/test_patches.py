"""Patches are a function of (seed, step), hold what the budget grants and nothing else, and small
scans are padded.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from fewmask.core.batch import IGNORE, BatchSpec
from fewmask.core.budget import Budget, draw_slices
from fewmask.core.errors import BadConfig
from fewmask.core.volume import LabelMap
from fewmask.data.augment import apply_image, apply_mask
from fewmask.data.loader import Ahead
from fewmask.data.patches import Crop, PatchLoader, cut, draw_crop, draw_middle
from fewmask.io.nifti import write_labels
from tests.narrow import required
from tests.scans import prepare_scans

FEED = BatchSpec(patch=(16, 16, 16), labelled=2, unlabelled=3, turns=True, augment=False)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare_scans(tmp_path_factory.mktemp("scans"))


def one(case: str) -> Budget:
    return Budget("volumes", 0, volumes=(case,))


def test_the_same_step_gives_the_same_patches(prepared) -> None:
    with (
        PatchLoader(prepared, one("case_00"), FEED, 3) as a,
        PatchLoader(prepared, one("case_00"), FEED, 3) as b,
    ):
        b.batch(0), b.batch(7)
        first, again = a.batch(4), b.batch(4)
    assert first.names == again.names
    labelled, same = required(first.labelled), required(again.labelled)
    assert torch.equal(labelled.image, same.image) and torch.equal(labelled.mask, same.mask)
    assert torch.equal(required(first.unlabelled).image, required(again.unlabelled).image)


def test_three_threads_ahead_give_the_same_patches(prepared) -> None:
    with (
        PatchLoader(prepared, one("case_00"), FEED, 3) as alone,
        PatchLoader(prepared, one("case_00"), FEED, 3, ahead=Ahead(3)) as three,
    ):
        for index in (0, 1, 2, 3, 9, 10):
            first, again = alone.batch(index), three.batch(index)
            assert first.names == again.names
            a, b = required(first.labelled), required(again.labelled)
            assert torch.equal(a.image, b.image) and torch.equal(a.mask, b.mask)
            assert torch.equal(required(first.unlabelled).image, required(again.unlabelled).image)


def test_one_labelled_volume_is_drawn_again_and_the_others_stay_unlabelled(prepared) -> None:
    with PatchLoader(prepared, one("case_01"), FEED, 0) as loader:
        batches = [loader.batch(index) for index in range(4)]
    assert {name.split(":")[0] for batch in batches for name in batch.names["labelled"]} == {
        "case_01"
    }
    assert {name.split(":")[0] for batch in batches for name in batch.names["unlabelled"]} == {
        "case_00",
        "case_02",
    }
    assert required(batches[0].labelled).image.shape == (2, 1, 16, 16, 16)
    assert required(batches[0].unlabelled).image.shape == (3, 1, 16, 16, 16)


def test_scans_of_eight_slices_lie_in_the_middle_of_sixteen(prepared) -> None:
    with PatchLoader(
        prepared, one("case_00"), BatchSpec(patch=(16, 32, 32), labelled=1, augment=False), 0
    ) as loader:
        batch = required(loader.batch(0).labelled)
    assert (
        (batch.mask[0, :4] == IGNORE).all()
        and (batch.mask[0, 12:] == IGNORE).all()
        and (batch.mask[0, 4:12] != IGNORE).all()
    )
    assert (batch.image[0, 0, :4] == 0).all()
    with prepared.case("case_00") as file:
        assert np.array_equal(batch.mask[0, 4:12].numpy(), file.labels(range(8))), (
            "same spacing: the mask itself"
        )


def test_a_budget_of_slices_knows_these_slices_and_nothing_else(prepared) -> None:
    budget = draw_slices(prepared.candidates(prepared.split.train), prepared.patients, 1, 0)
    ((case, d),) = budget.slices
    with PatchLoader(
        prepared, budget, BatchSpec(patch=(16, 16, 16), labelled=2, unlabelled=1, augment=False), 0
    ) as loader:
        batch = loader.batch(0)
    for mask in required(batch.labelled).mask:
        known = [row for row in range(16) if (mask[row] != IGNORE).any()]
        assert known == [4 + d], "8 slices in the middle of 16"
    assert case not in {name.split(":")[0] for name in batch.names["unlabelled"]}


def test_masks_outside_the_budget_change_nothing(prepared, tmp_path) -> None:
    import shutil

    import h5py

    from fewmask.io.prepared import Prepared

    shutil.copytree(prepared.folder, tmp_path / "copy")
    for case in ("case_01", "case_02", "case_03"):
        with h5py.File(tmp_path / "copy" / "cases" / f"{case}.h5", "r+") as file:
            file["label"][...] = 1 - file["label"][...]
    copy = Prepared.open(tmp_path / "copy")
    with (
        PatchLoader(prepared, one("case_00"), FEED, 0) as a,
        PatchLoader(copy, one("case_00"), FEED, 0) as b,
    ):
        for index in range(3):
            one_batch, other = a.batch(index), b.batch(index)
            assert torch.equal(required(one_batch.labelled).mask, required(other.labelled).mask)
            images = required(one_batch.unlabelled).image, required(other.unlabelled).image
            assert torch.equal(*images)


def test_cut_turns_image_and_mask_alike() -> None:
    volume = torch.arange(2 * 3 * 3).reshape(2, 3, 3).float()
    assert torch.equal(cut(volume, (2, 2, 2), Crop((0, 1, 1)), 0), volume[:, 1:, 1:])
    turned = cut(volume, (1, 2, 2), Crop((0, 0, 0), turns=1, mirror=True), 0)[0]
    assert turned.tolist() == [[0, 3], [1, 4]], (
        "[[0, 1], [3, 4]] turned by a quarter is [[1, 4], [0, 3]], then mirrored"
    )


def test_the_eight_orientations_of_a_square_come_alike_often() -> None:
    """Of 800 draws 100 each, give or take three times sqrt(800 * 1/8 * 7/8) = 9.4; the scan's own
    is one of them.
    """
    rng, volume = np.random.default_rng(0), torch.arange(4).reshape(1, 2, 2)
    found = Counter(
        tuple(
            cut(volume, (1, 2, 2), draw_crop((1, 2, 2), (1, 2, 2), True, rng), 0).flatten().tolist()
        )
        for _ in range(800)
    )
    assert len(found) == 8 and (0, 1, 2, 3) in found
    assert min(found.values()) > 72 and max(found.values()) < 128


def test_without_turns_three_numbers_are_drawn_and_none_for_a_turn() -> None:
    rng, same = np.random.default_rng(5), np.random.default_rng(5)
    crop = draw_crop((40, 30, 20), (16, 16, 16), False, rng)
    d, h, w = (int(same.integers(0, n - 15)) for n in (40, 30, 20))
    assert crop == Crop((d, h, w))
    assert rng.integers(2**32) == same.integers(2**32)


def test_a_patch_has_its_middle_in_a_structure_each_as_often_as_another() -> None:
    """One voxel of structure 1 and sixty-four of structure 2: of 400 middles 200 each, give or take
    three times 10.
    """
    rng, mask = np.random.default_rng(0), torch.zeros(8, 10, 12, dtype=torch.uint8)
    mask[1, 2, 3] = 1
    mask[4:8, 4:8, 4:8] = 2
    mask[0] = IGNORE
    middles = [draw_middle(mask, rng) for _ in range(400)]
    assert 170 < middles.count((1, 2, 3)) < 230
    assert all(mask[middle] == 2 for middle in middles if middle != (1, 2, 3))
    assert {required(draw_middle(mask, rng, hold=5))[0] for _ in range(50)} == {5}
    assert draw_middle(mask, rng, hold=2) is None, (
        "slice 2 holds nothing; slice 0, which nobody outlined, neither"
    )
    assert draw_middle(mask, rng, hold=0) is None


def test_the_middle_is_the_patch_s_as_far_as_the_border_allows() -> None:
    rng = np.random.default_rng(0)
    assert draw_crop((40, 30, 20), (16, 16, 16), False, rng, middle=(20, 3, 19)).corner == (
        12,
        0,
        4,
    )
    assert draw_crop((8, 30, 20), (16, 16, 16), False, rng, middle=(3, 15, 10)).corner == (-4, 7, 2)


@pytest.mark.parametrize("kind", ["volumes", "slices"])
def test_centred_patches_hold_a_structure_and_others_where_they_fall(prepared, kind: str) -> None:
    """All of them, some of them, or as chance has it; of slices as of volumes."""
    slices = draw_slices(prepared.candidates(prepared.split.train), prepared.patients, 1, 0)
    budget = one("case_00") if kind == "volumes" else slices

    def share(centred: float) -> float:
        wanted = replace(FEED, patch=(16, 4, 4), turns=False, centred=centred)
        with PatchLoader(prepared, budget, wanted, 0) as loader:
            masks = torch.cat([required(loader.batch(index).labelled).mask for index in range(20)])
        return float((masks == 1).flatten(1).any(1).float().mean())

    assert share(1.0) == 1.0 and share(0.0) < share(0.5) < 1.0


def test_labels_still_to_be_made_know_where_the_scan_ends(prepared) -> None:
    """Eight slices in the middle of sixteen."""
    feed_ = BatchSpec(
        patch=(16, 32, 32), labelled=1, unlabelled=2, turns=True, pseudo="some", augment=False
    )
    with PatchLoader(prepared, one("case_00"), feed_, 0) as loader:
        pseudo = required(required(loader.batch(0).unlabelled).pseudo)
    assert (
        (pseudo[:, :4] == IGNORE).all()
        and (pseudo[:, 4:12] == 0).all()
        and (pseudo[:, 12:] == IGNORE).all()
    )


def test_augmented_patches_move_image_and_mask_alike_and_know_nothing_beyond(prepared) -> None:
    """A bright image where the mask is 1 stays bright there; corners turned in from beyond the
    patch are nobody's.
    """
    with PatchLoader(
        prepared, one("case_00"), BatchSpec(patch=(16, 16, 16), labelled=8, augment=True), 0
    ) as loader:
        batch = required(loader.batch(0).labelled)
    assert len({draw.rotate_deg for draw in batch.draws}) == 8
    assert (batch.mask[:, 4:12] == IGNORE).any(), "without augmentation all of these rows are known"
    patch = torch.zeros(2, 16, 16)
    patch[:, 4:9, 6:12] = 0.7
    for draw in batch.draws:
        plain = replace(draw, gain=1.0, offset=0.0, gamma=1.0, noise=0.0)
        image, mask = apply_image(patch, plain), apply_mask((patch > 0).long(), plain, IGNORE)
        assert ((image > 0.5) == (mask == 1)).float().mean() > 0.97
        assert (image[mask == IGNORE] < 0.5).all() and (mask[0] == mask[1]).all()


def test_a_held_slice_is_in_the_crop() -> None:
    rng = np.random.default_rng(0)
    corners = [
        draw_crop((40, 20, 20), (16, 16, 16), False, rng, hold=30).corner[0] for _ in range(50)
    ]
    assert min(corners) >= 15 and max(corners) <= 24 and len(set(corners)) > 4


def test_nothing_granted_is_refused(prepared) -> None:
    with pytest.raises(BadConfig, match="grants no mask"):
        PatchLoader(prepared, Budget("slices", 0), FEED, 0)


def test_pseudo_labels_stay_within_the_cache_and_constant_ones_cost_nothing(
    prepared, tmp_path, monkeypatch
) -> None:
    """A stored one is read again where there is no room; one that is nobody's is a
    single number.
    """
    grid = prepared.case("case_01").__enter__().grid
    write_labels(
        tmp_path / "case_01.nii.gz",
        LabelMap(np.ones(grid.orientation.apply(np.zeros(grid.shape)).shape, np.uint8), grid),
    )
    monkeypatch.setattr("fewmask.data.patches._CACHE_BYTES", 0)
    feed_ = BatchSpec(
        patch=(16, 32, 32), labelled=1, unlabelled=2, turns=True, pseudo="some", augment=False
    )
    with PatchLoader(prepared, one("case_00"), feed_, 0, tmp_path) as loader:
        assert (loader._made("case_01") == 1).all() and (loader._made("case_02") == IGNORE).all()
        assert not loader._labels_made and loader._made("case_02").untyped_storage().nbytes() == 1
        pseudo = required(required(loader.batch(0).unlabelled).pseudo)
        assert pseudo.shape == (2, 16, 32, 32)
