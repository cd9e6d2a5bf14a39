"""`unet`: a residual U-Net that learns from the outlined slices alone; the baseline every other
method must beat.

With `presence`, a classifier that learns from image tags beside it says which slices get a mask.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from fewmask.blocks.losses import batch_dice_ce
from fewmask.blocks.nets.unet import build_unet
from fewmask.blocks.presence import TagClassifier, answer, scan_cost
from fewmask.blocks.ramp import warm_cosine
from fewmask.core.batch import Batch, BatchSpec, Probabilities, Step, Task
from fewmask.core.config import Count, NotNegative, Number, Positive
from fewmask.methods._look import LookSettings, check_looks
from fewmask.methods._method import BATCH_NORMS, Method, MethodSpec
from fewmask.methods._presence import ClassifierSettings, build_classifier


@dataclass(frozen=True)
class Config(LookSettings, ClassifierSettings):
    """Settings of `unet`; nothing here comes from the paper, which names the baseline only."""

    channels: tuple[Count, ...] = (24, 48, 96, 192, 256)
    """Channels per level; ours, so that a step takes a third of a second on two cores."""
    labelled: Count = 8
    """Outlined slices per step."""
    tags_as_empty: bool = False
    """Also learn from slices tagged as containing none of the structures, as empty masks: a second,
    tag-aware baseline.
    """
    lr: Positive = 1e-3
    """Peak learning rate of AdamW; ours."""
    weight_decay: NotNegative = 0.01
    """AdamW's weight decay; its usual value."""
    warmup: Number = 50
    """Steps of linear warm-up before the cosine."""


def build(config: Config, task: Task) -> "UNet2d":
    """A fresh U-Net for `task`, with a classifier if one is asked for. Raises `BadConfig` for a
    look that is no part of the images.
    """
    check_looks(config)
    net = build_unet(task.k + 1, config.channels)
    return UNet2d(net, build_classifier(config, task), config)


# `slice` and `scan` differ only in prediction, `none` has no classifier: `presence` is no setting
# for prediction alone.
METHOD = MethodSpec(Config, build, inference_only=("presence_cost",), least_steps=450)


class UNet2d(Method):
    """Cross-entropy plus Dice on outlined slices."""

    one_network = True

    def __init__(self, net: nn.Module, classifier: TagClassifier | None, config: Config) -> None:
        """`net` maps (b, 1, h, w) to (b, k + 1, h, w) logits."""
        super().__init__()
        self.net = net
        self.classifier = classifier
        self.config = config
        self.learns_alone = BATCH_NORMS if classifier else ""
        self.neighbours = scan_cost(config.presence, config.presence_cost)
        self.batch_spec = BatchSpec(
            labelled=config.labelled,
            weak=config.weak if classifier else 0,
            presence=classifier is not None,
            empty=config.labelled if config.tags_as_empty else 0,
            random_convolution=config.random_convolution,
            frequency_swap=config.frequency_swap,
        )

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """`ce` and `dice` on outlined slices; with `tags_as_empty` also `empty` on slices tagged as
        containing nothing, with `presence` `classify` on tagged slices.
        """
        assert batch.labelled is not None
        losses = batch_dice_ce(self.net(batch.labelled.image), batch.labelled.mask)
        if batch.empty is not None:
            logits = self.net(batch.empty.image).float()
            losses["empty"] = -functional.log_softmax(logits, 1)[:, 0].mean()
        if self.classifier is not None and batch.weak is not None:
            losses |= self.classifier.losses(batch.weak)
        return losses

    def predict(self, image: Float[Tensor, "b 1 h w"]) -> Probabilities:
        """Softmax of the logits, on slices that hold the structure (`presence`)."""
        return self._predict(image, None)

    def predict_present(
        self, image: Float[Tensor, "b 1 h w"], present: Bool[Tensor, "b k"]
    ) -> Probabilities:
        """The same with what each slice holds given, judged together with its neighbours."""
        return self._predict(image, present)

    def _predict(
        self, image: Float[Tensor, "b 1 h w"], held: Bool[Tensor, "b k"] | None
    ) -> Probabilities:
        return answer(torch.softmax(self.net(image).float(), 1), image, self.classifier, held)

    def optimiser(self) -> torch.optim.Optimizer:
        """AdamW on everything."""
        return torch.optim.AdamW(
            self.parameters(), self.config.lr, weight_decay=self.config.weight_decay
        )

    def schedule(self, step: Step) -> float:
        """Warm-up, then cosine."""
        return warm_cosine(step, self.config.warmup)
