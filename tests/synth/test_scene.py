"""Procedural scenes: repeatable, in range, with regions that mean something."""

import pytest
import torch

from fewmask.synth.prompt import blur_mask, choose_targets, contrast, sample_points
from fewmask.synth.scene import REGIONS, Scenes, draw_scenes


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return draw_scenes(16, 96, generator())


def test_images_are_images(scenes) -> None:
    assert scenes.image.shape == (16, 1, 96, 96) and scenes.regions.shape == (16, 96, 96)
    assert (
        float(scenes.image.min()) >= 0
        and float(scenes.image.max()) <= 1
        and bool(torch.isfinite(scenes.image).all())
    )
    assert float(scenes.image.flatten(1).std(1).min()) > 0.01, "an image without contrast"


def test_the_same_seed_gives_the_same_scene() -> None:
    one, two, other = (draw_scenes(2, 64, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(one.image, two.image) and torch.equal(one.regions, two.regions)
    assert not torch.equal(one.image, other.image)


def test_a_region_is_lighter_or_darker_than_another(scenes) -> None:
    """Grey levels belong to regions: they explain far more of the variance than chance would."""
    explained = []
    for image, regions in zip(scenes.image[:, 0], scenes.regions, strict=True):
        means = torch.zeros(REGIONS).scatter_add_(0, regions.flatten(), image.flatten())
        means /= torch.bincount(regions.flatten(), minlength=REGIONS).clamp_min(1)
        explained.append(float(means[regions].var() / image.var()))
    assert sum(explained) / len(explained) > 0.4


def test_parents_come_before_their_children(scenes) -> None:
    numbers = torch.arange(REGIONS).expand_as(scenes.parents)
    assert bool(((scenes.parents == 0) | (scenes.parents < numbers)).all())
    assert bool((scenes.parents > 0).any())


def test_a_montage_is_made_of_tiles_with_regions_of_their_own() -> None:
    whole = draw_scenes(1, 64, generator(1), tiles=2)
    assert whole.image.shape == (1, 1, 64, 64) and whole.parents.shape == (1, 4 * REGIONS)
    for tile, (y, x) in enumerate([(0, 0), (0, 32), (32, 0), (32, 32)]):
        part = whole.regions[0, y : y + 32, x : x + 32]
        inside = part[part > 0]
        assert bool(((inside >= tile * REGIONS) & (inside < (tile + 1) * REGIONS)).all())


def test_targets_are_regions_of_the_asked_size(scenes) -> None:
    targets = choose_targets(scenes, 3, 0.01, generator(5))
    share = targets.mask.float().mean((1, 2))
    assert bool((contrast(scenes.image[targets.rows, 0], targets.mask) >= 0.05).all())
    assert 16 < len(targets.rows) <= 48 and int(torch.bincount(targets.rows).max()) <= 3
    assert float(share.min()) >= 0.01
    for row, mask in zip(targets.rows, targets.mask, strict=True):
        seen = set(scenes.regions[row][mask].tolist())
        root = min(seen)
        assert root > 0 and all(
            number == root or int(scenes.parents[row, number]) == root for number in seen
        )


def test_points_lie_in_their_mask(scenes) -> None:
    targets = choose_targets(scenes, 2, 0.001, generator(6))
    points = sample_points(targets.mask, 5, generator(7))
    x, y = (points - 0.5).long().unbind(-1)
    assert bool(targets.mask[torch.arange(len(points))[:, None], y, x].all())


def test_a_coarse_mask_overlaps_its_target() -> None:
    mask = torch.zeros(4, 64, 64, dtype=torch.bool)
    mask[:, 16:48, 16:48] = True
    coarse = blur_mask(mask, 32, generator())
    assert set(coarse.unique().tolist()) <= {0.0, 1.0} and coarse.shape == (4, 1, 32, 32)
    inside, outside = coarse[:, 0, 10:22, 10:22].mean(), coarse[:, 0, :4].mean()
    assert float(inside) > 0.9 and float(outside) < 0.3


def test_contrast_is_inside_against_the_ring() -> None:
    """A square of 0.7 on 0.2; on itself it is nothing."""
    mask = torch.zeros(1, 32, 32, dtype=torch.bool)
    mask[:, 10:20, 10:20] = True
    assert float(contrast(0.2 + 0.5 * mask.float(), mask)[0]) == pytest.approx(0.5)
    assert float(contrast(torch.full((1, 32, 32), 0.3), mask)[0]) == pytest.approx(0, abs=1e-6)
