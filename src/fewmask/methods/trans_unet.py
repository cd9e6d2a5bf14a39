"""`trans_unet`: a convolutional encoder, a transformer at its bottom, a decoder with skips (Chen et
al. 2021, TransUNet).

Learns from the outlined slices alone. Built of MONAI's blocks and torch's transformer at a size
that trains in minutes on a CPU; the paper has ResNet-50 and ViT-B with ImageNet weights.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fewmask.blocks.losses import batch_dice_ce
from fewmask.blocks.nets.unet_parts import Decoder, Encoder
from fewmask.blocks.presence import TagClassifier, answer, scan_cost
from fewmask.blocks.ramp import warm_cosine
from fewmask.core.batch import Batch, BatchSpec, Probabilities, Step, Task
from fewmask.core.config import Count, NotNegative, Number, Positive
from fewmask.core.errors import BadConfig
from fewmask.methods._method import BATCH_NORMS, Method, MethodSpec
from fewmask.methods._presence import ClassifierSettings, build_classifier


@dataclass(frozen=True)
class Config(ClassifierSettings):
    """Settings of `trans_unet`."""

    channels: tuple[Count, ...] = (16, 32, 64, 128, 192)
    """Channels per level; the transformer sits below the last one, at 1/16 of the side as in the
    paper.
    """
    width: Count = 192
    """Width of the transformer (paper: 768)."""
    layers: Count = 4
    """Its layers (paper: 12)."""
    heads: Count = 6
    """Its heads (paper: 12)."""
    labelled: Count = 8
    """Outlined slices per step (paper: 24)."""
    lr: Positive = 1e-3
    """Peak learning rate of AdamW (paper: SGD 0.01, with pretrained weights)."""
    weight_decay: NotNegative = 0.01
    """AdamW's weight decay; its usual value."""
    warmup: Number = 50
    """Steps of linear warm-up before the cosine."""


def build(config: Config, task: Task) -> "TransUNet":
    """A fresh network for `task`. Raises `BadConfig` if its side is not a multiple of the deepest
    level's stride.
    """
    stride = 2 ** (len(config.channels) - 1)
    if task.size % stride:
        raise BadConfig(
            f"{task.size} px is not a multiple of {stride}",
            fix=f"prepare with a size that is a multiple of {stride}, or fewer channels",
            code="C02",
        )
    bottom = Transformer(
        config.channels[-1], (task.size // stride) ** 2, config.width, config.layers, config.heads
    )
    encoder, decoder = Encoder(config.channels), Decoder(config.channels, task.k + 1)
    return TransUNet(encoder, bottom, decoder, build_classifier(config, task), config)


# `presence` decides whether there is a classifier, so it matters in training too.
METHOD = MethodSpec(Config, build, inference_only=("presence_cost",), least_steps=370)


class Transformer(nn.Module):
    """Tokens of a feature map attend to each other; comes back as a feature map of the
    same shape.
    """

    def __init__(self, channels: int, tokens: int, width: int, layers: int, heads: int) -> None:
        """`tokens`: how many pixels the feature map has."""
        super().__init__()
        self.into = nn.Linear(channels, width)
        self.place = nn.Parameter(0.02 * torch.randn(1, tokens, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(
            layer, layers, nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.back = nn.Linear(width, channels)

    def forward(self, x: Float[Tensor, "b c g g"]) -> Float[Tensor, "b c g g"]:
        """The same shape."""
        tokens = self.layers(self.into(x.flatten(2).transpose(1, 2)) + self.place)
        result: Float[Tensor, "b c g g"] = self.back(tokens).transpose(1, 2).reshape(x.shape)
        return result


class TransUNet(Method):
    """Cross-entropy plus Dice on outlined slices."""

    one_network = True

    def __init__(
        self,
        encoder: Encoder,
        bottom: Transformer,
        decoder: Decoder,
        classifier: TagClassifier | None,
        config: Config,
    ) -> None:
        """Parts come ready-made; `config` holds the numbers of this file only."""
        super().__init__()
        self.encoder = encoder
        self.bottom = bottom
        self.decoder = decoder
        self.classifier = classifier
        self.config = config
        self.learns_alone = BATCH_NORMS if classifier else ""
        self.neighbours = scan_cost(config.presence, config.presence_cost)
        self.batch_spec = BatchSpec(
            labelled=config.labelled,
            weak=config.weak if classifier else 0,
            presence=classifier is not None,
        )

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """`ce` and `dice` on outlined slices; with `presence` also `classify` on tagged ones."""
        assert batch.labelled is not None
        losses = batch_dice_ce(self._logits(batch.labelled.image), batch.labelled.mask)
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
        return answer(torch.softmax(self._logits(image).float(), 1), image, self.classifier, held)

    def optimiser(self) -> torch.optim.Optimizer:
        """AdamW on everything."""
        return torch.optim.AdamW(
            self.parameters(), self.config.lr, weight_decay=self.config.weight_decay
        )

    def schedule(self, step: Step) -> float:
        """Warm-up, then cosine."""
        return warm_cosine(step, self.config.warmup)

    def _logits(self, image: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b c h w"]:
        *skips, bottom = self.encoder(image)
        result: Float[Tensor, "b c h w"] = self.decoder(self.bottom(bottom), skips)
        return result
