"""`nnunet`: the real nnU-Net (Isensee et al. 2021), run as the program that it is, in an
environment of its own.

It gets the budget's slices as its raw data set (what nobody outlined carries its ignore label),
plans, trains and predicts by itself, and its masks are scored like everyone else's. `fewmask nnunet
setup` makes the environment; see `external/nnunet.py`.
"""

from dataclasses import dataclass
from typing import Literal

from fewmask.core.config import Count, Positive
from fewmask.methods._method import MethodSpec


@dataclass(frozen=True)
class Config:
    """Settings of `nnunet`; everything else is what nnU-Net plans for itself."""

    configuration: Literal["2d", "3d_fullres"] = "2d"
    """Which of its configurations (A24: 2d)."""
    memory_gb: Positive = 8.0
    """GPU memory its planner fits patch and batch to; 8 is nnU-Net's own number, less makes steps
    that a CPU can take.
    """
    mirror: bool = True
    """Also predict mirrored scans and average, as nnU-Net does; off takes a quarter (3D: an eighth)
    of the time.
    """
    steps_per_epoch: Count = 250
    """Iterations per epoch, nnU-Net's own number; its learning rate falls once per epoch, and it
    saves once per epoch.
    """
    epochs: Count = 1000
    """How long it trains if `steps` does not say; nnU-Net's own number."""


METHOD = MethodSpec(Config, build=None)
"""No network of ours: trained by `training/external.py`, run by `predict/external.py`."""
