"""What the 3D methods share: a V-Net that learns from patches, with an objective for the
unlabelled ones.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fewmask.blocks.average import average_of, move
from fewmask.blocks.losses import masked_dice_ce
from fewmask.blocks.nets.vnet import DEPTH, Norm, VNet
from fewmask.blocks.ramp import warm_cosine
from fewmask.blocks.semi import SemiObjective
from fewmask.core.batch import Batch, BatchSpec, Probabilities, Step, Task, Unlabelled
from fewmask.core.config import Count, Number, Share
from fewmask.core.errors import BadConfig
from fewmask.methods._look import LookSettings, check_looks
from fewmask.methods._method import BATCH_NORMS, Method, MethodSpec, grouped

_RATES = {"adamw": (1e-3, 0.01), "sgd": (0.01, 1e-4)}
"""Optimiser -> its learning rate and weight decay where none is said."""
_FEW = 3
"""Structures that a V-Net learns in a few hundred steps as it is."""
_LEAST_STEPS = 200
"""One structure of the hippocampus; larger ones want more."""
_CENTRE, _SPREAD = 0.5, 0.25
"""Grey levels in [0, 1] -> about zero mean and unit spread, the scale on which the papers' noise is
given.
"""


@dataclass(frozen=True)
class Patches(LookSettings):
    """What scans are cut into; defaults are those of the left-atrium literature (R9)."""

    patch: tuple[int, int, int] = (80, 112, 112)
    """Voxels (d, h, w) of a patch; for a V-Net sides are multiples of 16."""
    turns: bool = True
    """Turn patches by quarters and mirror half of them, in plane; wants a square patch.

    Off where left and right are different structures.
    """
    centred: float = 0.0
    """Part of labelled patches whose middle lies in a structure, each structure as often as
    another; ours, 0 = the literature.
    """


@dataclass(frozen=True)
class Volumetric(Patches):
    """Settings of every method with a V-Net; defaults are those of the same literature where
    nothing else is said.
    """

    labelled: Count = 2
    """Labelled patches per step; one volume is enough, it is drawn again (R1)."""
    filters: int = 16
    """Channels of V-Net at full resolution."""
    dropout: Share = 0.5
    """Part of V-Net's channels dropped at the bottom and before the last layer."""
    norm: Norm = "instance"
    """`instance`: a patch's own mean and variance, ours; `batch`: those of the batch, later those
    of training (the literature).

    Batch norms of a network that learned one labelled scan know that scan's grey levels only:
    docs/results/ablations-3d.md.
    """
    augment: bool = False
    """Also turn patches a little, zoom, shift and shade them, as slices are for the 2D methods;
    ours, off = the literature.
    """
    renew_norms: bool = False
    """After training, compute the means and variances of batch norms again from all training
    scans; for `norm=batch`, ours.
    """
    average: float = 0.0
    """Decay of a moving average of the V-Net's weights, which then predicts and labels; ours,
    0 = the last weights (the literature).
    """
    optimiser: Literal["adamw", "sgd"] = "adamw"
    """AdamW with a warm-up and a cosine (ours), or SGD with momentum 0.9 and two drops to a tenth
    (the literature).

    In the few hundred steps that a CPU has time for, SGD as in the literature learns little:
    docs/results/ablations-3d.md.
    """
    lr: float | None = None
    """Peak learning rate; none = 0.001 for AdamW, 0.01 for SGD."""
    head_lr: float | None = None
    """The same for V-Net's last layer, which holds a row per structure; none = that of all layers
    (the literature).
    """
    weight_decay: float | None = None
    """Weight decay; none = 0.01 for AdamW, 0.0001 for SGD."""
    warmup: Number = 50
    """Steps of linear warm-up before AdamW's cosine."""


@dataclass(frozen=True)
class WithUnlabelled:
    """Of a method with unlabelled patches; inherited together with `Volumetric`."""

    unlabelled: Number = 2
    """Unlabelled patches per step."""


