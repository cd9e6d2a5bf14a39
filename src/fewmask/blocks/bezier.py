"""Random monotone grey-level curves for slices (R5)."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Bezier = Literal["off", "scaled", "as_released"]
"""`scaled`: the curve covers all grey levels. `as_released`: it covers one standard deviation above
the patch's mean, and what lies outside is clipped to it, as the release does to half of all slices
without saying so.
"""

_POINTS = 100
"""Of a curve."""


def draw_curve(rng: np.random.Generator) -> Float[np.ndarray, "2 n"]:
    """x and y of a cubic Bezier curve from (0, 0) to (1, 1) with two random control points, made
    monotone by sorting.
    """
    points = np.array([[0.0, 0.0], rng.random(2), rng.random(2), [1.0, 1.0]])
    t = np.linspace(0, 1, _POINTS)[:, None]
    curve = (
        (1 - t) ** 3 * points[0]
        + 3 * (1 - t) ** 2 * t * points[1]
        + 3 * (1 - t) * t**2 * points[2]
        + t**3 * points[3]
    )
    return np.sort(curve, 0).T


def bend(
    image: Float[Tensor, "b 1 d h w"], kind: Bezier, rng: np.random.Generator, share: float = 0.5
) -> Float[Tensor, "b 1 d h w"]:
    """Patches in [0, 1] in which about `share` of the slices got a curve of their own."""
    if kind == "off":
        return image
    out = image.clone()
    for row in range(len(image)):
        low, span = 0.0, 1.0
        if kind == "as_released":
            low, span = float(image[row].mean()), float(image[row].std()) + 1e-6
        chosen = np.flatnonzero(rng.random(image.shape[2]) < share)
        curves = np.array([draw_curve(rng) for _ in chosen]).reshape(-1, 2, _POINTS)
        level = (image[row, 0, chosen] - low) / span
        out[row, 0, chosen] = (_follow(level, curves) * span + low).float()
    return out


def _follow(
    level: Float[Tensor, "n h w"], curves: Float[np.ndarray, "n 2 p"]
) -> Float[Tensor, "n h w"]:
    """Every slice by its own curve; beyond the ends it stays at the end. In float64 on a CPU, in
    float32 and one call on a GPU.
    """
    if level.device.type == "cpu":
        bent = [np.interp(plane.numpy(), x, y) for plane, (x, y) in zip(level, curves, strict=True)]
        return torch.from_numpy(np.array(bent).reshape(level.shape))
    x, y = torch.from_numpy(curves).to(level.device, torch.float32).unbind(1)
    flat = level.flatten(1).contiguous()
    right = torch.searchsorted(x.contiguous(), flat).clamp(1, x.shape[1] - 1)
    x0, x1 = x.gather(1, right - 1), x.gather(1, right)
    y0, y1 = y.gather(1, right - 1), y.gather(1, right)
    part = ((flat - x0) / (x1 - x0).clamp_min(1e-12)).clamp(0, 1)
    return torch.lerp(y0, y1, part).reshape(level.shape)
