"""`ua_mt`: a mean teacher whose word counts where it is sure of it (Yu and colleagues 2019)."""

from dataclasses import dataclass

from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.semi import LowEntropyWeighting, MeanTeacher, SemiObjective
from fewmask.core.batch import Task
from fewmask.methods._volumetric import TwoHalves, VolumetricNet, build_vnet


@dataclass(frozen=True)
class Config(TwoHalves):
    """Settings of `ua_mt`."""

    weight: float = 0.1
    """Largest weight of the consistency."""
    decay: float = 0.99
    """Of the teacher's moving average."""
    noise: float = 0.1
    """Standard deviation of the noise in the teacher's input, in units of the grey levels' spread.
    """
    passes: int = 8
    """Noisy passes of the teacher, whose mean answer says how sure it is."""


def build(config: Config, task: Task) -> VolumetricNet:
    """A fresh student and its teacher."""
    student = build_vnet(config, task)
    return VolumetricNet(student, term(config, student, task), config)


def term(config: Config, student: VNet, task: Task) -> SemiObjective:
    """How the student learns; `cfr` takes it too."""
    return MeanTeacher(
        student,
        LowEntropyWeighting(config.passes),
        config.weight,
        config.decay,
        config.noise,
        False,
        config.joint_pass,
    )
