"""Dice over a batch of slices, of which some hold no structure."""

import math

import pytest
import torch

from fewmask.blocks.losses import batch_dice_ce, soft_dice
from fewmask.core.batch import IGNORE


def logits_of(probability: list[list[float]]) -> torch.Tensor:
    """Slices of one row of pixels; the probability of the structure in each."""
    p = torch.tensor(probability)[:, None, None]
    return torch.cat([torch.zeros_like(p), torch.logit(p)], 1).requires_grad_()


def test_what_is_drawn_on_a_slice_without_the_organ_has_a_slope() -> None:
    """The first slice is half organ, the second has none and is called everywhere. Over the batch
    every falsely called pixel costs the same; image by image it costs a hundredth of that.
    """
    side = 64
    mask = torch.zeros(2, side, side, dtype=torch.long)
    mask[0, : side // 2] = 1
    logits = torch.zeros(2, 2, side, side, requires_grad=True)
    alone = soft_dice(torch.softmax(logits, 1)[:, 1], (mask == 1).float()).mean()
    slope, by_image = (
        torch.autograd.grad(loss, logits)[0][1, 1]
        for loss in (batch_dice_ce(logits, mask)["dice"], alone)
    )
    assert (slope > 0).all(), "less of it must be drawn"
    assert slope.mean() > 100 * by_image.mean().abs()


def test_batch_dice_is_that_of_all_pixels_together() -> None:
    """Overlap 0.5 + 1, drawn 0.5 + 0.5 + 1 + 0, outlined 2: 1 - (2 * 1.5 + 1) / (2 + 2 + 1)."""
    logits = logits_of([[0.5, 0.5], [1 - 1e-7, 1e-7]])
    found = batch_dice_ce(logits, torch.tensor([[[1, 0]], [[1, 0]]]))
    assert found["dice"].item() == pytest.approx(1 - 4 / 5, abs=1e-6)
    assert found["ce"].item() == pytest.approx(math.log(2) / 2, abs=1e-6)


def test_pixels_that_nobody_reviewed_are_left_out() -> None:
    logits = logits_of([[0.5, 0.9]])
    found = batch_dice_ce(logits, torch.tensor([[[1, IGNORE]]]))
    assert found["dice"].item() == pytest.approx(1 - 2 / 2.5)
    assert found["ce"].item() == pytest.approx(math.log(2))
    none = batch_dice_ce(logits, torch.tensor([[[IGNORE, IGNORE]]]))
    assert (none["dice"].item(), none["ce"].item()) == (0.0, 0.0)


def test_a_structure_that_the_batch_does_not_show_does_not_dilute_the_others() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 4)
    mask = torch.zeros(2, 4, 4, dtype=torch.long)
    mask[0, 1] = 1
    p = torch.softmax(logits, 1)[:, 1]
    expected = 1 - (2 * p[0, 1].sum() + 1) / (p.sum() + 4 + 1)
    assert batch_dice_ce(logits, mask)["dice"].item() == pytest.approx(expected.item())
    assert batch_dice_ce(logits, torch.zeros_like(mask))["dice"].item() == 0.0
