"""What the methods share that are a U-Net on ImageNet's encoder: outlines teach its masks, tags
teach what a slice holds, and masks that an earlier network made can teach both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from fewmask.blocks.average import average_of, move
from fewmask.blocks.losses import batch_dice_ce, tag_entropy
from fewmask.blocks.nets.efficientnet import fold_imagenet
from fewmask.blocks.nets.pyramid_unet import FEW, PyramidUNet
from fewmask.blocks.presence import Presence, gate, judge, scan_cost
from fewmask.blocks.ramp import warm_cosine
from fewmask.blocks.team import total
from fewmask.blocks.views import mean_over_views
from fewmask.core.batch import (
    IGNORE,
    UNKNOWN,
    Batch,
    BatchSpec,
    Probabilities,
    Step,
    Task,
    Weak,
)
from fewmask.core.config import Count, NotNegative, Number, Positive
from fewmask.methods._look import LookSettings, check_looks
from fewmask.methods._method import Method, grouped
from fewmask.methods._presence import PresenceSettings

_ENCODER_RATE = 1 / 3
"""Of the learning rate: the encoder has learned already."""


@dataclass(frozen=True)
class PyramidSettings(LookSettings, PresenceSettings):
    """Settings of the network and of its training; chosen on training patients kept aside."""

    presence: Presence = "scan"
    encoder: Literal["lite0"] = "lite0"
    """EfficientNet-Lite0, 3 M weights."""
    weights: str = "auto"
    """Where the encoder starts: `auto` = ImageNet (`fewmask weights list`), `none` = at random."""
    kernels: Literal["frozen", "learned"] = "frozen"
    """Do the encoder's depthwise convolutions learn on from ImageNet? Frozen, they halve the time
    of a step, and in a trial lost nothing; from random weights they always learn.
    """
    labelled: Count = 2
    """Outlined slices per step; few, so that more steps fit the minutes."""
    weak: Number = 4
    """Tagged slices per step."""
    average: float = 0.98
    """Decay of the moving average of the weights, which is what predicts; 0 = the last weights."""
    views: int = 1
    """Slightly moved views of a slice whose mean is the mask, 1 to 5; each costs a pass."""
    lr: Positive = 1e-3
    """Peak learning rate of AdamW; the encoder, which has learned already, has a third of it."""
    weight_decay: NotNegative = 0.01
    """AdamW's weight decay; its usual value."""
    warmup: Number = 30
    """Steps of linear warm-up before the cosine."""


@dataclass(frozen=True)
class PseudoTerm:
    """How masks that an earlier network made are learned from."""

    weight: float
    pure: float
    """Last part of the steps that goes without them: outlines and tags have the last word."""


def build_pyramid(
    config: PyramidSettings, task: Task, pseudo: PseudoTerm | None = None
) -> "Pyramid":
    """A fresh network for `task`; with `pseudo`, one that also learns from masks made earlier."""
    check_looks(config)
    return Pyramid(PyramidUNet(outputs=task.k + 1, structures=task.k), config, pseudo)


