"""Batches and a method -> a run folder."""

from fewmask.training.loop import draw_budget, train
from fewmask.training.request import ProgressEvent, TrainRequest

__all__ = ["ProgressEvent", "TrainRequest", "draw_budget", "train"]
