"""Cross pseudo supervision (Chen and colleagues 2021): two networks teach each other with their hard answers."""

import torch
from torch.nn import functional

from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.ramp import sigmoid_ramp
from fewmask.blocks.semi.term import Outcome, Term, supervised
from fewmask.core.batch import Labelled, Step, Unlabelled


class CrossPseudo(Term):
    """The student and a second network that began elsewhere."""

    def __init__(self, second: VNet, weight: float) -> None:
        """`second` has other random weights than the student."""
        super().__init__()
        self.second = second
        self._weight = weight

    def losses(self, student: VNet, labelled: Labelled, unlabelled: Unlabelled, step: Step) -> Outcome:
        """`supervised` of both, `cross`: cross-entropy of each against the other's argmax on unlabelled patches."""
        known = len(labelled.image)
        image = torch.cat([labelled.image, unlabelled.image])
        one, two = student(image), self.second(image)
        rest_one, rest_two = one[known:].float(), two[known:].float()
        cross = functional.cross_entropy(rest_one, rest_two.argmax(1)) + functional.cross_entropy(rest_two, rest_one.argmax(1))
        losses = {
            "supervised": supervised(one[:known], labelled) + supervised(two[:known], labelled),
            "cross": self._weight * sigmoid_ramp(step) * cross,
        }
        return Outcome(losses, one[known:])
