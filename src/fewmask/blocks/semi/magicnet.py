"""MagicNet's cubes (Chen and colleagues 2023): patches exchange cubes at equal places and are put
back together; and the network must tell where a cube of a shuffled patch came from. Their blending
of cube-wise pseudo-labels for small organs is left out.
"""

import itertools

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from fewmask.blocks.losses import masked_dice_ce
from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.ramp import sigmoid_ramp
from fewmask.blocks.semi.objective import (
    ObjectiveOutput,
    SemiObjective,
    disturb,
    follow,
    supervised,
    teacher_of,
)
from fewmask.core.batch import Labelled, Step, Unlabelled


class MagicCubes(SemiObjective):
    """Exchange of cubes between labelled and unlabelled patches, a teacher for the latter, and cube
    places to be guessed.
    """

    def __init__(
        self,
        student: VNet,
        cubes: int,
        weight: float,
        place_weight: float,
        decay: float,
        noise: float,
    ) -> None:
        """`cubes` per side of a patch, which must divide its grid at the student's bottom: else a
        mean would mix two cubes.
        """
        super().__init__()
        self.teacher = teacher_of(student)
        self.place = nn.Linear(student.bottom_channels, cubes**3)
        self._cubes, self._weight, self._place_weight, self._decay, self._noise = (
            cubes,
            weight,
            place_weight,
            decay,
            noise,
        )

    def losses(
        self, student: VNet, labelled: Labelled, unlabelled: Unlabelled, step: Step
    ) -> ObjectiveOutput:
        """`supervised` on whole patches, `mixed` and `pseudo` on those whose cubes were exchanged,
        `place` on shuffled ones.
        """
        known = len(labelled.image)
        image = torch.cat([labelled.image, unlabelled.image])
        rng = step.rng("cubes")
        owner = exchange(len(image), self._cubes, rng)
        logits = give_back(student(trade(image, owner, self._cubes)), owner, self._cubes)
        with torch.no_grad():
            target = self.teacher(disturb(unlabelled.image, self._noise)).argmax(1)
        found = masked_dice_ce(logits[known:], target)
        order = torch.from_numpy(np.stack([rng.permutation(self._cubes**3) for _ in image])).to(
            image.device
        )
        bottom = student.bottom(shuffle(image, order, self._cubes))
        per_cube = functional.adaptive_avg_pool3d(bottom, self._cubes).flatten(2).transpose(1, 2)
        guess = self.place(per_cube).float().flatten(0, 1)
        losses = {
            "supervised": supervised(student(labelled.image), labelled),
            "mixed": supervised(logits[:known], labelled),
            "pseudo": self._weight * sigmoid_ramp(step) * 0.5 * (found["ce"] + found["dice"]),
            "place": self._place_weight * functional.cross_entropy(guess, order.flatten()),
        }
        return ObjectiveOutput(losses, logits[known:])

    def after_step(self, student: VNet, step: Step) -> None:
        """Move the teacher."""
        follow(self.teacher, student, step, self._decay)


def places(shape: tuple[int, ...], cubes: int) -> list[tuple[slice, slice, slice]]:
    """The cubes of a patch (d, h, w), d slowest."""
    sides = [n // cubes for n in shape]
    corners = itertools.product(*([side * i for i in range(cubes)] for side in sides))
    return [
        tuple(slice(at, at + side) for at, side in zip(corner, sides, strict=True))  # type: ignore[misc]
        for corner in corners
    ]


def exchange(count: int, cubes: int, rng: np.random.Generator) -> Int[np.ndarray, "cube b"]:
    """Per cube a permutation of the batch: whose cube lands in patch b."""
    return np.stack([rng.permutation(count) for _ in range(cubes**3)])


def trade(
    x: Float[Tensor, "b c d h w"], owner: Int[np.ndarray, "cube b"], cubes: int
) -> Float[Tensor, "b c d h w"]:
    """Every patch with the cubes that `owner` gives it, each at its own place."""
    out = torch.empty_like(x)
    for place, row in zip(places(x.shape[2:], cubes), owner, strict=True):
        out[(..., *place)] = x[row.tolist()][(..., *place)]
    return out


def give_back(
    x: Float[Tensor, "b c d h w"], owner: Int[np.ndarray, "cube b"], cubes: int
) -> Float[Tensor, "b c d h w"]:
    """The inverse of `trade`."""
    return trade(x, np.argsort(owner, 1), cubes)


def shuffle(
    x: Float[Tensor, "b c d h w"], order: Int[Tensor, "b cube"], cubes: int
) -> Float[Tensor, "b c d h w"]:
    """Every patch with cube `order[b, i]` of itself at place i."""
    out, where = torch.empty_like(x), places(x.shape[2:], cubes)
    for row, one in enumerate(order.tolist()):
        for place, source in zip(where, one, strict=True):
            out[(row, slice(None), *place)] = x[(row, slice(None), *where[source])]
    return out
