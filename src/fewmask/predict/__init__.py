"""A run folder and a scan -> a mask on the scanner's own grid. Needs nothing else; no label can enter."""

from fewmask.predict.folder import PredictSummary, predict_folder
from fewmask.predict.predictor import Prediction, Predictor

__all__ = ["PredictSummary", "Prediction", "Predictor", "predict_folder"]
