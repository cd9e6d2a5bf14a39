"""Ways to learn from unlabelled patches: terms that a 3D network is trained with, alone or in CFR's re-training."""

from fewmask.blocks.semi.bcp import CopyPaste
from fewmask.blocks.semi.cps import CrossPseudo
from fewmask.blocks.semi.magicnet import MagicCubes
from fewmask.blocks.semi.mean_teacher import Ambiguous, Certain, Choice, Everywhere, MeanTeacher
from fewmask.blocks.semi.self_training import SelfTraining
from fewmask.blocks.semi.term import Outcome, Supervised, Term

__all__ = [
    "Ambiguous",
    "Certain",
    "Choice",
    "CopyPaste",
    "CrossPseudo",
    "Everywhere",
    "MagicCubes",
    "MeanTeacher",
    "Outcome",
    "SelfTraining",
    "Supervised",
    "Term",
]
