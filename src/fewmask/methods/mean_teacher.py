"""`mean_teacher`: a V-Net that agrees with its own moving average on noisy patches (Tarvainen and
Valpola 2017).
"""

from dataclasses import dataclass

from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.semi import MeanTeacher, UniformWeighting
from fewmask.core.batch import Task
from fewmask.core.config import NotNegative, Share
from fewmask.methods._volumetric import JointPass, Volumetric, WithUnlabelled, volumetric_method


@dataclass(frozen=True)
class Config(JointPass, WithUnlabelled, Volumetric):
    """Settings of `mean_teacher`."""

    weight: NotNegative = 0.1
    """Largest weight of the consistency; it rises over the whole run as exp(-5 (1 - t)^2)."""
    decay: Share = 0.99
    """Of the teacher's moving average."""
    noise: NotNegative = 0.1
    """Standard deviation of the noise in the teacher's input, in units of the grey levels' spread.
    """
    labelled_too: bool = True
    """The consistency counts on labelled patches too, as CFR was run; off is the textbook."""


def objective(config: Config, student: VNet, task: Task) -> MeanTeacher:
    """A fresh teacher of the student, every voxel alike."""
    return MeanTeacher(
        student,
        UniformWeighting(),
        config.weight,
        config.decay,
        config.noise,
        labelled_too=config.labelled_too,
        joint=config.joint_pass,
    )


METHOD = volumetric_method(Config, objective)
