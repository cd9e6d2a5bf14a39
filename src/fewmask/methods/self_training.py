"""`self_training`: a V-Net learns from labelled volumes, labels the others, learns from both, and
again.
"""

from dataclasses import dataclass

from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.semi import SelfTraining, SemiObjective
from fewmask.core.batch import Task
from fewmask.methods._volumetric import TwoHalves, VolumetricNet, build_vnet


@dataclass(frozen=True)
class Config(TwoHalves):
    """Settings of `self_training`; the paper describes it in a sentence, the numbers are ours."""

    rounds: int = 2
    """Rounds of pseudo-labels after the supervised part; all parts are equally long."""
    weight: float = 1.0
    """Of the loss against pseudo-labels."""


def build(config: Config, task: Task) -> VolumetricNet:
    """A fresh student and a place for its frozen copy."""
    student = build_vnet(config, task)
    return VolumetricNet(student, term(config, student, task), config)


def term(config: Config, student: VNet, task: Task) -> SemiObjective:
    """How the student learns; `cfr` takes it too."""
    return SelfTraining(student, config.rounds, config.weight, config.joint_pass)
