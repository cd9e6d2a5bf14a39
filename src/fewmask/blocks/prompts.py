"""From masks to box prompts. Boxes are (x0, y0, x1, y1) in pixel edges; NaN = no prompt."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from torch import Tensor

Rule = Literal["largest", "union"]
_IN_PLANE = np.zeros((3, 3, 3), bool)
_IN_PLANE[1] = ndimage.generate_binary_structure(2, 1)
"""Four neighbours in an image; images do not touch."""


def mask_boxes(mask: Bool[Tensor, "n h w"]) -> Float[Tensor, "n 4"]:
    """The tight box of each mask (right and lower edges are max + 1, A6); NaN for an empty
    mask.
    """
    edges = []
    for line in (mask.any(1), mask.any(2)):  # columns, rows
        first = line.int().argmax(1)
        last = line.shape[1] - line.flip(1).int().argmax(1)
        edges.append(torch.stack([first, last], 1).float())
    boxes = torch.stack([edges[0][:, 0], edges[1][:, 0], edges[0][:, 1], edges[1][:, 1]], 1)
    return torch.where(mask.flatten(1).any(1, keepdim=True), boxes, torch.nan)


def has_box(boxes: Float[Tensor, "*n 4"]) -> Bool[Tensor, "*n"]:
    """False for a NaN box."""
    return ~boxes.isnan().any(-1)


def main_component(
    mask: Bool[Tensor, "n h w"], heat: Float[Tensor, "n h w"], rule: Rule = "largest"
) -> Bool[Tensor, "n h w"]:
    """Each mask's largest 4-connected component (tie: the hotter one, A5); `union` keeps
    everything.

    On the host, all masks at once: only they are fetched from a GPU, and their `heat` where there
    is a tie.
    """
    if rule == "union":
        return mask
    masks = mask.numpy(force=True)
    pieces, count = ndimage.label(masks, _IN_PLANE)
    # Pieces are numbered image by image: those of an image end with its highest number.
    ends = np.maximum.accumulate(pieces.max((1, 2), initial=0))
    image = np.searchsorted(ends, np.arange(count + 1))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    most = np.zeros(len(masks), int)
    np.maximum.at(most, image[1:], sizes[1:])
    largest = np.append(False, sizes[1:] == most[image[1:]])
    kept = largest[pieces]
    tied = np.flatnonzero(np.bincount(image[largest], minlength=len(masks)) > 1)
    if len(tied):
        where = torch.from_numpy(tied).to(heat.device)
        for one, hot in zip(tied, heat[where].numpy(force=True), strict=True):
            kept[one] = _hottest(kept[one], hot)
    return torch.from_numpy(kept).to(mask.device)


def _hottest(mask: Bool[np.ndarray, "h w"], heat: Float[np.ndarray, "h w"]) -> np.ndarray:
    """Of components of the same size the one with the highest mean, the first if there are more."""
    pieces, count = ndimage.label(mask)
    hottest: np.ndarray = pieces == 1 + np.argmax(ndimage.mean(heat, pieces, range(1, count + 1)))
    return hottest


def jitter(
    boxes: Float[Tensor, "n 4"], side: int, amount: float, rng: np.random.Generator
) -> Float[Tensor, "n 4"]:
    """Move each edge by up to `amount` of the box's width or height, uniformly, and clip to the
    image.
    """
    extent = torch.stack([boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]] * 2, dim=1)
    move = torch.from_numpy(rng.uniform(-amount, amount, tuple(boxes.shape))).to(boxes)
    return (boxes + move * extent).clamp(0, side)


def box_mask(boxes: Float[Tensor, "n 4"], side: int) -> Bool[Tensor, "n side side"]:
    """Pixels whose centres lie in the box; empty for a NaN box."""
    centre = torch.arange(side, device=boxes.device) + 0.5
    inside_x = (centre >= boxes[:, :1]) & (centre < boxes[:, 2:3])
    inside_y = (centre >= boxes[:, 1:2]) & (centre < boxes[:, 3:4])
    return inside_y[:, :, None] & inside_x[:, None, :]


def rasterise_boxes(boxes: Float[Tensor, "n 4"], side: int) -> Float[Tensor, "n 1 side side"]:
    """The part of each pixel that its box covers; 0 for a NaN box."""
    edge = torch.arange(side, device=boxes.device)

    def cover(low: Tensor, high: Tensor) -> Float[Tensor, "n side"]:
        first, last = torch.maximum(low[:, None], edge), torch.minimum(high[:, None], edge + 1)
        return (last - first).clamp(0, 1)

    x0, y0, x1, y1 = boxes.unbind(1)
    return torch.nan_to_num(cover(y0, y1)[:, None, :, None] * cover(x0, x1)[:, None, None, :])


def rasterise_points(
    points: Float[Tensor, "n p 2"], labels: Int[Tensor, "n p"], side: int
) -> Float[Tensor, "n 1 side side"]:
    """Discs of 1.5 pixels around points (x, y): +1 for points inside the structure, -1 for points
    outside.
    """
    centre = torch.arange(side, device=points.device) + 0.5
    dx, dy = centre - points[..., :1], centre - points[..., 1:]
    disc = (dy[..., :, None] ** 2 + dx[..., None, :] ** 2 <= 1.5**2).float()
    return (disc * (2 * labels - 1)[..., None, None]).sum(1, keepdim=True).clamp(-1, 1)


def centre_box(side: int) -> Float[Tensor, "4"]:
    """The central half of the image (the released notebook's stand-in for a missing prompt,
    A7).
    """
    return torch.tensor([side / 4, side / 4, 3 * side / 4, 3 * side / 4])
