"""What the loop can train: a method on batches of a prepared dataset, or SAM on procedural
images.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fewmask.blocks.ramp import warm_cosine
from fewmask.blocks.sam import Sam
from fewmask.core.batch import Batch, Step
from fewmask.core.errors import BadCheckpoint
from fewmask.data.pending import apply_pending
from fewmask.io.tables import read_csv, write_csv
from fewmask.io.text import expecting
from fewmask.methods._method import Method
from fewmask.synth.prompt import Questions
from fewmask.training.pretrain import (
    PretrainConfig,
    answer_losses,
    draw_questions,
    fresh_sam,
    score_held_out,
)
from fewmask.training.stages import Label

ReadLosses = Callable[[], Mapping[str, float]]


@runtime_checkable
class Job(Protocol):
    """One training as the loop sees it. Everything is a pure function of weights, seed and step."""

    optimiser: torch.optim.Optimizer
    rates: list[float]
    """Learning rate of each group of the optimiser where `lr_factor` is 1."""
    clip_norm: float
    """Largest norm of all gradients together."""
    total: int
    """Steps."""
    seed: int
    device: torch.device
    bf16: bool
    fp16: bool
    memory_advice: ClassVar[str]
    """What to change where memory does not suffice."""
    number_advice: ClassVar[str]
    """What to change where a loss or gradient is not a number."""

    @property
    def network(self) -> nn.Module:
        """What is trained; its `state_dict` is saved, beside the optimiser's moments."""

    def batch(self, index: int) -> Any:
        """What step `index` learns from, on the device."""

    def losses(self, batch: Any, step: Step) -> dict[str, Tensor]:
        """Named scalar losses; their sum is what is minimised."""

    def lr_factor(self, step: Step) -> float:
        """Factor on the learning rates at this step."""

    def after_step(self, step: Step) -> None:
        """Called once the optimiser has moved the weights."""

    def after_steps(self, done: int, losses: ReadLosses) -> None:
        """Called when `done` steps are done; `losses` reads those of the last one."""

    def describe(self, index: int) -> str:
        """What step `index` learns from, in words."""


@dataclass
class MethodJob:
    """A method learns from batches of a prepared dataset."""

    network: Method
    batches: Callable[[int], Batch]
    """A loader's: the batch of a step."""
    total: int
    seed: int
    device: torch.device
    bf16: bool
    label: Label | None = None
    """Labels a batch's unlabelled patches."""
    fp16: bool = False
    share: Callable[[Batch], Batch] = lambda batch: batch
    """The items that this process learns from, of those of the step."""
    optimiser: torch.optim.Optimizer = field(init=False)
    rates: list[float] = field(init=False)
    clip_norm: float = field(init=False)

    memory_advice: ClassVar[str] = "make `labelled` and `weak` smaller"
    number_advice: ClassVar[str] = "try a tenth of this lr, or `fewmask check` on these cases"

    def __post_init__(self) -> None:
        """Move the network to the device, then make its optimiser."""
        self.network = self.network.to(self.device)
        self.optimiser = self.network.optimiser()
        self.rates = [float(group["lr"]) for group in self.optimiser.param_groups]
        self.clip_norm = self.network.clip_norm

    def batch(self, index: int) -> Batch:
        """The batch of the step, augmented, with labels if an earlier stage gives them in every
        step.
        """
        batch = self.share(apply_pending(self.batches(index).to(self.device)))
        return batch if self.label is None else self.label(batch)

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """The method's."""
        return self.network.losses(batch, step)

    def lr_factor(self, step: Step) -> float:
        """The method's schedule."""
        return self.network.schedule(step)

    def after_step(self, step: Step) -> None:
        """The method's, e.g. to move an EMA teacher."""
        self.network.after_step(step)

    def after_steps(self, done: int, losses: ReadLosses) -> None:
        """Nothing: a method is scored when it is trained."""

    def describe(self, index: int) -> str:
        """Cases and slices by stream."""
        names = self.batches(index).names
        return "slices: " + "; ".join(f"{name} {' '.join(items)}" for name, items in names.items())


@dataclass
class PretrainJob:
    """SAM learns to answer prompts on procedural images."""

    config: PretrainConfig
    device: torch.device
    bf16: bool
    scores: Path
    """Table that gets a row of scores on held-out images ..."""
    score_every: int
    """... every so many steps, and after the last."""
    fp16: bool = False
    network: Sam = field(init=False)
    optimiser: torch.optim.Optimizer = field(init=False)
    rates: list[float] = field(init=False)
    clip_norm: float = field(init=False)
    total: int = field(init=False)
    seed: int = field(init=False)

    memory_advice: ClassVar[str] = "make `pixels` and `targets` smaller"
    number_advice: ClassVar[str] = "try half of this lr"

    def __post_init__(self) -> None:
        """A fresh SAM and its AdamW."""
        self.network = fresh_sam(self.config).to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            self.config.lr,
            betas=(0.9, 0.98),
            weight_decay=self.config.weight_decay,
        )
        self.rates = [self.config.lr]
        self.clip_norm = self.config.clip_norm
        self.total, self.seed = self.config.steps, self.config.seed

    def batch(self, index: int) -> Questions:
        """Images and prompts of the step."""
        step = Step(index, self.total, self.seed)
        return draw_questions(self.config, step, self.device, self.network.patch)

    def losses(self, batch: Questions, step: Step) -> dict[str, Tensor]:
        """SAM's losses on what was asked."""
        return answer_losses(self.network, batch)

    def lr_factor(self, step: Step) -> float:
        """Warm-up, then cosine."""
        return warm_cosine(step, self.config.warmup)

    def after_step(self, step: Step) -> None:
        """Nothing."""

    def after_steps(self, done: int, losses: ReadLosses) -> None:
        """Score now and then."""
        if done % self.score_every and done != self.total:
            return
        numbers = {**score_held_out(self.network, self.device, self.bf16), **losses()}
        row = {"step": str(done), **{name: f"{value:.4f}" for name, value in numbers.items()}}
        # A step that is done again after a kill is scored again.
        before = read_csv(self.scores, ["step"]) if self.scores.exists() else []
        with expecting(self.scores, kind=BadCheckpoint):
            kept = [one for one in before if int(one["step"]) < done]
        write_csv(self.scores, list(row), [*kept, row])

    def describe(self, index: int) -> str:
        """How many images of which size, and what was asked of them."""
        asked = self.batch(index)
        images, _, side, _ = asked.image.shape
        return f"images: {images} of {side} x {side} px, {len(asked.mask)} regions asked for"
