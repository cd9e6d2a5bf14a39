"""Draw, then apply: a random decision is a value that moves image and mask together."""

import math
from dataclasses import replace

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
    if replace(drawn, look=_OWN) == _NOTHING:
        return apply_look(image, drawn.look, other)
    grid = _grid(drawn, image.shape[-2:])
    moved = functional.grid_sample(image[None], grid, mode="bilinear", align_corners=False)[0]
    moved = apply_look(moved, drawn.look, other)
    shown = moved.clamp(0, 1) ** drawn.gamma * drawn.gain + drawn.offset
    if drawn.noise:
        generator = torch.Generator().manual_seed(drawn.noise_seed)
        shown = shown + drawn.noise * torch.randn(image.shape, generator=generator)
    return shown.clamp(0, 1)


def apply_mask(
    mask: Integer[Tensor, "*n h w"], drawn: Draw, outside: int = 0
) -> Integer[Tensor, "*n h w"]:
    """The same geometry, nearest neighbour; background or another value `outside`."""
    if replace(drawn, look=_OWN) == _NOTHING:
        return mask
    slices = mask.reshape(1, -1, *mask.shape[-2:]).float() - outside
    grid = _grid(drawn, mask.shape[-2:])
    moved = functional.grid_sample(slices, grid, mode="nearest", align_corners=False) + outside
    return moved.round().to(mask.dtype).reshape(mask.shape)


def _grid(drawn: Draw, shape: tuple[int, ...]) -> Float[Tensor, "1 h w 2"]:
    """Where each output pixel looks in the input: rotation about the centre, zoom, shift."""
    angle = math.radians(drawn.rotate_deg)
    cos, sin = math.cos(angle) / drawn.zoom, math.sin(angle) / drawn.zoom
    dy, dx = drawn.shift
    theta = torch.tensor([[[cos, -sin, 2 * dx], [sin, cos, 2 * dy]]])
    return functional.affine_grid(theta, [1, 1, *shape], align_corners=False)
