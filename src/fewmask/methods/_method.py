"""The contract every method keeps (docs/design.md, "A method")."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewmask.core.batch import Batch, BatchSpec, Probabilities, Step


@dataclass(frozen=True)
class Stage:
    """One training of a method that has several; each leaves a run folder of its own inside the
    run's.
    """

    name: str
    """Its folder; empty for the last stage, which is the run itself."""
    method: str
    config: Any
    share: float
    """Of the run's minutes."""
    init_from: str = ""
    """Earlier stage whose weights it continues from."""
    pseudo_labels_from: str = ""
    """Folder of pseudo-labels it learns from."""
    pseudo_labels_to: str = ""
    """Folder into which it labels the unlabelled scans when it is done."""
    online_teacher: str = ""
    """Earlier stage whose network labels every unlabelled patch in every step."""
    min_confidence: float = 0.0
    """Only scans whose mean confidence reaches this are labelled."""
    skip_labelled_in: str = ""
    """Scans that have a label in this folder are not labelled again."""


class Method(nn.Module, ABC):
    """A network (or several) with its losses and its prediction. Abstract or final: nobody
    subclasses a method.

    A method file holds a frozen dataclass `Config` (default = the paper's number, one sentence
    under each field) and `build(config, task) -> Method`. Parts come to the constructor ready-made.
    """

    batch_spec: BatchSpec
    promptable: ClassVar[bool] = False
    """True if the method has `segment(image, boxes)` for the oracle-box bound."""
    neighbours: float = 0.0
    """In log-odds, what every change between "holds it" and "does not" along a scan must be worth;
    0: slices are judged alone.

    Methods with it have `predict_present(image, present)`: `predict`, with what each image holds
    given (b, k).
    """
    note: str = ""
    """What a user should know before training starts."""
    random_prefixes: tuple[str, ...] = ()
    """Beginnings of the names of weights in `sam` that pretrained files do not have: they stay
    random.
    """
    renew_norms: bool = False
    """After the last step, batch norms compute their means and variances again from all
    training scans.
    """
    clip_norm: float = 1.0
    """Largest norm of all gradients together; larger ones are scaled down to it."""

    @abstractmethod
    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Named, weighted scalar losses; the loop adds them up. Each moves at least one weight."""

    @abstractmethod
    def predict(self, image: Float[Tensor, "b 1 *space"]) -> Probabilities:
        """Probabilities for images in [0, 1]. No label can enter. Called in eval mode."""

    @abstractmethod
    def optimiser(self) -> torch.optim.Optimizer:
        """The optimiser over the trainable weights."""

    def schedule(self, step: Step) -> float:
        """Factor on the learning rates at this step."""
        return 1.0

    def after_step(self, step: Step) -> None:
        """Called after each optimiser step, e.g. to move an EMA teacher."""


def grouped(network: nn.Module, *apart: dict[str, Any]) -> list[dict[str, Any]]:
    """An optimiser's groups: whatever learns and stands in none of `apart`, then those, each with
    settings of its own.
    """
    known = {id(weight) for group in apart for weight in group["params"]}
    rest = [
        weight
        for weight in network.parameters()
        if weight.requires_grad and id(weight) not in known
    ]
    return [{"params": rest}, *apart]
