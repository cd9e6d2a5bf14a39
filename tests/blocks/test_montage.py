"""Slices on canvases and back, exactly, for any patch; nothing is dropped, nothing overlaps."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.blocks.bezier import bend, draw_curve
from fewmask.blocks.montage import Montage
from fewmask.core.errors import BadConfig
from fewmask.core.randomness import rng

SHAPES = [
    ((80, 112, 112), 1024, 9, 1),
    ((96, 96, 96), 1024, 10, 1),
    ((80, 112, 112), 448, 4, 5),
    ((48, 64, 64), 448, 7, 1),
]
SHAPES += [
    ((88, 112, 112), 1024, 9, 2),
    ((128, 128, 128), 1024, 8, 2),
    ((5, 20, 30), 64, 2, 2),
    ((80, 112, 112), 896, 8, 2),
]


@pytest.mark.parametrize(("patch", "canvas", "per_row", "canvases"), SHAPES)
def test_there_and_back(patch, canvas, per_row, canvases) -> None:
    montage = Montage(patch, canvas)
    assert (montage.per_row, montage.canvases) == (per_row, canvases)
    patches = torch.rand(2, *patch, generator=torch.Generator().manual_seed(0)) + 1
    stitched = montage.stitch(patches)
    assert stitched.shape == (2 * canvases, canvas, canvas)
    assert int((stitched > 0).sum()) == patches.numel(), "no tile covers another"
    assert torch.equal(montage.unstitch(stitched[:, None])[:, 0], patches)


@settings(max_examples=200, deadline=None)
@given(st.tuples(*[st.integers(1, 12)] * 3), st.integers(0, 40))
def test_any_patch_on_any_canvas_comes_back(patch, more) -> None:
    montage = Montage(patch, max(patch[1:]) + more)
    patches = torch.arange(1.0, 1 + 2 * math.prod(patch)).reshape(2, *patch)
    stitched = montage.stitch(patches)
    assert int((stitched > 0).sum()) == patches.numel(), "no tile covers another"
    assert torch.equal(montage.unstitch(stitched[:, None])[:, 0], patches)


def test_slices_lie_row_by_row_in_their_order() -> None:
    montage = Montage((5, 2, 2), 4)
    first, second = montage.stitch(
        torch.arange(5.0)[None, :, None, None].expand(1, 5, 2, 2), fill=9.0
    )
    assert first.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    assert second.tolist() == [[4, 4, 9, 9], [4, 4, 9, 9], [9, 9, 9, 9], [9, 9, 9, 9]]


def test_28_logits_per_tile_as_in_the_paper() -> None:
    """A 448 canvas of SAM's 112 mask logits: every 112 px tile gets its own 28 x 28."""
    montage = Montage((16, 112, 112), 448)
    logits = torch.zeros(1, 1, 112, 112)
    logits[0, 0, 28:56, 56:84] = 1  # the seventh tile
    tiles = montage.unstitch(logits)[0, 0]
    assert tiles[6].mean() > 0.95 and tiles[[0, 4, 8, 12, 13, 14, 15]].max() == 0, (
        "its neighbours get a pixel of it"
    )


def test_slices_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadConfig, match="do not fit"):
        Montage((4, 100, 50), 64)


def test_curves_rise_from_nothing_to_everything() -> None:
    for index in range(20):
        x, y = draw_curve(rng(0, "curve", index))
        assert (
            x[0] == y[0] == 0
            and x[-1] == y[-1] == 1
            and (x[1:] >= x[:-1]).all()
            and (y[1:] >= y[:-1]).all()
        )


def test_bending_keeps_order_unless_it_clips() -> None:
    image = torch.linspace(0, 1, 64).reshape(1, 1, 1, 8, 8)
    assert torch.equal(bend(image, "off", rng(0, "a")), image)
    scaled = bend(image, "scaled", rng(0, "a"), share=1.0).flatten()
    assert (
        (scaled[1:] >= scaled[:-1]).all()
        and scaled[0] == 0
        and scaled[-1] == 1
        and not torch.equal(scaled, image.flatten())
    )
    clipped = bend(image, "as_released", rng(0, "a"), share=1.0).flatten()
    below = image.flatten() < image.mean()
    assert clipped[below].unique().numel() == 1, "half of the grey levels are gone"
