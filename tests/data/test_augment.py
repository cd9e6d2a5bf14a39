"""Image and mask move together, by numbers that can be checked by eye."""

import numpy as np
import torch

from fewmask.core.batch import Draw
from fewmask.core.randomness import rng
from fewmask.data.augment import apply_image, apply_mask, draw, strengthen


def square() -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.zeros(40, 40, dtype=torch.long)
    mask[8:16, 20:30] = 1
    return mask[None].float(), mask


def test_nothing_drawn_changes_nothing() -> None:
    image, mask = square()
    assert torch.equal(apply_image(image, Draw()), image) and torch.equal(
        apply_mask(mask, Draw()), mask
    )


def test_shift_moves_by_whole_pixels() -> None:
    """A shift of a tenth of 40 pixels looks 4 pixels further right, so the square moves 4 to the
    left.
    """
    _, mask = square()
    moved = apply_mask(mask, Draw(shift=(0.0, 0.1)))
    assert torch.nonzero(moved).amin(0).tolist() == [8, 16] and torch.nonzero(moved).amax(
        0
    ).tolist() == [15, 25]


def test_quarter_turn() -> None:
    """Looking along a quarter turn, pixel (y, x) of the result shows (x, 39 - y) or its mirror;
    area is kept.
    """
    _, mask = square()
    turned = apply_mask(mask, Draw(rotate_deg=90.0))
    assert int(turned.sum()) == 80
    assert torch.equal(turned, torch.rot90(mask, 1)) or torch.equal(turned, torch.rot90(mask, -1))


def test_image_and_mask_go_the_same_way() -> None:
    image, mask = square()
    for index in range(20):
        one = draw(rng(0, "test", index))
        plain = Draw(rotate_deg=one.rotate_deg, zoom=one.zoom, shift=one.shift)
        shown, moved = apply_image(image, plain)[0] > 0.5, apply_mask(mask, one) == 1
        assert 2 * float((shown & moved).sum()) / float(shown.sum() + moved.sum()) > 0.93


def test_strong_keeps_the_geometry_and_is_keyed() -> None:
    weak = draw(rng(0, "a"))
    strong = strengthen(weak, rng(0, "b"))
    assert (strong.rotate_deg, strong.zoom, strong.shift) == (
        weak.rotate_deg,
        weak.zoom,
        weak.shift,
    )
    assert strong.noise >= 0.02 and strong == strengthen(weak, rng(0, "b"))
    image, _ = square()
    assert np.array_equal(apply_image(image, strong), apply_image(image, strong))
