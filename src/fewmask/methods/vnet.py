"""`vnet`: a V-Net that learns from the labelled volumes alone; the lower bound of every
3D method.
"""

from dataclasses import dataclass

from fewmask.blocks.semi import Supervised
from fewmask.core.batch import Task
from fewmask.methods._volumetric import Volumetric, VolumetricNet, build_vnet


@dataclass(frozen=True)
class Config(Volumetric):
    """Settings of `vnet`."""


def build(config: Config, task: Task) -> VolumetricNet:
    """A fresh V-Net."""
    return VolumetricNet(build_vnet(config, task), Supervised(), config)