class Pyramid(Method):
    """Encoder, light decoder, presence head, and the moving average of all three."""

    any_size = True
    one_network = True
    learns_alone = ""
    seen: Bool[Tensor, "k 2"]
    """Of every structure: was a slice without it, and one with it, ever learned from? Only then can
    the presence head judge.
    """

    def __init__(
        self, net: PyramidUNet, config: PyramidSettings, pseudo: PseudoTerm | None = None
    ) -> None:
        """Parts come ready-made."""
        super().__init__()
        self.net = net
        if config.weights == "none":
            net.encoder.start_at_random()
        elif config.kernels == "frozen":
            net.encoder.freeze_kernels()
        self.averaged = average_of(net)
        self.register_buffer("seen", torch.zeros(net.present.out_features, 2, dtype=torch.bool))
        self.config = config
        self.one_network = config.views == 1
        self.pseudo = pseudo
        self.neighbours = scan_cost(config.presence, config.presence_cost)
        structures = net.present.out_features
        if structures > FEW:
            self.note = (
                f"{structures} structures: small ones take longer to learn than one alone; "
                "thirteen organs took three times the steps of a liver (docs/results/organs.md)"
            )
        self.batch_spec = BatchSpec(
            labelled=config.labelled,
            weak=config.weak,
            pseudo="some" if pseudo else "off",
            random_convolution=config.random_convolution,
            frequency_swap=config.frequency_swap,
        )

    def load_encoder(self, tensors: Mapping[str, Tensor]) -> None:
        """ImageNet's weights, batch norms folded into their convolutions."""
        folded = fold_imagenet(tensors)
        self.net.encoder.load_state_dict(folded)
        self.averaged.encoder.load_state_dict(folded)

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """`ce` and `dice` on outlined slices, `classify` on tags; `pseudo` on masks made earlier,
        or without them `empty`: slices tagged as holding nothing are background.
        """
        assert batch.labelled is not None
        count, weak = len(batch.labelled.image), batch.weak
        if weak is None:
            return batch_dice_ce(self.net(batch.labelled.image)[0], batch.labelled.mask)
        logits, judged = self.net(torch.cat([batch.labelled.image, weak.image]))
        losses = batch_dice_ce(logits[:count], batch.labelled.mask)
        made = weak.pseudo if self.pseudo and step.fraction < 1 - self.pseudo.pure else None
        present = _presence_of(weak, made)
        self._note(present)
        losses["classify"] = tag_entropy(judged[count:], present)
        if made is not None and self.pseudo is not None:
            masks = batch_dice_ce(logits[count:], made)
            losses["pseudo"] = self.pseudo.weight * (masks["ce"] + masks["dice"])
        else:
            losses["empty"] = _background(logits[count:], (present == 0).all(1))
        return losses

    def predict(self, image: Float[Tensor, "b 1 h w"]) -> Probabilities:
        """Softmax of the logits where the slice is judged to hold the structure."""
        probs, present = self._answer(image)
        return Probabilities(gate(probs, judge(present, self.config.presence)), present)

    def predict_present(
        self, image: Float[Tensor, "b 1 h w"], present: Bool[Tensor, "b k"]
    ) -> Probabilities:
        """The same with what each slice holds given."""
        probs, judged = self._answer(image)
        return Probabilities(gate(probs, present), judged)

    def optimiser(self) -> torch.optim.Optimizer:
        """AdamW; the encoder learns more slowly."""
        learning = [weight for weight in self.net.encoder.parameters() if weight.requires_grad]
        encoder = {"params": learning, "lr": self.config.lr * _ENCODER_RATE}
        return torch.optim.AdamW(
            grouped(self.net, encoder), self.config.lr, weight_decay=self.config.weight_decay
        )

    def schedule(self, step: Step) -> float:
        """Warm-up, then cosine."""
        return warm_cosine(step, self.config.warmup)

    def after_step(self, step: Step) -> None:
        """Move the average; in the first steps it follows at once."""
        move(self.averaged, self.net, step.index, self.config.average)

    def _answer(self, image: Float[Tensor, "b 1 h w"]) -> tuple[Tensor, Float[Tensor, "b k"]]:
        """Class probabilities, and P(present): 1 for structures that the head cannot judge."""
        net = self.averaged if self.config.average else self.net

        def answer(view: Tensor) -> tuple[Tensor, Tensor]:
            logits, judged = net(view)
            return torch.softmax(logits.float(), 1), torch.sigmoid(judged.float())

        probs, present = mean_over_views(image, answer, self.config.views)
        return probs, torch.where(self.seen.all(1), present, torch.ones_like(present))

    def _note(self, present: Int[Tensor, "b k"]) -> None:
        """Remember which answers the presence head was taught."""
        taught = torch.stack([(present == 0).any(0), (present == 1).any(0)], 1)
        self.seen |= total(taught.float()) > 0


def _presence_of(weak: Weak, made: Int[Tensor, "b h w"] | None) -> Int[Tensor, "b k"]:
    """What tags say a slice holds; where they are silent, what a mask made of it shows."""
    if made is None:
        return weak.present
    classes = torch.arange(1, weak.present.shape[1] + 1, device=made.device)
    shown = (made.flatten(1)[:, None] == classes[:, None]).any(-1).long()
    shown = torch.where((made == IGNORE).any((1, 2))[:, None] & (shown == 0), UNKNOWN, shown)
    return torch.where(weak.present == UNKNOWN, shown, weak.present)


def _background(logits: Float[Tensor, "b c h w"], empty: Bool[Tensor, " b"]) -> Float[Tensor, ""]:
    """Cross-entropy of "all background" over the empty slices; 0 if there is none."""
    entropy = -functional.log_softmax(logits.float(), 1)[:, 0].mean((1, 2))
    return total((entropy * empty).sum()) / total(empty.sum()).clamp_min(1)
