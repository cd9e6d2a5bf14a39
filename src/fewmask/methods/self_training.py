"""`self_training`: a V-Net learns from labelled volumes, labels the others, learns from both, and
again.
"""

from dataclasses import dataclass

from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.semi import SelfTraining
from fewmask.core.batch import Task
from fewmask.core.config import Count, NotNegative
from fewmask.methods._volumetric import JointPass, Volumetric, WithUnlabelled, volumetric_method


@dataclass(frozen=True)
class Config(JointPass, WithUnlabelled, Volumetric):
    """Settings of `self_training`; the paper describes it in a sentence, the numbers are ours."""

    rounds: Count = 2
    """Rounds of pseudo-labels after the supervised part; all parts are equally long."""
    weight: NotNegative = 1.0
    """Of the loss against pseudo-labels."""


def objective(config: Config, student: VNet, task: Task) -> SelfTraining:
    """The student and a frozen copy of it, renewed every round."""
    return SelfTraining(student, config.rounds, config.weight, config.joint_pass)


METHOD = volumetric_method(Config, objective)
