"""The verbs of the command line as functions of Python; `import fewmask` is all that is needed."""

from fewmask.api.data import check, prepare
from fewmask.api.mask import PredictedMask
from fewmask.api.next import next_slices
from fewmask.api.runs import LoadedRun, TrainedRun, load, predict, predict_folder, train
from fewmask.api.scores import Comparison, Evaluation, compare, evaluate, report

__all__ = [
    "Comparison",
    "Evaluation",
    "LoadedRun",
    "PredictedMask",
    "TrainedRun",
    "check",
    "compare",
    "evaluate",
    "load",
    "next_slices",
    "predict",
    "predict_folder",
    "prepare",
    "report",
    "train",
]
