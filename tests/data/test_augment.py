"""Image and mask move together, by numbers that can be checked by eye."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from fewmask.core.batch import AugmentConfig, BatchSpec, Draw
from fewmask.core.budget import Budget
from fewmask.core.randomness import rng
from fewmask.data import open_loader
from fewmask.data.augment import apply_image, apply_mask, draw, sampling_grid, strengthen, turn_of
from tests.scans import prepare_scans


def square() -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.zeros(40, 40, dtype=torch.long)
    mask[8:16, 20:30] = 1
    return mask[None].float(), mask


def test_nothing_drawn_changes_nothing() -> None:
    image, mask = square()
    assert torch.equal(apply_image(image, Draw()), image) and torch.equal(
        apply_mask(mask, Draw()), mask
    )


def test_the_grid_is_that_of_torch() -> None:
    """Up to the last bit or two: torch's is a matrix product, whose sums differ by machine."""
    ranges = AugmentConfig()
    turns = torch.stack([turn_of(draw(rng(0, "grid", i), ranges)) for i in range(20)])
    for shape in ((40, 40), (7, 30)):
        wanted = functional.affine_grid(turns, [20, 1, *shape], align_corners=False)
        assert torch.allclose(sampling_grid(turns, shape), wanted, rtol=0, atol=3e-7)


def test_shift_moves_by_whole_pixels() -> None:
    """A shift of a tenth of 40 pixels looks 4 pixels further right, so the square moves 4 to the
    left.
    """
    _, mask = square()
    moved = apply_mask(mask, Draw(shift=(0.0, 0.1)))
    assert torch.nonzero(moved).amin(0).tolist() == [8, 16] and torch.nonzero(moved).amax(
        0
    ).tolist() == [15, 25]


def test_a_quarter_turn_is_anticlockwise() -> None:
    """Where output pixel (row, column) of 40 shows (column, 39 - row): [[0, 1], [3, 4]] becomes
    [[1, 4], [0, 3]], as in `numpy.rot90`. In degrees, positive angles turn that way.
    """
    small = torch.tensor([[0, 1], [3, 4]])
    assert apply_mask(small, Draw(rotate_deg=90.0)).tolist() == [[1, 4], [0, 3]]
    _, mask = square()
    turned = apply_mask(mask, Draw(rotate_deg=90.0))
    assert torch.nonzero(turned).amin(0).tolist() == [10, 8]
    assert torch.nonzero(turned).amax(0).tolist() == [19, 15]
    assert torch.equal(apply_mask(mask, Draw(rotate_deg=-90.0)), torch.rot90(mask, -1))


WEAK = {
    "rotate_deg": (-15, 15),
    "zoom": (0.8, 1.25),
    "shift_y": (-0.08, 0.08),
    "shift_x": (-0.08, 0.08),
    "gain": (0.9, 1.1),
    "offset": (-0.05, 0.05),
    "gamma": (math.exp(-0.3), math.exp(0.3)),
    "noise": (0, 0.03),
}
STRONG = {
    "gain": (0.7, 1.3),
    "offset": (-0.15, 0.15),
    "gamma": (math.exp(-0.7), math.exp(0.7)),
    "noise": (0.02, 0.10),
}


def numbers(drawn: Draw) -> dict[str, float]:
    shift_y, shift_x = drawn.shift
    return {**vars(drawn), "shift_y": shift_y, "shift_x": shift_x}


def extremes(draws: list[Draw], name: str) -> tuple[float, float]:
    values = [numbers(drawn)[name] for drawn in draws]
    return min(values), max(values)


@pytest.mark.parametrize(
    ("kind", "name", "low", "high"),
    [(kind, name, *span) for kind in (WEAK, STRONG) for name, span in kind.items()],
)
def test_draws_fill_their_range_and_stay_in_it(
    kind: dict[str, Any], name: str, low: float, high: float
) -> None:
    """Of 1,000 uniform draws the outermost ones lie within a fiftieth of the range's ends: both
    miss by more with probability 2 * 0.98^1000 = 3e-9.
    """
    draws = [draw(rng(0, "weak", index), AugmentConfig()) for index in range(1000)]
    if kind is STRONG:
        draws = [
            strengthen(one, rng(0, "strong", i), AugmentConfig()) for i, one in enumerate(draws)
        ]
    found, slack = extremes(draws, name), 0.02 * (high - low)
    assert low - 1e-3 <= found[0] < low + slack and high - slack < found[1] <= high + 1e-3


def test_zoom_and_gamma_are_as_often_below_one_as_above() -> None:
    """Uniform in the logarithm: of 1,000 draws 500, give or take three times 15.8."""
    draws = [draw(rng(0, "weak", index), AugmentConfig()) for index in range(1000)]
    for name in ("zoom", "gamma"):
        assert abs(sum(numbers(one)[name] > 1 for one in draws) - 500) < 48, name


def test_a_method_can_set_its_own_ranges() -> None:
    usual = AugmentConfig()
    upright = replace(usual, rotate_deg=(0.0, 0.0))
    here, there = draw(rng(0, "a"), upright), draw(rng(0, "a"), usual)
    assert here.rotate_deg == 0 and replace(here, rotate_deg=there.rotate_deg) == there
    dark = replace(usual, strong=replace(usual.strong, offset=(-0.5, -0.5)))
    assert strengthen(there, rng(0, "b"), dark).offset == -0.5


@pytest.mark.parametrize("patch", [None, (8, 16, 16)])
def test_the_ranges_of_a_batch_spec_reach_its_slices_and_patches(
    patch: tuple[int, int, int] | None, tmp_path: Path
) -> None:
    prepared = prepare_scans(tmp_path)
    budget = Budget("volumes", 0, volumes=(prepared.split.train[0],))
    black = replace(AugmentConfig().strong, offset=(-9.0, -9.0))
    ranges = AugmentConfig(rotate_deg=(7.0, 7.0), strong=black)
    spec = BatchSpec(patch, labelled=2, unlabelled=2, strong=patch is None, ranges=ranges)
    with open_loader(prepared, budget, spec, 0) as loader:
        batch = loader.batch(0)
    assert batch.labelled is not None and batch.unlabelled is not None
    assert {one.rotate_deg for one in (*batch.labelled.draws, *batch.unlabelled.draws)} == {7.0}
    if patch is None:
        assert batch.unlabelled.strong is not None and not batch.unlabelled.strong.any()


def test_image_and_mask_go_the_same_way() -> None:
    image, mask = square()
    for index in range(20):
        one = draw(rng(0, "test", index), AugmentConfig())
        plain = Draw(rotate_deg=one.rotate_deg, zoom=one.zoom, shift=one.shift)
        shown, moved = apply_image(image, plain)[0] > 0.5, apply_mask(mask, one) == 1
        assert 2 * float((shown & moved).sum()) / float(shown.sum() + moved.sum()) > 0.93


def test_strong_keeps_the_geometry_and_is_keyed() -> None:
    weak = draw(rng(0, "a"), AugmentConfig())
    strong = strengthen(weak, rng(0, "b"), AugmentConfig())
    assert (strong.rotate_deg, strong.zoom, strong.shift) == (
        weak.rotate_deg,
        weak.zoom,
        weak.shift,
    )
    assert strong.noise >= 0.02 and strong == strengthen(weak, rng(0, "b"), AugmentConfig())
    image, _ = square()
    assert np.array_equal(apply_image(image, strong), apply_image(image, strong))
