"""What an objective is, the supervised loss that all share, and the moving-average teacher."""

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewmask.blocks.average import move_all
from fewmask.blocks.losses import masked_dice_ce
from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.team import my_rows
from fewmask.core.batch import Labelled, Step, Unlabelled


@dataclass(frozen=True)
class ObjectiveOutput:
    """Losses of a batch, and what was computed on the way."""

    losses: dict[str, Tensor]
    """Named, weighted."""
    unlabelled: Float[Tensor, "b c d h w"] | None = None
    """The student's logits on the unlabelled patches, if they were computed on the way."""


class SemiObjective(nn.Module, ABC):
    """All losses of a training step, given the student; other networks that it needs are its own
    parts.
    """

    learns_alone: str = "nobody has looked whether its losses allow it"
    """Why several processes cannot share its batch; empty where they can, as in `Method`."""

    @abstractmethod
    def losses(
        self, student: VNet, labelled: Labelled, unlabelled: Unlabelled, step: Step
    ) -> ObjectiveOutput:
        """Losses of a batch, the supervised one included; `unlabelled` has no patches where the
        method asks for none.
        """

    def after_step(self, student: VNet, step: Step) -> None:
        """Called after each optimiser step."""
        return


class Supervised(SemiObjective):
    """Nothing but the labelled patches."""

    learns_alone = ""

    def losses(
        self, student: VNet, labelled: Labelled, unlabelled: Unlabelled, step: Step
    ) -> ObjectiveOutput:
        """`supervised`."""
        return ObjectiveOutput({"supervised": supervised(student(labelled.image), labelled)})


def supervised(logits: Float[Tensor, "b c d h w"], labelled: Labelled) -> Float[Tensor, ""]:
    """(cross-entropy + Dice) / 2 on reviewed voxels (R9)."""
    losses = masked_dice_ce(logits, labelled.mask)
    return 0.5 * (losses["ce"] + losses["dice"])


def forward_both(
    network: VNet,
    labelled: Float[Tensor, "b 1 d h w"],
    unlabelled: Float[Tensor, "b2 1 d h w"],
    joint: bool,
) -> tuple[Float[Tensor, "b c d h w"], Float[Tensor, "b2 c d h w"]]:
    """Logits of the labelled and of the unlabelled patches, each half with a pass of its own, or
    `joint`.

    In a joint pass, as in the literature's code, batch norms mix the halves: what is learned from
    labels then holds beside the unlabelled patches only, and not for a scan alone
    (docs/results/ablations-3d.md).
    """
    if not joint:
        return network(labelled), network(unlabelled)
    logits = network(torch.cat([labelled, unlabelled]))
    return logits[: len(labelled)], logits[len(labelled) :]


def teacher_of(student: VNet) -> VNet:
    """A copy that does not learn by gradients."""
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def follow(teacher: VNet, student: VNet, step: Step, decay: float) -> None:
    """Teacher = moving average of the student; plain average in the first steps, min(1 - 1/(i + 1),
    decay) (Tarvainen 2017).

    Statistics of batch norm are copied: as released they are the teacher's own, from its noisy
    inputs (R9).
    """
    keep = min(1 - 1 / (step.index + 1), decay)
    move_all(list(teacher.parameters()), list(student.parameters()), keep)
    for copy_of, statistic in zip(teacher.buffers(), student.buffers(), strict=True):
        copy_of.copy_(statistic)


def disturb(image: Float[Tensor, "b 1 d h w"], std: float) -> Float[Tensor, "b 1 d h w"]:
    """Gaussian noise, clipped at twice its standard deviation; from torch's generator, which
    training sets per step.
    """
    drawn = my_rows(lambda n: torch.randn_like(_like(image, n)), len(image))
    return image + (drawn * std).clamp(-2 * std, 2 * std)


def _like(image: Float[Tensor, "b 1 d h w"], n: int) -> Float[Tensor, "n 1 d h w"]:
    """A batch of `n` such patches, whatever is in them."""
    return image if n == len(image) else image.new_empty(n, *image.shape[1:])
