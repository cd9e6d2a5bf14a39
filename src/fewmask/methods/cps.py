"""`cps`: two V-Nets that teach each other with their argmax (Chen and colleagues 2021); the
first one predicts.
"""

from dataclasses import dataclass

from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.semi import CrossPseudo
from fewmask.core.batch import Task
from fewmask.core.config import NotNegative
from fewmask.methods._volumetric import (
    JointPass,
    Volumetric,
    WithUnlabelled,
    build_vnet,
    volumetric_method,
)


@dataclass(frozen=True)
class Config(JointPass, WithUnlabelled, Volumetric):
    """Settings of `cps`."""

    weight: NotNegative = 0.1
    """Largest weight of the crossed losses; it rises over the whole run (SSL4MIS)."""


def objective(config: Config, student: VNet, task: Task) -> CrossPseudo:
    """The student and a second network with other random weights."""
    return CrossPseudo(build_vnet(config, task), config.weight, config.joint_pass)


METHOD = volumetric_method(Config, objective)
