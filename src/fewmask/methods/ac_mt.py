"""`ac_mt`: a mean teacher that is followed where the student is in doubt (Xu and colleagues 2023,
entropy variant).
"""

from dataclasses import dataclass

from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.semi import HighEntropyWeighting, MeanTeacher, SemiObjective
from fewmask.core.batch import Task
from fewmask.methods._volumetric import TwoHalves, VolumetricNet, build_vnet


@dataclass(frozen=True)
class Config(TwoHalves):
    """Settings of `ac_mt`."""

    weight: float = 0.1
    """Largest weight of the consistency."""
    decay: float = 0.99
    """Of the teacher's moving average."""
    noise: float = 0.1
    """Standard deviation of the noise in the teacher's input, in units of the grey levels' spread.
    """
    doubt: tuple[float, float] = (0.75, 0.95)
    """Entropy of the student's answer, in bits, above which a voxel counts: at the first and at the
    last step.
    """


def build(config: Config, task: Task) -> VolumetricNet:
    """A fresh student and its teacher."""
    student = build_vnet(config, task)
    return VolumetricNet(student, term(config, student, task), config)


def term(config: Config, student: VNet, task: Task) -> SemiObjective:
    """How the student learns; `cfr` takes it too."""
    return MeanTeacher(
        student,
        HighEntropyWeighting(*config.doubt),
        config.weight,
        config.decay,
        config.noise,
        False,
        config.joint_pass,
    )
