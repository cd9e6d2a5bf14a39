"""Which structures a slice holds, and masks that follow it: for any method of slices."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from fewmask.blocks.losses import tag_entropy
from fewmask.blocks.nets.resnet import ResNet
from fewmask.core.batch import Probabilities, Weak

Presence = Literal["none", "slice", "scan"]
"""Who says which slices hold a structure: nobody (masks stay as they are drawn), each slice by
itself, or a slice with its neighbours along the scan.
"""


class TagClassifier(nn.Module):
    """A ResNet-38 beside a network that draws masks: from a slice to the structures it holds."""

    def __init__(self, classes: int, width: int = 32, side: int = 256) -> None:
        """`width` channels in its first stage; smaller slices are enlarged to `side`."""
        super().__init__()
        self.net = ResNet(width=width, outputs=classes)
        self.side = side

    def forward(self, image: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b k"]:
        """Logits of the tags, float32."""
        logits: Float[Tensor, "b k"] = self.net(enlarge(image, self.side))[1].float()
        return logits

    def losses(self, weak: Weak) -> dict[str, Float[Tensor, ""]]:
        """`classify`, the cross-entropy of tags that somebody gave; it moves this network alone."""
        return {"classify": tag_entropy(self(weak.image), weak.present)}


def enlarge(image: Float[Tensor, "b 1 h w"], side: int) -> Float[Tensor, "b 1 h2 w2"]:
    """Slices brought to `side`, at most twofold; larger ones stay as they are."""
    side = min(side, 2 * image.shape[-1])
    if image.shape[-1] >= side:
        return image
    return functional.interpolate(image, (side, side), mode="bilinear")


def judge(present: Float[Tensor, "b k"], presence: Presence) -> Bool[Tensor, "b k"]:
    """What each slice, by itself, is taken to hold: P(present) >= 0.5; everything with `none`."""
    held = present >= 0.5
    return torch.ones_like(held) if presence == "none" else held


def gate(probs: Float[Tensor, "b c h w"], held: Bool[Tensor, "b k"]) -> Float[Tensor, "b c h w"]:
    """Probabilities of the structures that a slice holds; what the others had is background's."""
    denied = probs[:, 1:] * ~held[..., None, None]
    background = probs[:, :1] + denied.sum(1, keepdim=True)
    return torch.cat([background, probs[:, 1:] - denied], 1)


def answer(
    probs: Float[Tensor, "b c h w"],
    image: Float[Tensor, "b 1 h w"],
    classifier: TagClassifier | None,
    held: Bool[Tensor, "b k"] | None = None,
) -> Probabilities:
    """Masks as they were drawn for `image`, where the classifier says there is something, or where
    `held` says so in its place; without both, all of them.
    """
    present = None if classifier is None else torch.sigmoid(classifier(image))
    if held is None and present is not None:
        held = judge(present, "slice")
    return Probabilities(probs if held is None else gate(probs, held), present)


def scan_cost(presence: str, cost: float) -> float:
    """`PresenceAware.neighbours`: the cost of a change along the scan, 0 where slices are judged
    alone or not at all.
    """
    return cost if presence == "scan" else 0.0
