"""`vnet`: a V-Net that learns from the labelled volumes alone; the lower bound of every
3D method.
"""

from dataclasses import dataclass

from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.semi import Supervised
from fewmask.core.batch import Task
from fewmask.methods._volumetric import Volumetric, volumetric_method


@dataclass(frozen=True)
class Config(Volumetric):
    """Settings of `vnet`."""


def objective(config: Config, student: VNet, task: Task) -> Supervised:
    """Nothing but the labelled patches."""
    return Supervised()


METHOD = volumetric_method(Config, objective)
