"""Self-training: a frozen copy of the student labels the unlabelled patches; it is renewed a few
times.
"""

import torch

from fewmask.blocks.losses import masked_dice_ce
from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.semi.objective import (
    ObjectiveOutput,
    SemiObjective,
    forward_both,
    supervised,
    teacher_of,
)
from fewmask.core.batch import Labelled, Step, Unlabelled


class SelfTraining(SemiObjective):
    """The first part of training is supervised; at the start of every further part the student
    becomes the teacher.
    """

    learns_alone = ""

    def __init__(self, student: VNet, rounds: int, weight: float, joint: bool) -> None:
        """`rounds` of pseudo-labels: training has one part more; `joint`: see `forward_both`."""
        super().__init__()
        self.teacher = teacher_of(student)
        self._parts, self._weight, self._joint = rounds + 1, weight, joint

    def losses(
        self, student: VNet, labelled: Labelled, unlabelled: Unlabelled, step: Step
    ) -> ObjectiveOutput:
        """`supervised`; from the second part on `pseudo` against the teacher's argmax."""
        if self._part(step.index, step) == 0:
            return ObjectiveOutput({"supervised": supervised(student(labelled.image), labelled)})
        known, free = forward_both(student, labelled.image, unlabelled.image, self._joint)
        was_training = self.teacher.training
        with torch.no_grad():
            target = self.teacher.eval()(unlabelled.image).argmax(1)
        self.teacher.train(was_training)
        found = masked_dice_ce(free, target)
        losses = {
            "supervised": supervised(known, labelled),
            "pseudo": self._weight * 0.5 * (found["ce"] + found["dice"]),
        }
        return ObjectiveOutput(losses, free)

    def after_step(self, student: VNet, step: Step) -> None:
        """Renew the teacher where a part ends."""
        if self._part(step.index + 1, step) > self._part(step.index, step):
            self.teacher.load_state_dict(student.state_dict())

    def _part(self, index: int, step: Step) -> int:
        return min(self._parts - 1, index * self._parts // max(1, step.total))
