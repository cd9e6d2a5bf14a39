"""Cross pseudo supervision (Chen and colleagues 2021): two networks teach each other with their
hard answers.
"""

from torch.nn import functional

from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.ramp import sigmoid_ramp
from fewmask.blocks.semi.objective import ObjectiveOutput, SemiObjective, forward_both, supervised
from fewmask.core.batch import Labelled, Step, Unlabelled


class CrossPseudo(SemiObjective):
    """The student and a second network that began elsewhere."""

    def __init__(self, second: VNet, weight: float, joint: bool) -> None:
        """`second` has other random weights than the student; `joint`: see `answer`."""
        super().__init__()
        self.second = second
        self._weight, self._joint = weight, joint

    def losses(
        self, student: VNet, labelled: Labelled, unlabelled: Unlabelled, step: Step
    ) -> ObjectiveOutput:
        """`supervised` of both, `cross`: cross-entropy of each against the other's argmax on
        unlabelled patches.
        """
        known_one, free_one = forward_both(student, labelled.image, unlabelled.image, self._joint)
        known_two, free_two = forward_both(
            self.second, labelled.image, unlabelled.image, self._joint
        )
        one, two = free_one.float(), free_two.float()
        cross = functional.cross_entropy(one, two.argmax(1)) + functional.cross_entropy(
            two, one.argmax(1)
        )
        losses = {
            "supervised": supervised(known_one, labelled) + supervised(known_two, labelled),
            "cross": self._weight * sigmoid_ramp(step) * cross,
        }
        return ObjectiveOutput(losses, free_one)
