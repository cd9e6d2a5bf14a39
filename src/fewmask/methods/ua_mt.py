"""`ua_mt`: a mean teacher, followed where its own entropy is low (Yu and colleagues 2019)."""

from dataclasses import dataclass

from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.semi import LowEntropyWeighting, MeanTeacher
from fewmask.core.batch import Task
from fewmask.core.config import Count, NotNegative, Share
from fewmask.methods._volumetric import JointPass, Volumetric, WithUnlabelled, volumetric_method


@dataclass(frozen=True)
class Config(JointPass, WithUnlabelled, Volumetric):
    """Settings of `ua_mt`."""

    weight: NotNegative = 0.1
    """Largest weight of the consistency."""
    decay: Share = 0.99
    """Of the teacher's moving average."""
    noise: NotNegative = 0.1
    """Standard deviation of the noise in the teacher's input, in units of the grey levels' spread.
    """
    passes: Count = 8
    """Noisy passes of the teacher; the entropy of their mean says how sure it is."""


def objective(config: Config, student: VNet, task: Task) -> MeanTeacher:
    """A fresh teacher of the student, weighing voxels by its own entropy."""
    return MeanTeacher(
        student,
        LowEntropyWeighting(config.passes),
        config.weight,
        config.decay,
        config.noise,
        labelled_too=False,
        joint=config.joint_pass,
    )


METHOD = volumetric_method(Config, objective)
