"""`ac_mt`: a mean teacher that is followed where the student is in doubt (Xu and colleagues 2023,
entropy variant).
"""

from dataclasses import dataclass

from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.semi import HighEntropyWeighting, MeanTeacher
from fewmask.core.batch import Task
from fewmask.core.config import NotNegative, Share
from fewmask.methods._volumetric import JointPass, Volumetric, WithUnlabelled, volumetric_method


@dataclass(frozen=True)
class Config(JointPass, WithUnlabelled, Volumetric):
    """Settings of `ac_mt`."""

    weight: NotNegative = 0.1
    """Largest weight of the consistency."""
    decay: Share = 0.99
    """Of the teacher's moving average."""
    noise: NotNegative = 0.1
    """Standard deviation of the noise in the teacher's input, in units of the grey levels' spread.
    """
    doubt: tuple[float, float] = (0.75, 0.95)
    """Entropy of the student's softmax, in bits, above which a voxel counts: at the first and at
    the last step.
    """


def objective(config: Config, student: VNet, task: Task) -> MeanTeacher:
    """A fresh teacher of the student, weighing voxels by the student's entropy."""
    return MeanTeacher(
        student,
        HighEntropyWeighting(*config.doubt),
        config.weight,
        config.decay,
        config.noise,
        labelled_too=False,
        joint=config.joint_pass,
    )


METHOD = volumetric_method(Config, objective)
