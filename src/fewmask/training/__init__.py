"""Batches and a method -> a run folder."""

from fewmask.training.loop import draw_budget, train
from fewmask.training.request import Progress, TrainRequest

__all__ = ["Progress", "TrainRequest", "draw_budget", "train"]
