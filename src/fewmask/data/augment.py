"""Draw, then apply: a random decision is a value that moves image and mask together."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn import functional

from fewmask.core.batch import AugmentConfig, Draw, GreyLevels, Look
from fewmask.data.look import apply_look

_NOTHING = Draw()
_OWN = Look()


def draw(rng: np.random.Generator, ranges: AugmentConfig) -> Draw:
    """Geometry, and contrast and noise of the weak kind."""
    still = Draw(
        rotate_deg=float(rng.uniform(*ranges.rotate_deg)),
        zoom=math.exp(rng.uniform(*ranges.log_zoom)),
        shift=(float(rng.uniform(*ranges.shift)), float(rng.uniform(*ranges.shift))),
    )
    return _shade(still, ranges.weak, rng)


def strengthen(weak: Draw, rng: np.random.Generator, ranges: AugmentConfig) -> Draw:
    """The same geometry with contrast and noise of the strong kind."""
    return _shade(weak, ranges.strong, rng)


def _shade(geometry: Draw, levels: GreyLevels, rng: np.random.Generator) -> Draw:
    return replace(
        geometry,
        gain=float(rng.uniform(*levels.gain)),
        offset=float(rng.uniform(*levels.offset)),
        gamma=math.exp(rng.uniform(*levels.log_gamma)),
        noise=float(rng.uniform(*levels.noise)),
        noise_seed=int(rng.integers(2**31)),
    )


def apply_image(
    image: Float[Tensor, "n h w"], drawn: Draw, other: Float[Tensor, "n h w"] | None = None
) -> Float[Tensor, "n h w"]:
    """Geometry (bilinear, zero outside), look, then contrast and noise; result clipped to [0, 1].
    All slices of a patch alike; `other` is the image at `drawn.look.other`.
    """
    if stays(drawn):
        return apply_look(image, drawn.look, other)
    grid = sampling_grid(turn_of(drawn)[None], image.shape[-2:])
    moved = functional.grid_sample(image[None], grid, mode="bilinear", align_corners=False)[0]
    moved = apply_look(moved, drawn.look, other)
    shown = moved.clamp(0, 1) ** drawn.gamma * drawn.gain + drawn.offset
    if drawn.noise:
        shown = shown + drawn.noise * noise_of(drawn, image.shape)
    return shown.clamp(0, 1)


def apply_mask(
    mask: Integer[Tensor, "*n h w"], drawn: Draw, outside: int = 0
) -> Integer[Tensor, "*n h w"]:
    """The same geometry, nearest neighbour; background or another value `outside`."""
    if stays(drawn):
        return mask
    slices = mask.reshape(1, -1, *mask.shape[-2:]).float() - outside
    grid = sampling_grid(turn_of(drawn)[None], mask.shape[-2:])
    moved = functional.grid_sample(slices, grid, mode="nearest", align_corners=False) + outside
    return moved.round().to(mask.dtype).reshape(mask.shape)


def stays(drawn: Draw) -> bool:
    """Does it leave image and mask where and, but for the look, as they are?"""
    return replace(drawn, look=_OWN) == _NOTHING


def noise_of(drawn: Draw, shape: Sequence[int]) -> Float[Tensor, "n h w"]:
    """Its noise, of standard deviation 1."""
    generator = torch.Generator().manual_seed(drawn.noise_seed)
    return torch.randn(tuple(shape), generator=generator)


def turn_of(drawn: Draw) -> Float[Tensor, "2 3"]:
    """Rotation about the centre, zoom and shift as a matrix: from (x, y, 1) of a pixel of the
    result to (x, y) where it looks, each from -1 to 1 over the image.
    """
    angle = math.radians(drawn.rotate_deg)
    cos, sin = math.cos(angle) / drawn.zoom, math.sin(angle) / drawn.zoom
    dy, dx = drawn.shift
    return torch.tensor([[cos, -sin, 2 * dx], [sin, cos, 2 * dy]])


def sampling_grid(turns: Float[Tensor, "b 2 3"], shape: Sequence[int]) -> Float[Tensor, "b h w 2"]:
    """Where each pixel of images (h, w) looks: the numbers of `affine_grid`, in a tenth of its
    time, and products and sums one by one, so that a GPU rounds as a CPU does.
    """
    y, x = (_places(side, turns.device) for side in shape)
    across = turns[:, None, None, :, 0] * x[:, None]
    down = turns[:, None, None, :, 1] * y[:, None, None]
    return across + down + turns[:, None, None, :, 2]


@cache
def _places(side: int, device: torch.device) -> Float[Tensor, " side"]:
    """Middles of the pixels along a side, from -1 to 1 over all of it."""
    return (torch.linspace(-1, 1, side) * (side - 1) / side).to(device)
