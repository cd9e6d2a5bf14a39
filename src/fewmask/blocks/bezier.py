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


def draw_curve(rng: np.random.Generator) -> Float[np.ndarray, "2 n"]:
    """x and y of a cubic Bezier curve from (0, 0) to (1, 1) with two random control points, made
    monotone by sorting.
    """
    points = np.array([[0.0, 0.0], rng.random(2), rng.random(2), [1.0, 1.0]])
    t = np.linspace(0, 1, 100)[:, None]
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
        for d in np.flatnonzero(rng.random(image.shape[2]) < share):
            x, y = draw_curve(rng)
            level = (image[row, 0, d].numpy(force=True) - low) / span
            bent = (np.interp(level, x, y) * span + low).astype(np.float32)
            out[row, 0, d] = torch.from_numpy(bent).to(image.device)
    return out
