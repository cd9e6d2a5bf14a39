"""`bcp`: bidirectional copy-paste between labelled and unlabelled patches (Bai and colleagues
2023).
"""

from dataclasses import dataclass

from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.semi import CopyPaste
from fewmask.core.batch import Task
from fewmask.core.config import NotNegative, Share
from fewmask.methods._volumetric import Volumetric, WithUnlabelled, volumetric_method


@dataclass(frozen=True)
class Config(WithUnlabelled, Volumetric):
    """Settings of `bcp`; the published batch is 4 + 4."""

    weight: NotNegative = 0.5
    """Of the unlabelled part of a pasted patch."""
    decay: Share = 0.99
    """Of the teacher's moving average."""
    first: Share = 2 / 17
    """Part of training on pasted labelled pairs only (2,000 of 17,000 steps)."""
    side: Share = 2 / 3
    """Side of the pasted box, as a part of the patch's."""


def objective(config: Config, student: VNet, task: Task) -> CopyPaste:
    """A fresh teacher of the student, and the pasting."""
    return CopyPaste(student, config.weight, config.decay, config.first, config.side)


METHOD = volumetric_method(Config, objective)
