"""The contract every method keeps, in one place: what a method file declares, what its network
can do, and what it may do besides (docs/design.md, "A method").
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.sam import Sam
from fewmask.blocks.semi import SemiObjective
from fewmask.core.batch import Batch, BatchSpec, Probabilities, Step, Task
from fewmask.core.config import Positive, Share

ConfidenceOver = Literal["all", "structures"]
"""All voxels of a scan, most of them background; or those that were called a structure."""


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
    steps_share: Share = 1.0
    """Of the run's steps; 1 = each stage takes them all."""
    init_from: str = ""
    """Earlier stage whose weights it continues from."""
    pseudo_labels_from: str = ""
    """Folder of pseudo-labels it learns from."""
    pseudo_labels_to: str = ""
    """Folder into which it labels scans when it is done: those without a granted mask."""
    labels_all: bool = False
    """It labels every training scan; what outlines and tags say is put in, and the rest cleaned."""
    labels_most: int = 0
    """Most scans that it then labels, those with outlines first; 0 = no bound."""
    online_teacher: str = ""
    """Earlier stage whose network labels every unlabelled patch in every step."""
    min_confidence: float = 0.0
    """Only scans whose mean confidence reaches this are labelled."""
    confidence_over: ConfidenceOver = "all"
    """Voxels whose mean that is."""
    skip_labelled_in: str = ""
    """Scans that have a label in this folder are not labelled again."""


@dataclass(frozen=True)
class MethodSpec:
    """Everything the rest of the package knows of a method before it is built. A method file ends
    with `METHOD = MethodSpec(...)`; a method from outside is registered by one.

    Raises `TypeError` for a config that is no frozen dataclass with defaults, and for an
    `inference_only` setting that it does not have.
    """

    config: type
    """A frozen dataclass of settings (default = the paper's number, one sentence under each
    field).
    """
    build: Callable[[Any, Task], "Method"] | None
    """From config and task to a fresh, untrained method; None for a program that is not ours."""
    stages: Callable[[Any], tuple[Stage, ...]] | None = None
    """The trainings in order, of which the last is the run itself; None for a single one."""
    inference_only: tuple[str, ...] = ()
    """Settings that no weight depends on: runs that differ in nothing else are trained once in a
    sweep.
    """
    objective: Callable[[Any, VNet, Task], SemiObjective] | None = None
    """How a V-Net learns from unlabelled patches, for methods that `cfr` can take as its `term`."""
    least_steps: int = 0
    """Fewest steps from which its rows in `experiments/rows` have usable masks (mean Dice 0.7 in
    some setting); training says so if it gets fewer. 0: not known.
    """

    def __post_init__(self) -> None:
        """Check what can be checked before anything is built."""
        if not is_dataclass(self.config) or not self.config.__dataclass_params__.frozen:  # type: ignore[attr-defined]
            raise TypeError(f"{self.config.__name__} is no frozen dataclass")
        unknown = set(self.inference_only) - {field.name for field in fields(self.config)}
        if unknown:
            raise TypeError(f"{self.config.__name__} has no setting {', '.join(sorted(unknown))}")

    @property
    def external(self) -> bool:
        """Is it a program that is not ours, with no network to build?"""
        return self.build is None


class Method(nn.Module, ABC):
    """A network (or several) with its losses and its prediction. Abstract or final: nobody
    subclasses a method. Parts come to the constructor ready-made.

    What only some methods can do is a type of its own: `Promptable`, `PresenceAware`, `HasSam`,
    `HasEncoder`.
    """

    batch_spec: BatchSpec
    note: str = ""
    """What a user should know before training starts."""
    any_size: bool = False
    """Slices may have any sides that 32 divides: a scan wider than the grid is seen in one piece.
    """
    one_network: bool = False
    """`predict` is one pass of a network, without gradients and prompts: other programs can run it
    (`predict/onnx.py`).
    """
    renew_norms: bool = False
    """After the last step, batch norms compute their means and variances again from all
    training scans.
    """
    learns_alone: str = "nobody has looked whether its losses allow it"
    """Why several processes cannot share its batch, as the end of a sentence; empty where they can:
    where the mean of its losses over equal shares is the loss of the whole (`blocks/team.py`).
    """
    clip_norm: Positive = 1.0
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


@runtime_checkable
class Promptable(Protocol):
    """A method of slices that can be given boxes: it has an oracle-box bound."""

    def segment(
        self, image: Float[Tensor, "b 1 h w"], boxes: Float[Tensor, "b k 4"]
    ) -> Probabilities:
        """`predict` with these boxes (x0, y0, x1, y1, pixel edges; NaN = no mask) instead of the
        model's own.
        """


@runtime_checkable
class PresenceAware(Protocol):
    """A method of slices that judges which structures a slice holds, and can be overruled."""

    neighbours: float
    """In log-odds, what every change between "holds it" and "does not" along a scan must be worth;
    0: slices are judged alone, or not at all.
    """

    def predict_present(
        self, image: Float[Tensor, "b 1 h w"], present: Bool[Tensor, "b k"]
    ) -> Probabilities:
        """`predict`, with what each image holds given."""


@runtime_checkable
class HasEncoder(Protocol):
    """A method whose encoder, not a SAM's, can start from published weights."""

    def load_encoder(self, tensors: Mapping[str, Tensor]) -> None:
        """Put the publisher's tensors in; the rest of the method stays as it is."""


class HasSam:
    """A method with a SAM: its weights can be pretrained, its embeddings kept while it is frozen,
    its encoder run by OpenVINO. Inherit it: `class Mine(Method, HasSam)`.
    """

    sam: Sam
    random_prefixes: tuple[str, ...] = ()
    """Beginnings of the names of weights in `sam` that pretrained files do not have: they stay
    random.
    """


BATCH_NORMS = "its batch norms see a process's own share of the batch only"
"""Why a method learns in one process, where it has any."""


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
