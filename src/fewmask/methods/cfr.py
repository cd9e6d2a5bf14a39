"""`cfr`: concatenate, fine-tune, re-train (arXiv 2403.11229): SAM on a montage labels the scans
that a V-Net then learns from.

SAM learns from the labelled volumes, its slices side by side on a canvas; it labels every other
training scan once; a V-Net is trained on both, with any objective for unlabelled patches besides.
SAM is not needed at test time.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Literal

from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.semi import SemiObjective, Supervised
from fewmask.core.batch import Task
from fewmask.core.config import Count, NotNegative, Share
from fewmask.core.errors import BadConfig
from fewmask.methods import (
    ac_mt,
    bcp,
    canvas_sam,
    cps,
    magicnet,
    mean_teacher,
    self_training,
    ua_mt,
)
from fewmask.methods._method import MethodSpec, Stage
from fewmask.methods._volumetric import (
    JointPass,
    Volumetric,
    VolumetricNet,
    WithUnlabelled,
    build_vnet,
    check_patches,
    check_vnet,
)

Term = Literal["none", "mean_teacher", "ua_mt", "ac_mt", "cps", "bcp", "self_training", "magicnet"]
_SPECS: dict[Term, MethodSpec] = {
    "mean_teacher": mean_teacher.METHOD,
    "ua_mt": ua_mt.METHOD,
    "ac_mt": ac_mt.METHOD,
    "cps": cps.METHOD,
    "bcp": bcp.METHOD,
    "self_training": self_training.METHOD,
    "magicnet": magicnet.METHOD,
}


@dataclass(frozen=True)
class Config(JointPass, WithUnlabelled, Volumetric):
    """Settings of `cfr`."""

    term: Term = "mean_teacher"
    """What else the V-Net learns from unlabelled patches, with that method's own defaults."""
    cubes: Count = magicnet.Config().cubes
    """Per side of a patch, with `term=magicnet`."""
    finetune: canvas_sam.Config = field(default_factory=canvas_sam.Config)
    """SAM on the montage; names are those of `fewmask info canvas_sam`."""
    finetune_share: Share = 0.5
    """Part of the run's minutes that SAM gets; with `steps` both stages get that many."""
    pseudo: Literal["stored", "online"] = "stored"
    """SAM's labels: made once per scan from overlapping windows, or for every patch in every step
    (the release).
    """
    pseudo_weight: NotNegative = 1.0
    """Of the loss against them (release: 1, constant)."""
    trust: Share = 0.0
    """Stored labels with a lower confidence are left out; 0 = none is (the release). Online labels
    have no confidence.
    """


def stages(config: Config) -> tuple[Stage, ...]:
    """Fine-tuning, then re-training. Raises `BadConfig` for settings of either, or of both
    together, that cannot be met.
    """
    check_stages(config)
    if config.pseudo == "online":
        _check_online(config)
    first = Stage("finetune", "canvas_sam", config.finetune, config.finetune_share)
    last = Stage("", "cfr", config, 1 - config.finetune_share)
    if config.pseudo == "online":
        return first, replace(last, online_teacher="finetune")
    return replace(first, pseudo_labels_to="pseudo"), replace(last, pseudo_labels_from="pseudo")


def check_stages(config: Config) -> None:
    """Refuse now what the last stage would refuse after the others have been trained."""
    check_vnet(config)
    check_patches(config.finetune, "finetune.")
    if config.finetune.turns and not config.turns:
        raise BadConfig(
            "with turns=false left and right stay what they are, but SAM, which labels the "
            "scans, would learn turned patches",
            fix="use `finetune.turns=false` too",
            code="C02",
        )
    if not 0 < config.finetune_share < 1:
        raise BadConfig(
            f"finetune_share={config.finetune_share:g} leaves one of the two trainings no time",
            fix="use a number between 0 and 1, such as `finetune_share=0.5`",
            code="C02",
        )
    if config.term == "magicnet":
        magicnet.check_cubes(config.patch, config.cubes)


def _check_online(config: Config) -> None:
    """Raise `BadConfig` for what only stored labels can do."""
    d, h, w = config.patch
    checks = (
        (
            config.trust > 0,
            f"trust={config.trust:g} leaves out voxels of stored labels, and pseudo=online "
            "stores none",
            "leave trust out, or use `pseudo=stored`",
        ),
        (
            config.pseudo_weight == 0,
            "pseudo_weight=0: nothing would learn from the labels that pseudo=online makes",
            "leave pseudo_weight out, or use `pseudo=stored`",
        ),
        (
            config.patch != config.finetune.patch,
            f"pseudo=online: SAM labels the V-Net's patches of {config.patch}, but learns "
            f"patches of {config.finetune.patch}",
            f"use `finetune.patch=({d},{h},{w})`",
        ),
    )
    for wrong, what, fix in checks:
        if wrong:
            raise BadConfig(what, fix=fix, code="C02")


def build(config: Config, task: Task) -> VolumetricNet:
    """The V-Net of the last stage."""
    student = build_vnet(config, task)
    objective = objective_named(config.term, student, config, task)
    return VolumetricNet(student, objective, config, config.pseudo_weight)


def objective_named(term: Term, student: VNet, config: Config, task: Task) -> SemiObjective:
    """That method's objective, with its own settings but for those that `config` has too. Raises
    `BadConfig` as it does.
    """
    if term == "none":
        return Supervised()
    spec = _SPECS[term]
    assert spec.objective is not None
    shared = {
        field.name: getattr(config, field.name)
        for field in fields(spec.config)
        if hasattr(config, field.name)
    }
    return spec.objective(spec.config(**shared), student, task)


METHOD = MethodSpec(Config, build, stages, least_steps=200)
