"""`magicnet`: cube partition and recovery for many organs (Chen and colleagues 2023)."""

from dataclasses import dataclass

from fewmask.blocks.nets.vnet import DEPTH, VNet
from fewmask.blocks.semi import MagicCubes
from fewmask.core.batch import Task
from fewmask.core.config import Count, NotNegative, Share
from fewmask.core.errors import BadConfig
from fewmask.methods._volumetric import Volumetric, WithUnlabelled, volumetric_method


@dataclass(frozen=True)
class Config(WithUnlabelled, Volumetric):
    """Settings of `magicnet`."""

    patch: tuple[int, int, int] = (96, 96, 96)
    """Voxels (d, h, w) of a patch; sides are multiples of 16 `cubes`, so that every cube has its
    own cells at V-Net's bottom.
    """
    turns: bool = False
    """No turns: left and right are different organs."""
    cubes: Count = 3
    """Cubes per side (of 32 voxels in the paper)."""
    weight: NotNegative = 0.1
    """Largest weight of the pseudo-labels; it rises over the whole run."""
    place_weight: NotNegative = 0.2
    """Of the guess where a cube came from."""
    decay: Share = 0.99
    """Of the teacher's moving average."""
    noise: NotNegative = 0.1
    """Standard deviation of the noise in the teacher's input, in units of the grey levels' spread.
    """


def objective(config: Config, student: VNet, task: Task) -> MagicCubes:
    """A fresh teacher of the student, and the cubes. Raises `BadConfig` if cubes do not fit the
    patch.
    """
    check_cubes(config.patch, config.cubes)
    return MagicCubes(
        student, config.cubes, config.weight, config.place_weight, config.decay, config.noise
    )


METHOD = volumetric_method(Config, objective)


def check_cubes(patch: tuple[int, int, int], cubes: int) -> None:
    """Raise `BadConfig` if cubes of a patch (d, h, w) share cells of V-Net's bottom: no cube then
    has features of its own.
    """
    unit = DEPTH * cubes
    if any(side % unit for side in patch):
        d, h, w = (max(1, side // unit) * unit for side in patch)
        raise BadConfig(
            f"{cubes} cubes per side of a patch of {patch} share cells of V-Net's bottom, "
            f"{DEPTH} voxels each",
            fix=f"use sides that are multiples of {unit}, as in `patch=({d},{h},{w})`",
            code="C02",
        )
