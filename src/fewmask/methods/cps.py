"""`cps`: two V-Nets that teach each other with their hard answers (Chen and colleagues 2021); the
first one predicts.
"""

from dataclasses import dataclass

from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.semi import CrossPseudo, SemiObjective
from fewmask.core.batch import Task
from fewmask.methods._volumetric import TwoHalves, VolumetricNet, build_vnet


@dataclass(frozen=True)
class Config(TwoHalves):
    """Settings of `cps`."""

    weight: float = 0.1
    """Largest weight of the crossed losses; it rises over the whole run (SSL4MIS)."""


def build(config: Config, task: Task) -> VolumetricNet:
    """Two fresh networks with different random weights."""
    student = build_vnet(config, task)
    return VolumetricNet(student, term(config, student, task), config)


def term(config: Config, student: VNet, task: Task) -> SemiObjective:
    """The student and a second network, made here, teach each other."""
    return CrossPseudo(build_vnet(config, task), config.weight, config.joint_pass)
