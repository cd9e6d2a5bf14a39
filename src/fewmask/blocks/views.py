"""The same image seen several times, slightly moved: the mean of the answers is surer than one."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Answer = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From images (b, 1, h, w) to class probabilities (b, c, h, w) and P(present) (b, k)."""
_MOVES = (  # zoom, rotation in degrees, shift as a part of the side
    (1.0, 0.0, 0.0),
    (0.9, 0.0, 0.0),
    (1.1, 0.0, 0.0),
    (1.0, 8.0, 0.02),
    (1.0, -8.0, -0.02),
)
MOST_VIEWS = len(_MOVES)


def mean_over_views(
    image: Float[Tensor, "b 1 h w"], answer: Answer, views: int
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b k"]]:
    """Mean probabilities of the first `views` moves, moved back, and mean P(present).

    The first move is none. Where a moved view does not reach, the background has what is missing.
    """
    probs, present = answer(image)
    for zoom, degrees, shift in _MOVES[1:views]:
        there = _affine(zoom, degrees, shift)
        moved, judged = answer(_look(image, there))
        back = _look(moved, torch.linalg.inv(there))
        back[:, 0] += 1 - back.sum(1)
        probs, present = probs + back, present + judged
    return probs / views, present / views


def _affine(zoom: float, degrees: float, shift: float) -> Float[Tensor, "3 3"]:
    """Where each pixel of the view looks, in units of half the side, (x, y)."""
    angle = math.radians(degrees)
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    return torch.tensor([[cos, -sin, 2 * shift], [sin, cos, 2 * shift], [0, 0, 1]])


def _look(image: Float[Tensor, "b c h w"], where: Float[Tensor, "3 3"]) -> Tensor:
    """The image as seen there, bilinear; 0 beyond its border."""
    theta = where[:2].to(image).expand(len(image), 2, 3)
    grid = functional.affine_grid(theta, list(image.shape), align_corners=False)
    return functional.grid_sample(image, grid, mode="bilinear", align_corners=False)