@dataclass(frozen=True)
class JointPass:
    """Of a method that shows the student labelled and unlabelled patches as they are, neither
    pasted nor mixed.
    """

    joint_pass: bool = False
    """Both halves pass the student together (the literature's code); off, each has its own pass.

    With `norm=batch` one labelled scan is then learned as it looks beside the others, not as it
    looks alone: docs/results/ablations-3d.md.
    """


def volumetric_method(
    config: type[Volumetric], objective: Callable[[Any, VNet, Task], SemiObjective]
) -> MethodSpec:
    """The spec of a V-Net with this objective, which `cfr` can take too."""

    def build(config: Any, task: Task) -> VolumetricNet:
        student = build_vnet(config, task)
        return VolumetricNet(student, objective(config, student, task), config)

    return MethodSpec(config, build, objective=objective, least_steps=_LEAST_STEPS)


def build_vnet(config: Volumetric, task: Task) -> VNet:
    """A fresh student. Raises `BadConfig` as `check_vnet` does."""
    check_vnet(config)
    return VNet(task.k + 1, config.filters, config.dropout, config.norm)


def check_patches(config: Patches, prefix: str = "") -> None:
    """Raise `BadConfig` if patches (d, h, w) are to be turned by quarters and are not square in
    plane, or for an odd `centred` or look.

    `prefix` stands before the names of settings that belong to a stage.
    """
    check_looks(config, prefix)
    d, h, w = patch = config.patch
    if not 0 <= config.centred <= 1:
        raise BadConfig(
            f"{prefix}centred={config.centred:g} is no part of the labelled patches",
            fix=f"use a number from 0 to 1, such as `{prefix}centred=0.5`",
            code="C02",
        )
    if config.turns and h != w:
        raise BadConfig(
            f"patches of {patch} cannot be turned by quarters: a turn makes {w} x {h} voxels "
            f"of {h} x {w}",
            fix=f"use `{prefix}turns=false`, or a square patch: `{prefix}patch=({d},{h},{h})`",
            code="C02",
        )


def check_vnet(config: Volumetric) -> None:
    """Raise `BadConfig` for a patch that V-Net cannot halve four times or turn, steps without
    patches, and impossible norms.
    """
    check_patches(config)
    if any(side % DEPTH or side <= 0 for side in config.patch):
        raise BadConfig(
            f"patch sides {config.patch} are not multiples of {DEPTH}",
            fix="use `patch=(80,112,112)` or `patch=(48,64,64)`",
            code="C02",
        )
    counts = {"labelled": config.labelled}
    if isinstance(config, WithUnlabelled):
        counts["unlabelled"] = config.unlabelled
    for name, count in counts.items():
        if count < 1:
            raise BadConfig(
                f"{name}={count}: every step needs a patch of these",
                fix=f"use `{name}=2`, or `method=vnet`, which learns from labelled scans alone",
                code="C02",
            )
    if not 0 <= config.average < 1:
        raise BadConfig(
            f"average={config.average:g}: an average that keeps all of itself, or more, learns "
            "nothing",
            fix="use a number from 0 (off) to below 1, such as `average=0.98`",
            code="C02",
        )
    if config.norm == "instance" and config.renew_norms:
        raise BadConfig(
            "instance norms keep no statistics that could be computed again",
            fix="leave renew_norms out, or use `norm=batch`",
            code="C02",
        )
    if config.norm == "instance" and config.patch == (DEPTH,) * 3:
        raise BadConfig(
            f"a patch of {config.patch} is one voxel at the bottom of V-Net, and one voxel has "
            "no variance to normalise by",
            fix="use `patch=(32,32,32)` or `norm=batch`",
            code="C02",
        )


def _why_alone(objective: SemiObjective, config: Volumetric) -> str:
    if config.norm == "batch":
        return BATCH_NORMS
    if isinstance(config, JointPass) and config.joint_pass:
        return "`joint_pass` draws for labelled and unlabelled patches side by side"
    return objective.learns_alone


