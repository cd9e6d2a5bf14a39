"""Ways to learn from unlabelled patches: objectives that a 3D network is trained with, alone or in
CFR's re-training.
"""

from fewmask.blocks.semi.bcp import CopyPaste
from fewmask.blocks.semi.cps import CrossPseudo
from fewmask.blocks.semi.magicnet import MagicCubes
from fewmask.blocks.semi.mean_teacher import (
    HighEntropyWeighting,
    LowEntropyWeighting,
    MeanTeacher,
    UniformWeighting,
    VoxelWeighting,
)
from fewmask.blocks.semi.objective import ObjectiveOutput, SemiObjective, Supervised
from fewmask.blocks.semi.self_training import SelfTraining

__all__ = [
    "HighEntropyWeighting",
    "LowEntropyWeighting",
    "CopyPaste",
    "CrossPseudo",
    "UniformWeighting",
    "MagicCubes",
    "MeanTeacher",
    "ObjectiveOutput",
    "SelfTraining",
    "Supervised",
    "SemiObjective",
    "VoxelWeighting",
]
