"""Mean teacher (Tarvainen and Valpola 2017) and two that weigh where the student must agree: UA-MT
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
from fewmask.blocks.team import total
from fewmask.core.batch import Labelled, Step, Unlabelled


def entropy(probs: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b d h w"]:
    """Per voxel, in bits: 0 certain, 1 in doubt between two classes (whatever c is), log2(c) if all
    c classes are alike.
    """
    return -(probs * (probs + 1e-6).log2()).sum(1)


@runtime_checkable
class VoxelWeighting(Protocol):
    """Where the consistency counts."""

    def weights(
        self,
        teacher: VNet,
        image: Float[Tensor, "b 1 d h w"],
        probs: Float[Tensor, "b c d h w"],
        noise: float,
        step: Step,
    ) -> Float[Tensor, "b d h w"]:
        """Weights in [0, 1], without gradient; `probs` is the student's softmax."""


@dataclass(frozen=True)
class UniformWeighting:
    """Plain mean teacher."""

    def weights(
        self, teacher: VNet, image: Tensor, probs: Tensor, noise: float, step: Step
    ) -> Tensor:
        """All voxels."""
        return torch.ones_like(probs[:, 0])


@dataclass(frozen=True)
class LowEntropyWeighting:
    """UA-MT (Yu and colleagues 2019): voxels where the mean of several noisy passes of the teacher
    has a low entropy.
    """

    passes: int = 8
    low: float = 0.75
    high: float = 1.0
    """Bounds of the threshold on the entropy, in bits; it rises from low to high."""

    def weights(
        self, teacher: VNet, image: Tensor, probs: Tensor, noise: float, step: Step
    ) -> Tensor:
        """Entropy of the mean below the threshold."""
        mean = torch.zeros_like(probs)
        for _ in range(self.passes):
            mean += torch.softmax(teacher(disturb(image, noise)).float(), 1) / self.passes
        return (entropy(mean) < _threshold(self.low, self.high, step)).float()


@dataclass(frozen=True)
class HighEntropyWeighting:
    """AC-MT (Xu and colleagues 2023), entropy variant: voxels of which the student is not sure; the
    rest says nothing new.
    """

    low: float = 0.75
    high: float = 0.95
    """Bounds of the threshold on the entropy, in bits; it rises from low to high."""

    def weights(
        self, teacher: VNet, image: Tensor, probs: Tensor, noise: float, step: Step
    ) -> Tensor:
        """Entropy of the student's softmax above the threshold. A comparison has no gradient:
        looking sure is not rewarded.
        """
        return (entropy(probs) > _threshold(self.low, self.high, step)).float()


def _threshold(low: float, high: float, step: Step) -> float:
    """In bits; rises from low to high."""
    return low + (high - low) * sigmoid_ramp(step)


class MeanTeacher(SemiObjective):
    """The student agrees with its moving average, which sees the patch with noise."""

    learns_alone = ""

    def __init__(
        self,
        student: VNet,
        weighting: VoxelWeighting,
        weight: float,
        decay: float,
        noise: float,
        labelled_too: bool,
        joint: bool,
    ) -> None:
        """`labelled_too`: the consistency also counts on labelled patches (as CFR was run);
        `joint`: see `forward_both`.
        """
        super().__init__()
        self.teacher = teacher_of(student)
        self._weighting = weighting
        self._weight, self._decay, self._noise = weight, decay, noise
        self._labelled_too, self._joint = labelled_too, joint

    def losses(
        self, student: VNet, labelled: Labelled, unlabelled: Unlabelled, step: Step
    ) -> ObjectiveOutput:
        """`supervised`, `consistency` (mean squared error of softmaxes, weighted per voxel)."""
        known, free = forward_both(student, labelled.image, unlabelled.image, self._joint)
        images, logits = [unlabelled.image], [free]
        if self._labelled_too:
            images, logits = [labelled.image, *images], [known, *logits]
        if self._joint:
            # One pass of the teacher as well: its batch norms mix the halves as the student's do.
            images, logits = [torch.cat(images)], [torch.cat(logits)]
        compared = [self._compare(*half, step) for half in zip(images, logits, strict=True)]
        error = torch.cat([errors for errors, _ in compared])
        weights = torch.cat([weights for _, weights in compared])
        rising = self._weight * sigmoid_ramp(step)
        losses = {
            "supervised": supervised(known, labelled),
            "consistency": rising
            * total((error * weights).sum())
            / total(weights.sum()).clamp_min(1),
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
            weights = self._weighting.weights(self.teacher, image, probs, self._noise, step)
        return ((probs - target) ** 2).mean(1), weights
