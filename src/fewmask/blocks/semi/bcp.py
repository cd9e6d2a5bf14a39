"""Bidirectional copy-paste (Bai and colleagues 2023): labelled boxes in unlabelled patches and the
reverse.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer
from scipy import ndimage
from torch import Tensor

from fewmask.blocks.losses import masked_dice_ce
from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.semi.objective import ObjectiveOutput, SemiObjective, follow, teacher_of
from fewmask.core.batch import IGNORE, Labelled, Step, Unlabelled


class CopyPaste(SemiObjective):
    """First the network learns from pairs of labelled patches pasted into each other, then from
    labelled-unlabelled pairs.
    """

    learns_alone = "it pastes patches of the whole batch into each other"

    def __init__(
        self, student: VNet, weight: float, decay: float, first: float, side: float
    ) -> None:
        """`weight` of the unlabelled part, `first` = part of training without unlabelled patches,
        `side` of the pasted box.
        """
        super().__init__()
        self.teacher = teacher_of(student)
        self._weight, self._decay, self._first, self._side = weight, decay, first, side

    def losses(
        self, student: VNet, labelled: Labelled, unlabelled: Unlabelled, step: Step
    ) -> ObjectiveOutput:
        """`supervised` on pasted labelled pairs; later `inward` and `outward`, each with its
        unlabelled part at `weight`.
        """
        image, mask = labelled.image, labelled.mask
        inside = paste_box(mask.shape[1:], self._side, step.rng("box")).to(image.device)
        if step.fraction < self._first:
            pasted = torch.where(inside, image, image.roll(1, 0))
            found = masked_dice_ce(student(pasted), torch.where(inside, mask, mask.roll(1, 0)))
            return ObjectiveOutput({"supervised": 0.5 * (found["ce"] + found["dice"])})
        other = unlabelled.image
        count = min(len(image), len(other))
        image, mask, other = image[:count], mask[:count], other[:count]
        target = self._label(other)
        # One pass over both directions: unlabelled boxes in labelled patches, labelled boxes in
        # unlabelled patches.
        inward, outward = torch.where(inside, other, image), torch.where(inside, image, other)
        logits = student(torch.cat([inward, outward]))
        return ObjectiveOutput(
            {
                "inward": self._mixed(logits[:count], mask, target, ~inside),
                "outward": self._mixed(logits[count:], mask, target, inside),
            }
        )

    def after_step(self, student: VNet, step: Step) -> None:
        """The teacher is the student until unlabelled patches come, then its moving average."""
        if (step.index + 1) / max(1, step.total) < self._first:
            self.teacher.load_state_dict(student.state_dict())
        else:
            follow(self.teacher, student, step, self._decay)

    def _mixed(
        self,
        logits: Float[Tensor, "b c d h w"],
        mask: Int[Tensor, "b d h w"],
        target: Int[Tensor, "b d h w"],
        known: Tensor,
    ) -> Float[Tensor, ""]:
        """(cross-entropy + Dice) / 2 of the labelled voxels, plus that of the others with their
        weight.
        """
        true = masked_dice_ce(logits, torch.where(known, mask, IGNORE))
        pseudo = masked_dice_ce(logits, torch.where(known, IGNORE, target))
        return 0.5 * (true["ce"] + true["dice"] + self._weight * (pseudo["ce"] + pseudo["dice"]))

    @torch.no_grad()
    def _label(self, image: Float[Tensor, "b 1 d h w"]) -> Int[Tensor, "b d h w"]:
        """The teacher's label maps, of every class its largest connected part."""
        labels = self.teacher(image).argmax(1).to(torch.uint8)  # an eighth of the bytes to carry
        kept = np.stack([largest_parts(patch) for patch in labels.numpy(force=True)])
        return torch.from_numpy(kept).to(image.device).long()


def paste_box(
    shape: tuple[int, ...], side: float, rng: np.random.Generator
) -> Bool[Tensor, "d h w"]:
    """True in a box with this part of every side, at a random place."""
    inside = torch.zeros(tuple(shape), dtype=torch.bool)
    sizes = [max(1, round(side * n)) for n in shape]
    starts = [int(rng.integers(0, n - size + 1)) for n, size in zip(shape, sizes, strict=True)]
    box = tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
    inside[box] = True
    return inside


def largest_parts(labels: Integer[np.ndarray, "d h w"]) -> Integer[np.ndarray, "d h w"]:
    """Of every class but the background its largest face-connected part; the rest becomes
    background.
    """
    kept = np.zeros_like(labels)
    for index, box in enumerate(ndimage.find_objects(labels), 1):
        if box is not None:
            parts, _ = ndimage.label(labels[box] == index)
            kept[box][parts == 1 + np.bincount(parts.ravel())[1:].argmax()] = index
    return kept
