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

    # Two processes were 4e-5 apart after three steps, fifty times as much as with soft labels.
    learns_alone = "its networks copy each other's hard labels, which rounding changes"

    def __init__(self, second: VNet, weight: float, joint: bool) -> None:
        """`second` has other random weights than the student; `joint`: see `forward_both`."""
        super().__init__()
        self.second = second
        self._weight, self._joint = weight, joint

    def losses(
        self, student: VNet, labelled: Labelled, unlabelled: Unlabelled, step: Step
    ) -> ObjectiveOutput:
        """`supervised` of both, `cross`: cross-entropy of each against the other's argmax on
        unlabelled patches.
        """
        images = labelled.image, unlabelled.image
        known, free = forward_both(student, *images, self._joint)
        known_second, free_second = forward_both(self.second, *images, self._joint)
        logits, logits_second = free.float(), free_second.float()
        to_student = functional.cross_entropy(logits, logits_second.argmax(1))
        to_second = functional.cross_entropy(logits_second, logits.argmax(1))
        losses = {
            "supervised": supervised(known, labelled) + supervised(known_second, labelled),
            "cross": self._weight * sigmoid_ramp(step) * (to_student + to_second),
        }
        return ObjectiveOutput(losses, free)
