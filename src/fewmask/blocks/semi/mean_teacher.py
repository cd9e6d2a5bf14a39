"""Mean teacher (Tarvainen and Valpola 2017) and two that choose where the student must agree: UA-MT
and AC-MT.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.ramp import sigmoid_ramp
from fewmask.blocks.semi.objective import (
    ObjectiveOutput,
    SemiObjective,
    disturb,
    follow,
    forward_both,
    supervised,
    teacher_of,
)
from fewmask.core.batch import Labelled, Step, Unlabelled


def entropy(probs: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b d h w"]:
    """Per voxel, in bits: 0 certain, 1 in doubt between two classes (whatever c is), log2(c) if all
    c classes are alike.
    """
    return -(probs * (probs + 1e-6).log2()).sum(1)


@runtime_checkable
class Choice(Protocol):
    """Where the consistency counts."""

    def where(
        self,
        teacher: VNet,
        image: Float[Tensor, "b 1 d h w"],
        probs: Float[Tensor, "b c d h w"],
        noise: float,
        step: Step,
    ) -> Float[Tensor, "b d h w"]:
        """Weights in [0, 1], without gradient; `probs` is the student's answer."""


@dataclass(frozen=True)
class UniformWeighting:
    """Plain mean teacher."""

    def where(
        self, teacher: VNet, image: Tensor, probs: Tensor, noise: float, step: Step
    ) -> Tensor:
        """All voxels."""
        return torch.ones_like(probs[:, 0])


@dataclass(frozen=True)
class LowEntropyWeighting:
    """UA-MT (Yu and colleagues 2019): voxels of whose mean answer over several noisy passes the
    teacher is sure.
    """

    passes: int = 8
    low: float = 0.75
    high: float = 1.0
    """Bounds of the threshold on the entropy, in bits; it rises from low to high."""

    def where(
        self, teacher: VNet, image: Tensor, probs: Tensor, noise: float, step: Step
    ) -> Tensor:
        """Entropy of the mean below the threshold."""
        mean = torch.zeros_like(probs)
        for _ in range(self.passes):
            mean += torch.softmax(teacher(disturb(image, noise)).float(), 1) / self.passes
        return (entropy(mean) < self.low + (self.high - self.low) * sigmoid_ramp(step)).float()


@dataclass(frozen=True)
class HighEntropyWeighting:
    """AC-MT (Xu and colleagues 2023), entropy variant: voxels of which the student is not sure; the
    rest says nothing new.
    """

    low: float = 0.75
    high: float = 0.95
    """Bounds of the threshold on the entropy, in bits; it rises from low to high."""

    def where(
        self, teacher: VNet, image: Tensor, probs: Tensor, noise: float, step: Step
    ) -> Tensor:
        """Entropy of the student's answer above the threshold. A step has no gradient: looking sure
        is not rewarded.
        """
        return (entropy(probs) > self.low + (self.high - self.low) * sigmoid_ramp(step)).float()


class MeanTeacher(SemiObjective):
    """The student agrees with its moving average, which sees the patch with noise."""

    def __init__(
        self,
        student: VNet,
        choice: Choice,
        weight: float,
        decay: float,
        noise: float,
        labelled_too: bool,
        joint: bool,
    ) -> None:
        """`labelled_too`: the consistency also counts on labelled patches (as CFR was run);
        `joint`: see `answer`.
        """
        super().__init__()
        self.teacher = teacher_of(student)
        self._choice, self._weight, self._decay, self._noise = choice, weight, decay, noise
        self._both, self._joint = labelled_too, joint

    def losses(
        self, student: VNet, labelled: Labelled, unlabelled: Unlabelled, step: Step
    ) -> ObjectiveOutput:
        """`supervised`, `consistency` (mean squared error of softmaxes over the chosen voxels)."""
        known, free = forward_both(student, labelled.image, unlabelled.image, self._joint)
        passes = [(labelled.image, known), (unlabelled.image, free)][0 if self._both else 1 :]
        if self._joint:
            passes = [
                (
                    torch.cat([image for image, _ in passes]),
                    torch.cat([logits for _, logits in passes]),
                )
            ]
        errors, wheres = zip(
            *(self._compare(image, logits, step) for image, logits in passes), strict=True
        )
        error, where = torch.cat(errors), torch.cat(wheres)
        losses = {
            "supervised": supervised(known, labelled),
            "consistency": self._weight
            * sigmoid_ramp(step)
            * (error * where).sum()
            / where.sum().clamp_min(1),
        }
        return ObjectiveOutput(losses, free)

    def after_step(self, student: VNet, step: Step) -> None:
        """Move the teacher."""
        follow(self.teacher, student, step, self._decay)

    def _compare(
        self, image: Float[Tensor, "b 1 d h w"], logits: Float[Tensor, "b c d h w"], step: Step
    ) -> tuple[Float[Tensor, "b d h w"], Float[Tensor, "b d h w"]]:
        """Squared error to the teacher and its weight, per voxel; the teacher sees these patches in
        one pass.
        """
        probs = torch.softmax(logits.float(), 1)
        with torch.no_grad():
            target = torch.softmax(self.teacher(disturb(image, self._noise)).float(), 1)
            where = self._choice.where(self.teacher, image, probs, self._noise, step)
        return ((probs - target) ** 2).mean(1), where
