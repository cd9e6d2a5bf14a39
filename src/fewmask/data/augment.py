"""Draw, then apply: a random decision is a value that moves image and mask together."""

import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn import functional

from fewmask.core.batch import Draw

_NOTHING = Draw()


def draw(rng: np.random.Generator) -> Draw:
    """A weak draw: up to 15 degrees, zoom 0.8-1.25, shift 8 %, mild contrast and noise. No flips:
    organs have sides.
    """
    return Draw(
        rotate_deg=float(rng.uniform(-15, 15)),
        zoom=float(math.exp(rng.uniform(-0.223, 0.223))),
        shift=(float(rng.uniform(-0.08, 0.08)), float(rng.uniform(-0.08, 0.08))),
        gain=float(rng.uniform(0.9, 1.1)),
        offset=float(rng.uniform(-0.05, 0.05)),
        gamma=float(math.exp(rng.uniform(-0.3, 0.3))),
        noise=float(rng.uniform(0, 0.03)),
        noise_seed=int(rng.integers(2**31)),
    )


def strengthen(weak: Draw, rng: np.random.Generator) -> Draw:
    """The same geometry under a stronger draw of contrast and noise."""
    return replace(
        weak,
        gain=float(rng.uniform(0.7, 1.3)),
        offset=float(rng.uniform(-0.15, 0.15)),
        gamma=float(math.exp(rng.uniform(-0.7, 0.7))),
        noise=float(rng.uniform(0.02, 0.10)),
        noise_seed=int(rng.integers(2**31)),
    )


def apply_image(image: Float[Tensor, "n h w"], one: Draw) -> Float[Tensor, "n h w"]:
    """Geometry (bilinear, zero outside), then contrast and noise; result clipped to [0, 1]. All
    slices of a patch alike.
    """
    if one == _NOTHING:
        return image
    moved = functional.grid_sample(
        image[None], _grid(one, image.shape[-2:]), mode="bilinear", align_corners=False
    )[0]
    shown = moved.clamp(0, 1) ** one.gamma * one.gain + one.offset
    if one.noise:
        generator = torch.Generator().manual_seed(one.noise_seed)
        shown = shown + one.noise * torch.randn(image.shape, generator=generator)
    return shown.clamp(0, 1)


def apply_mask(
    mask: Integer[Tensor, "*n h w"], one: Draw, outside: int = 0
) -> Integer[Tensor, "*n h w"]:
    """The same geometry, nearest neighbour; background or another value `outside`."""
    if one == _NOTHING:
        return mask
    slices = mask.reshape(1, -1, *mask.shape[-2:]).float() - outside
    moved = (
        functional.grid_sample(
            slices, _grid(one, mask.shape[-2:]), mode="nearest", align_corners=False
        )
        + outside
    )
    return moved.round().to(mask.dtype).reshape(mask.shape)


def _grid(one: Draw, shape: tuple[int, ...]) -> Float[Tensor, "1 h w 2"]:
    """Where each output pixel looks in the input: rotation about the centre, zoom, shift."""
    angle = math.radians(one.rotate_deg)
    cos, sin = math.cos(angle) / one.zoom, math.sin(angle) / one.zoom
    dy, dx = one.shift
    theta = torch.tensor([[[cos, -sin, 2 * dx], [sin, cos, 2 * dy]]])
    return functional.affine_grid(theta, [1, 1, *shape], align_corners=False)
