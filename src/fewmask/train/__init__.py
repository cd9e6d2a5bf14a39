"""Batches and a method -> a run folder."""

from fewmask.train.loop import train
from fewmask.train.request import Progress, TrainRequest

__all__ = ["Progress", "TrainRequest", "train"]
