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

    learns_alone = "patches of the whole batch exchange cubes"

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
        self._cubes = cubes
        self._weight, self._place_weight = weight, place_weight
        self._decay, self._noise = decay, noise

    def losses(
        self, student: VNet, labelled: Labelled, unlabelled: Unlabelled, step: Step
    ) -> ObjectiveOutput:
        """`supervised` on whole patches, `mixed` and `pseudo` on those whose cubes were exchanged,
        `place` on shuffled ones.
        """
        known = len(labelled.image)
        image = torch.cat([labelled.image, unlabelled.image])
        rng = step.rng("cubes")
        source = draw_exchange(len(image), self._cubes, rng)
        logits = restore_cubes(
            student(exchange_cubes(image, source, self._cubes)), source, self._cubes
        )
        with torch.no_grad():
            target = self.teacher(disturb(unlabelled.image, self._noise)).argmax(1)
        pseudo = masked_dice_ce(logits[known:], target)
        orders = np.stack([rng.permutation(self._cubes**3) for _ in image])
        order = torch.from_numpy(orders).to(image.device)
        guess = self._guess_places(student, shuffle_cubes(image, order, self._cubes))
        losses = {
            "supervised": supervised(student(labelled.image), labelled),
            "mixed": supervised(logits[:known], labelled),
            "pseudo": self._weight * sigmoid_ramp(step) * 0.5 * (pseudo["ce"] + pseudo["dice"]),
            "place": self._place_weight * functional.cross_entropy(guess, order.flatten()),
        }
        return ObjectiveOutput(losses, logits[known:])

    def _guess_places(
        self, student: VNet, shuffled: Float[Tensor, "b 1 d h w"]
    ) -> Float[Tensor, "bn n"]:
        """Per cube of every patch, logits of the n places it may have come from."""
        bottom = student.bottom(shuffled)
        per_cube = functional.adaptive_avg_pool3d(bottom, self._cubes).flatten(2).transpose(1, 2)
        logits: Float[Tensor, "bn n"] = self.place(per_cube).float().flatten(0, 1)
        return logits

    def after_step(self, student: VNet, step: Step) -> None:
        """Move the teacher."""
        follow(self.teacher, student, step, self._decay)


def places(shape: tuple[int, ...], cubes: int) -> list[tuple[slice, slice, slice]]:
    """The cubes of a patch (d, h, w), d slowest."""
    d, h, w = (n // cubes for n in shape)
    found = []
    for i, j, k in itertools.product(range(cubes), repeat=3):
        found.append(
            (
                slice(d * i, d * (i + 1)),
                slice(h * j, h * (j + 1)),
                slice(w * k, w * (k + 1)),
            )
        )
    return found


def draw_exchange(count: int, cubes: int, rng: np.random.Generator) -> Int[np.ndarray, "cube b"]:
    """From which patch of the batch each cube of patch b is taken: one permutation of the batch per
    place.
    """
    # A permutation per place: a cube changes the patch but not its place, no cube is lost or shown
    # twice, and so the exchange can be undone.
    return np.stack([rng.permutation(count) for _ in range(cubes**3)])


def exchange_cubes(
    x: Float[Tensor, "b c d h w"], source: Int[np.ndarray, "cube b"], cubes: int
) -> Float[Tensor, "b c d h w"]:
    """Every patch put together of the cubes of the patches that `source` names, each at its own
    place.
    """
    out = torch.empty_like(x)
    # Place by place: row b of `out` gets the cube of row `patches[b]` of `x`. The network then sees
    # labelled anatomy beside unlabelled anatomy, while every voxel stays where it was, so that
    # labels and pseudo-labels of whole patches still fit once the logits are put back.
    for (d, h, w), patches in zip(places(x.shape[2:], cubes), source, strict=True):
        out[:, :, d, h, w] = x[patches.tolist()][:, :, d, h, w]
    return out


def restore_cubes(
    x: Float[Tensor, "b c d h w"], source: Int[np.ndarray, "cube b"], cubes: int
) -> Float[Tensor, "b c d h w"]:
    """The inverse of `exchange_cubes`: `argsort` of a permutation is its inverse."""
    return exchange_cubes(x, np.argsort(source, 1), cubes)


def shuffle_cubes(
    x: Float[Tensor, "b c d h w"], order: Int[Tensor, "b cube"], cubes: int
) -> Float[Tensor, "b c d h w"]:
    """Every patch with cube `order[b, i]` of itself at place i."""
    out, grid = torch.empty_like(x), places(x.shape[2:], cubes)
    for row, sources in enumerate(order.tolist()):
        for place, source in zip(grid, sources, strict=True):
            out[(row, slice(None), *place)] = x[(row, slice(None), *grid[source])]
    return out
