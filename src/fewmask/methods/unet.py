"""`unet`: a residual U-Net that learns from the outlined slices alone; the baseline every other
method must beat.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from fewmask.blocks.losses import dice_ce
from fewmask.blocks.nets.unet import build_unet
from fewmask.blocks.ramp import warm_cosine
from fewmask.core.batch import Batch, BatchSpec, Probabilities, Step, Task
from fewmask.methods._method import Method, MethodSpec


@dataclass(frozen=True)
class Config:
    """Settings of `unet`; nothing here comes from the paper, which names the baseline only."""

    channels: tuple[int, ...] = (24, 48, 96, 192, 256)
    """Channels per level; ours, so that a step takes a third of a second on two cores."""
    labelled: int = 8
    """Outlined slices per step."""
    tags_as_empty: bool = False
    """Also learn from slices tagged as containing none of the structures, as empty masks: a second,
    tag-aware baseline.
    """
    lr: float = 1e-3
    """Peak learning rate of AdamW; ours."""
    weight_decay: float = 0.01
    """AdamW's weight decay; its usual value."""
    warmup: int = 50
    """Steps of linear warm-up before the cosine."""


def build(config: Config, task: Task) -> "UNet2d":
    """A fresh U-Net for `task`."""
    net = build_unet(task.k + 1, config.channels)
    weak = config.labelled if config.tags_as_empty else 0
    batch_spec = BatchSpec(labelled=config.labelled, weak=weak)
    return UNet2d(net, batch_spec, config.lr, config.weight_decay, config.warmup)


METHOD = MethodSpec(Config, build)


class UNet2d(Method):
    """Cross-entropy plus Dice on outlined slices."""

    def __init__(
        self, net: nn.Module, batch_spec: BatchSpec, lr: float, weight_decay: float, warmup: int
    ) -> None:
        """`net` maps (b, 1, h, w) to (b, k + 1, h, w) logits."""
        super().__init__()
        self.net = net
        self.batch_spec = batch_spec
        self._lr, self._weight_decay, self._warmup = lr, weight_decay, warmup

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """`ce` and `dice` on outlined slices; with `tags_as_empty` also `empty` on slices tagged as
        containing nothing.
        """
        assert batch.labelled is not None
        losses = dice_ce(self.net(batch.labelled.image), batch.labelled.mask)
        if batch.weak is not None:
            nothing = (batch.weak.present == 0).all(1)
            logits = self.net(batch.weak.image).float()
            background = functional.log_softmax(logits, 1)[:, 0].mean((1, 2))
            losses["empty"] = -(background * nothing).sum() / nothing.sum().clamp_min(1)
        return losses

    def predict(self, image: Float[Tensor, "b 1 h w"]) -> Probabilities:
        """Softmax of the logits."""
        return Probabilities(torch.softmax(self.net(image).float(), 1))

    def optimiser(self) -> torch.optim.Optimizer:
        """AdamW on everything."""
        return torch.optim.AdamW(self.parameters(), self._lr, weight_decay=self._weight_decay)

    def schedule(self, step: Step) -> float:
        """Warm-up, then cosine."""
        return warm_cosine(step, self._warmup)
