"""From masks to box prompts. Boxes are (x0, y0, x1, y1) in pixel edges; NaN = no prompt."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

Rule = Literal["largest", "union"]


def mask_boxes(mask: Bool[Tensor, "n h w"]) -> Float[Tensor, "n 4"]:
    """The tight box of each mask (right and lower edges are max + 1, decision D6); NaN for an empty mask."""
    boxes = torch.full((mask.shape[0], 4), float("nan"), device=mask.device)
    for row, one in enumerate(mask):
        y, x = torch.nonzero(one.any(1))[:, 0], torch.nonzero(one.any(0))[:, 0]
        if len(y):
            boxes[row] = torch.stack([x[0], y[0], x[-1] + 1, y[-1] + 1]).to(boxes)
    return boxes


def main_component(mask: Bool[Tensor, "n h w"], heat: Float[Tensor, "n h w"], rule: Rule = "largest") -> Bool[Tensor, "n h w"]:
    """Each mask's largest 4-connected component (tie: the hotter one, decision D5); `union` keeps everything."""
    if rule == "union":
        return mask
    kept = [_largest(one.cpu().numpy(), hot.cpu().numpy()) for one, hot in zip(mask, heat, strict=True)]
    return torch.from_numpy(np.stack(kept)).to(mask.device)


def _largest(mask: np.ndarray, heat: np.ndarray) -> np.ndarray:
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = ndimage.sum_labels(mask, pieces, range(1, count + 1))
    means = ndimage.mean(heat, pieces, range(1, count + 1))
    best = max(range(count), key=lambda piece: (sizes[piece], means[piece]))
    return pieces == best + 1


def jitter(boxes: Float[Tensor, "n 4"], side: int, amount: float, rng: np.random.Generator) -> Float[Tensor, "n 4"]:
    """Move each edge by up to `amount` of the box's width or height, uniformly, and clip to the image."""
    extent = torch.stack([boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]] * 2, dim=1)
    move = torch.from_numpy(rng.uniform(-amount, amount, tuple(boxes.shape))).to(boxes)
    return (boxes + move * extent).clamp(0, side)


def box_mask(boxes: Float[Tensor, "n 4"], side: int) -> Bool[Tensor, "n side side"]:
    """Pixels whose centres lie in the box; empty for a NaN box."""
    centre = torch.arange(side, device=boxes.device) + 0.5
    inside_x = (centre >= boxes[:, :1]) & (centre < boxes[:, 2:3])
    inside_y = (centre >= boxes[:, 1:2]) & (centre < boxes[:, 3:4])
    return inside_y[:, :, None] & inside_x[:, None, :]


def centre_box(side: int) -> Float[Tensor, "4"]:
    """The central half of the image (the released notebook's stand-in for a missing prompt, decision D7)."""
    return torch.tensor([side / 4, side / 4, 3 * side / 4, 3 * side / 4])
