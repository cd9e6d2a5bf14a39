"""`cfr`: concatenate, fine-tune, re-train (arXiv 2403.11229): SAM on a montage labels the scans that a V-Net then learns from.

SAM learns from the labelled volumes, its slices side by side on a canvas; it labels every other training scan once; a V-Net is
trained on both, with any term for unlabelled patches beside. SAM is gone at test time.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.semi import Ambiguous, Certain, Choice, CopyPaste, CrossPseudo, Everywhere, MeanTeacher, Supervised, Term
from fewmask.core.batch import Task
from fewmask.methods import canvas_sam
from fewmask.methods._method import Stage
from fewmask.methods._semi import SemiNet, TwoHalves, build_vnet

Kind = Literal["none", "mean_teacher", "ua_mt", "ac_mt", "cps", "bcp"]


@dataclass(frozen=True)
class Config(TwoHalves):
    """Settings of `cfr`; those of the fine-tuning are `finetune.NAME` (see `fewmask info canvas_sam`)."""

    term: Kind = "mean_teacher"
    """What else the V-Net learns from unlabelled patches, with that method's own settings."""
    finetune: canvas_sam.Config = field(default_factory=canvas_sam.Config)
    """SAM on the montage."""
    finetune_share: float = 0.5
    """Part of the run's minutes that SAM gets; with `--steps` both stages get that many."""
    pseudo: Literal["stored", "online"] = "stored"
    """SAM's labels: made once per scan from overlapping windows, or for every patch in every step (the release)."""
    pseudo_weight: float = 1.0
    """Of the loss against them (release: 1, constant)."""
    trust: float = 0.0
    """Stored labels with a lower confidence are left out; 0 = none is (the release)."""


def stages(config: Config) -> tuple[Stage, ...]:
    """Fine-tuning, then re-training."""
    first = Stage("finetune", "canvas_sam", config.finetune, config.finetune_share)
    last = Stage("", "cfr", config, 1 - config.finetune_share)
    if config.pseudo == "online":
        return first, replace(last, asks="finetune")
    return replace(first, writes="pseudo"), replace(last, learns="pseudo")


def build(config: Config, task: Task) -> SemiNet:
    """The V-Net of the last stage."""
    student = build_vnet(config, task)
    return SemiNet(student, term_named(config.term, student, config, task), config, config.pseudo_weight)


def term_named(kind: Kind, student: VNet, config: TwoHalves, task: Task) -> Term:
    """A term with its method's defaults."""
    if kind == "cps":
        return CrossPseudo(build_vnet(config, task), 0.1, config.joint_pass)
    if kind == "bcp":
        return CopyPaste(student, 0.5, 0.99, 2 / 17, 2 / 3)
    choices: dict[str, Choice] = {"mean_teacher": Everywhere(), "ua_mt": Certain(), "ac_mt": Ambiguous()}
    if kind not in choices:
        return Supervised()
    return MeanTeacher(student, choices[kind], 0.1, 0.99, 0.1, kind == "mean_teacher", config.joint_pass)
