"""`lite_unet`: a U-Net on ImageNet's EfficientNet-Lite0 that learns masks from outlines, and from
tags what a slice holds. Ours; the default, and the teacher of `noisy_student`.
"""

from dataclasses import dataclass

from fewmask.core.batch import Task
from fewmask.methods._method import MethodSpec
from fewmask.methods._pyramid import Pyramid, PyramidSettings, build_pyramid


@dataclass(frozen=True)
class Config(PyramidSettings):
    """Settings of `lite_unet`."""


def build(config: Config, task: Task) -> Pyramid:
    """A fresh network for `task`."""
    return build_pyramid(config, task)


METHOD = MethodSpec(
    Config, build, inference_only=("presence", "presence_cost", "views"), least_steps=300
)
