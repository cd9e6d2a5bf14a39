"""From scenes to what a promptable model is asked: targets, and boxes, points or coarse masks that
point at them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from fewmask.blocks.prompts import jitter, mask_boxes
from fewmask.synth.scene import Scenes

_VISIBLE = 0.05
"""Least contrast of a target."""


@dataclass(frozen=True)
class Targets:
    """Regions to be found."""

    rows: Int[Tensor, " n"]
    """Which image."""
    mask: Bool[Tensor, "n s s"]


@dataclass(frozen=True)
class Questions:
    """Regions asked for, each by a box, a box and a coarse mask, or points."""

    image: Float[Tensor, "b 1 s s"]
    rows: Int[Tensor, " n"]
    """Which image each question is about."""
    mask: Bool[Tensor, "n s s"]
    """The answer."""
    boxes: Float[Tensor, "n 4"] | None
    coarse: Float[Tensor, "n 1 m m"] | None
    points: Float[Tensor, "n p 2"] | None


def ask(
    scenes: Scenes,
    targets: Targets,
    mask_side: int,
    rng: torch.Generator,
    numpy_rng: np.random.Generator,
) -> Questions:
    """One kind of prompt for the whole batch: a box (edges off by up to 25 %), a box with a coarse
    mask, or points.

    `numpy_rng` draws on the CPU what holds for the whole batch, `rng` on the device what is drawn
    per pixel.
    """
    kind = numpy_rng.random()
    boxes = coarse = points = None
    if kind < 0.85:
        loose = float(numpy_rng.choice([0.0, 0.1, 0.1, 0.25]))
        boxes = jitter(mask_boxes(targets.mask), scenes.image.shape[-1], loose, numpy_rng)
    else:
        points = sample_points(targets.mask, int(numpy_rng.integers(1, 4)), rng)
    if 0.65 < kind < 0.85 or kind > 0.95:
        coarse = blur_mask(targets.mask, mask_side, rng)
    return Questions(scenes.image, targets.rows, targets.mask, boxes, coarse, points)


def choose_targets(scenes: Scenes, per_image: int, least: float, rng: torch.Generator) -> Targets:
    """Up to `per_image` regions of each image that cover `least` to 0.6 of it; every other with the
    regions that lie in it.

    Regions that look like what is around them are left out: a box around nothing visible teaches
    nothing.
    """
    count, side = len(scenes.image), scenes.image.shape[-1]
    n_regions = scenes.parents.shape[1]
    flat = scenes.regions.flatten(1)
    area = torch.zeros(count, n_regions, device=rng.device)
    area.scatter_add_(1, flat, torch.ones(count, side * side, device=rng.device))
    share = area / side**2
    fits = (share >= max(least, 12 / side**2)) & (share <= 0.6)
    fits[:, 0] = False
    # A random choice without a loop over images: every region that fits gets a random number, all
    # others -1, and the largest few of each image are taken. Images with fewer regions that fit
    # bring fewer targets, so what follows has one entry per target, not per image.
    order = torch.rand(count, n_regions, generator=rng, device=rng.device)
    best = torch.where(fits, order, -1.0).topk(min(per_image, n_regions), dim=1)
    rows, ranks = torch.nonzero(best.values >= 0, as_tuple=True)
    number = best.indices[rows, ranks][:, None, None]
    mask = scenes.regions[rows] == number
    # `parent` holds at each pixel the region that the region seen there lies in: half of the
    # targets take these in (an organ with its lesions), half are what is seen alone.
    parent = scenes.parents.gather(1, flat).view_as(scenes.regions)[rows]
    whole = torch.rand(len(rows), generator=rng, device=rng.device) < 0.5
    mask = mask | (whole[:, None, None] & (parent == number))
    visible = contrast(scenes.image[rows, 0], mask) >= _VISIBLE
    return Targets(rows[visible], mask[visible])


def contrast(image: Float[Tensor, "n s s"], mask: Bool[Tensor, "n s s"]) -> Float[Tensor, " n"]:
    """Difference between the mean inside a mask and in the ring of 4 pixels around it."""
    inside = mask.float()
    ring = functional.max_pool2d(inside[:, None], 9, 1, 4)[:, 0] - inside

    def mean(weight: Float[Tensor, "n s s"]) -> Float[Tensor, " n"]:
        return (image * weight).sum((1, 2)) / weight.sum((1, 2)).clamp_min(1)

    return (mean(inside) - mean(ring)).abs()


def sample_points(
    mask: Bool[Tensor, "n s s"], count: int, rng: torch.Generator
) -> Float[Tensor, "n p 2"]:
    """`count` random pixels (x, y centres) of each mask."""
    side = mask.shape[-1]
    flat = torch.multinomial(mask.flatten(1).float(), count, replacement=True, generator=rng)
    return torch.stack([flat % side, flat // side], -1).float() + 0.5


def blur_mask(
    mask: Bool[Tensor, "n s s"], side: int, rng: torch.Generator
) -> Float[Tensor, "n 1 m m"]:
    """A coarse guess of the mask in {0, 1} with `side` pixels, as a class-activation map would
    give: blurred, noisy, cut.
    """
    cells = int(torch.randint(7, 15, (1,), generator=rng, device=rng.device))
    coarse = functional.adaptive_avg_pool2d(mask[:, None].float(), cells)
    coarse = coarse / coarse.amax((2, 3), keepdim=True).clamp_min(1e-6)
    coarse = coarse + 0.15 * torch.randn(coarse.shape, generator=rng, device=rng.device)
    cut = 0.2 + 0.4 * torch.rand(len(mask), 1, 1, 1, generator=rng, device=rng.device)
    return (functional.interpolate(coarse, (side, side), mode="bilinear") > cut).float()
