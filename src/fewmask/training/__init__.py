"""Batches and a method -> a run folder."""

from fewmask.core.progress import OnProgress, ProgressEvent
from fewmask.training.budget import draw_budget
from fewmask.training.request import TrainRequest
from fewmask.training.run import train

__all__ = ["OnProgress", "ProgressEvent", "TrainRequest", "draw_budget", "train"]
