"""`magicnet`: cube partition and recovery for many organs (Chen and colleagues 2023)."""

from dataclasses import dataclass

from fewmask.blocks.nets.vnet import VNet
from fewmask.blocks.semi import MagicCubes, Term
from fewmask.core.batch import Task
from fewmask.core.errors import BadConfig
from fewmask.methods._semi import SemiNet, SemiSupervised, build_vnet


@dataclass(frozen=True)
class Config(SemiSupervised):
    """Settings of `magicnet`."""

    patch: tuple[int, int, int] = (96, 96, 96)
    """Voxels (d, h, w) of a patch; sides are multiples of 16 and of `cubes`."""
    turns: bool = False
    """No turns: left and right are different organs."""
    cubes: int = 3
    """Cubes per side (of 32 voxels in the paper)."""
    weight: float = 0.1
    """Largest weight of the pseudo-labels; it rises over the whole run."""
    place_weight: float = 0.2
    """Of the guess where a cube came from."""
    decay: float = 0.99
    """Of the teacher's moving average."""
    noise: float = 0.1
    """Standard deviation of the noise in the teacher's input, in units of the grey levels' spread."""


def build(config: Config, task: Task) -> SemiNet:
    """A fresh student and its teacher. Raises `BadConfig` if cubes do not fit the patch."""
    student = build_vnet(config, task)
    return SemiNet(student, term(config, student, task), config)


def term(config: Config, student: VNet, task: Task) -> Term:
    """How the student learns; `cfr` takes it too. Raises `BadConfig` if cubes do not fit the patch."""
    if any(side % config.cubes for side in config.patch):
        raise BadConfig(
            f"a patch of {config.patch} has no {config.cubes} equal cubes per side",
            did="nothing was started",
            fix="sides that are multiples of it, as in --set patch=(96,96,96), or --method magicnet --set cubes=2",
            row="C02",
        )
    return MagicCubes(student, config.cubes, config.weight, config.place_weight, config.decay, config.noise)