class VolumetricNet(Method):
    """A V-Net and its objective."""

    one_network = True

    def __init__(
        self,
        student: VNet,
        objective: SemiObjective,
        config: Volumetric,
        pseudo_weight: float = 0.0,
    ) -> None:
        """Parts come ready-made. With `pseudo_weight` unlabelled patches come with pseudo-labels
        (CFR).
        """
        super().__init__()
        self.student = student
        self.averaged = average_of(student) if config.average else None
        self.term = objective  # under this name its networks lie in weight files
        self.learns_alone = _why_alone(objective, config)
        self.renew_norms = config.renew_norms
        self._config, self._pseudo_weight = config, pseudo_weight
        structures = student.last.out_channels - 1
        if structures > _FEW and config.head_lr is None:
            self.note = (
                f"{structures} structures: in a few hundred steps V-Net learns the largest of them "
                "only; `head_lr=0.03`, `centred=0.5` and `dropout=0` help (docs/results/organs.md)"
            )
        self.batch_spec = BatchSpec(
            patch=config.patch,
            labelled=config.labelled,
            unlabelled=config.unlabelled if isinstance(config, WithUnlabelled) else 0,
            turns=config.turns,
            centred=config.centred,
            pseudo="some" if pseudo_weight else "off",
            augment=config.augment,
            random_convolution=config.random_convolution,
            frequency_swap=config.frequency_swap,
        )

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Those of the objective, and `sam` against pseudo-labels if there are any."""
        assert batch.labelled is not None
        labelled = replace(batch.labelled, image=_standard(batch.labelled.image))
        unlabelled = batch.unlabelled or Unlabelled(batch.labelled.image[:0])
        unlabelled = replace(unlabelled, image=_standard(unlabelled.image))
        output = self.term.losses(self.student, labelled, unlabelled, step)
        if not self._pseudo_weight:
            return output.losses
        assert unlabelled.pseudo is not None
        logits = output.unlabelled
        if logits is None:
            logits = self.student(unlabelled.image)
        pseudo = masked_dice_ce(logits, unlabelled.pseudo)
        loss = self._pseudo_weight * 0.5 * (pseudo["ce"] + pseudo["dice"])
        return {**output.losses, "sam": loss}

    def predict(self, image: Float[Tensor, "b 1 d h w"]) -> Probabilities:
        """The softmax of the student, or of its moving average."""
        network = self.student if self.averaged is None else self.averaged
        return Probabilities(torch.softmax(network(_standard(image)).float(), 1))

    def optimiser(self) -> torch.optim.Optimizer:
        """AdamW, or the literature's SGD."""
        lr, weight_decay = _RATES[self._config.optimiser]
        if self._config.lr is not None:
            lr = self._config.lr
        if self._config.weight_decay is not None:
            weight_decay = self._config.weight_decay
        groups = grouped(self)
        if self._config.head_lr is not None:
            heads: list[Tensor] = []
            for network in self.modules():
                if isinstance(network, VNet):
                    heads += (w for w in network.last.parameters() if w.requires_grad)
            groups = grouped(self, {"params": heads, "lr": self._config.head_lr})
        if self._config.optimiser == "sgd":
            return torch.optim.SGD(groups, lr, momentum=0.9, weight_decay=weight_decay)
        return torch.optim.AdamW(groups, lr, weight_decay=weight_decay)

    def schedule(self, step: Step) -> float:
        """Warm-up, then cosine; with SGD two drops to a tenth, after 5/12 and 5/6 of the steps
        (2,500 and 5,000 of 6,000).
        """
        if self._config.optimiser == "sgd":
            return 0.1 ** ((step.fraction >= 5 / 12) + (step.fraction >= 5 / 6))
        return warm_cosine(step, self._config.warmup)

    def after_step(self, step: Step) -> None:
        """The objective's networks follow, and the moving average."""
        self.term.after_step(self.student, step)
        if self.averaged is not None:
            move(self.averaged, self.student, step.index, self._config.average)


def _standard(image: Float[Tensor, "b 1 d h w"]) -> Float[Tensor, "b 1 d h w"]:
    return (image - _CENTRE) / _SPREAD
