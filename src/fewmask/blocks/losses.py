"""Losses whose exact form matters, computed in float32."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from fewmask.blocks.team import total
from fewmask.core.batch import IGNORE, UNKNOWN

Choose = Literal["least", "score"]
"""Which of SAM's masks is taught: the least wrong one, or the one with the best score."""


def soft_dice(
    probs: Float[Tensor, "*n h w"], mask: Float[Tensor, "*n h w"], smooth: float = 1.0
) -> Float[Tensor, "*n"]:
    """1 - (2 sum(p m) + smooth) / (sum p + sum m + smooth) per image (A11); both empty
    gives 0.
    """
    probs, mask = probs.float(), mask.float()
    overlap = (probs * mask).sum((-2, -1))
    return 1 - (2 * overlap + smooth) / (probs.sum((-2, -1)) + mask.sum((-2, -1)) + smooth)


def focal(
    logits: Float[Tensor, "b k"],
    present: Int[Tensor, "b k"],
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Float[Tensor, ""]:
    """Binary focal loss (Lin et al. 2017), mean over the entries somebody tagged; 0 if nobody
    tagged any.
    """
    known = present != UNKNOWN
    target = present.clamp_min(0).float()
    logits = logits.float()
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    right = torch.sigmoid(logits) * target + torch.sigmoid(-logits) * (1 - target)
    weight = alpha * target + (1 - alpha) * (1 - target)
    summed = (weight * (1 - right) ** gamma * entropy * known).sum()
    return total(summed) / total(known.sum()).clamp_min(1)


def overlap_iou(
    logits: Float[Tensor, "n m h w"], mask: Float[Tensor, "n h w"]
) -> Float[Tensor, "n m"]:
    """IoU of the thresholded masks with the truth, the target of SAM's scores; both empty counts 1.
    No gradient.
    """
    with torch.no_grad():
        hard, truth = logits > 0, (mask > 0.5)[:, None]
        both, either = (hard & truth).sum((-2, -1)).float(), (hard | truth).sum((-2, -1)).float()
        return torch.where(either > 0, both / either.clamp_min(1), torch.ones_like(both))


def bernoulli_consistency(
    logits: Float[Tensor, "*n h w"], target: Float[Tensor, "*n h w"]
) -> Float[Tensor, ""]:
    """KL(target || prediction) of per-pixel Bernoullis, mean; `target` are probabilities without
    gradient.

    What the ancestor's KL term meant: as released (softmax over one channel) it is identically zero
    (A12).
    """
    target = target.detach().float()
    cross = functional.binary_cross_entropy_with_logits(logits.float(), target, reduction="mean")
    target_entropy = functional.binary_cross_entropy(target, target, reduction="mean")
    return cross - target_entropy


def sam_mask_losses(
    logits: Float[Tensor, "n m h w"],
    scores: Float[Tensor, "n m"],
    mask: Float[Tensor, "n h w"],
    choose: Choose = "least",
    others: float = 0.0,
) -> dict[str, Float[Tensor, ""]]:
    """`ce` and `dice` of one of m masks, and `score`, the squared error of all m predicted IoUs.

    The taught mask is the least wrong one (Kirillov et al. 2023, section 3 and appendix A) or, with
    `score`, the one with the best score (A9); the choice carries no gradient. All masks
    together are taught with the share `others`. SAM's recipe has 20 focal in place of the
    cross-entropy: from random weights that stays at "nothing is anything" several times longer
    (docs/results/history.md).
    """
    target = mask[:, None].expand_as(logits).float()
    per_pixel = functional.binary_cross_entropy_with_logits(
        logits.float(), target, reduction="none"
    )
    entropy = per_pixel.mean((2, 3))
    dice = soft_dice(torch.sigmoid(logits.float()), target)
    badness = entropy + dice if choose == "least" else -scores.float()
    taught = badness.detach().argmin(1, keepdim=True)
    error = (scores.float() - overlap_iou(logits, mask.float())) ** 2

    def share(loss: Float[Tensor, "n m"]) -> Float[Tensor, ""]:
        return (1 - others) * loss.gather(1, taught).mean() + others * loss.mean()

    return {"ce": share(entropy), "dice": share(dice), "score": error.mean()}


def batch_dice_ce(
    logits: Float[Tensor, "b c h w"], mask: Int[Tensor, "b h w"], smooth: float = 1.0
) -> dict[str, Float[Tensor, ""]]:
    """`ce` and `dice` over all reviewed pixels of the batch (not `IGNORE`), so that what is drawn
    on an image without the structure counts; 0 if none is reviewed.

    Dice is 1 - (2 sum(p m) + smooth) / (sum p + sum m + smooth) per structure, then averaged over
    those that the batch shows; the others are left to the cross-entropy, 0 if it shows none.
    """
    entropy, probs, one_hot = _reviewed(logits, mask)
    axes = (0, 2, 3)
    overlap, drawn = total((probs * one_hot).sum(axes)), total(probs.sum(axes))
    outlined = total(one_hot.sum(axes))
    dice = 1 - (2 * overlap + smooth) / (drawn + outlined + smooth)
    shown = (outlined > 0)[1:]
    return {"ce": entropy, "dice": (dice[1:] * shown).sum() / shown.sum().clamp_min(1)}


def masked_dice_ce(
    logits: Float[Tensor, "b c *space"], mask: Int[Tensor, " b *space"]
) -> dict[str, Float[Tensor, ""]]:
    """`ce` and `dice` over reviewed voxels (not `IGNORE`), for patches that may hold no structure
    at all; 0 if none is reviewed.

    Dice per class over the whole batch, background included, squared in the denominator, then
    averaged (CFR; there ignored voxels enter the denominator, here they do not:
    R4).
    """
    entropy, probs, one_hot = _reviewed(logits, mask)
    axes = (0, *range(2, logits.ndim))
    overlap = total((probs * one_hot).sum(axes))
    both = total((probs**2).sum(axes) + one_hot.sum(axes))
    any_reviewed = total((mask != IGNORE).any().float()) > 0
    dice = (1 - 2 * overlap / both.clamp_min(1e-6)).mean() * any_reviewed
    return {"ce": entropy, "dice": dice}


def _reviewed(
    logits: Float[Tensor, "b c *space"], mask: Int[Tensor, " b *space"]
) -> tuple[Float[Tensor, ""], Float[Tensor, "b c *space"], Int[Tensor, "b c *space"]]:
    """Over reviewed voxels: mean cross-entropy, probabilities and truth, both 0 elsewhere."""
    known = mask != IGNORE
    logits = logits.float()
    target = torch.where(known, mask, 0)
    per_voxel = functional.cross_entropy(logits, target, reduction="none")
    entropy = total((per_voxel * known).sum()) / total(known.sum()).clamp_min(1)
    one_hot = functional.one_hot(target, logits.shape[1]).movedim(-1, 1) * known[:, None]
    return entropy, torch.softmax(logits, 1) * known[:, None], one_hot


def attention_guide(
    features: Float[Tensor, "b c gh gw"],
    weight: Float[Tensor, "k c"],
    mask: Int[Tensor, "b h w"],
    present: Int[Tensor, "b k"],
) -> Float[Tensor, ""]:
    """Cross-entropy between where a structure lies and where its class row attends, mean over
    structures that are present; ours.

    Both are distributions over the cells of the map: the outline's share of each cell, and the
    softmax of weight . features. A constant added to all cells changes nothing, so the image-level
    logit, their mean, is free to answer the tag.
    """
    rows, classes = torch.nonzero(present == 1, as_tuple=True)
    attention = torch.einsum("nchw,nc->nhw", features[rows].float(), weight[classes].float())
    inside = (mask[rows] == (classes + 1)[:, None, None]).float()[:, None]
    grid = (features.shape[2], features.shape[3])
    share = functional.adaptive_avg_pool2d(inside, grid).flatten(1)
    share = share / share.sum(1, keepdim=True).clamp_min(1e-12)
    return -(share * torch.log_softmax(attention.flatten(1), 1)).sum(1).mean()


def tag_entropy(logits: Float[Tensor, "b k"], present: Int[Tensor, "b k"]) -> Float[Tensor, ""]:
    """Plain cross-entropy of image tags over the entries somebody tagged: the focal loss without
    focus or balance.
    """
    return 2 * focal(logits, present, 0.5, 0.0)
