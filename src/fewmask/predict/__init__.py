"""A run folder and a scan -> a mask on the scanner's own grid. Needs nothing else; no label can
enter.
"""

from pathlib import Path

from fewmask.core.errors import BadConfig
from fewmask.methods import is_external
from fewmask.predict.cleanup import Cleanup, open_cleanup
from fewmask.predict.external import ExternalPredictor
from fewmask.predict.folder import predict_folder
from fewmask.predict.form import MaskForm, open_form
from fewmask.predict.known import KnownScans, open_known
from fewmask.predict.mean import MeanPredictor, load_mean
from fewmask.predict.predictor import Engine, Prediction, Predictor, Predicts, open_finished
from fewmask.predict.quality import open_calibration
from fewmask.predict.summary import PredictSummary

__all__ = [
    "Cleanup",
    "KnownScans",
    "MaskForm",
    "MeanPredictor",
    "PredictSummary",
    "Prediction",
    "Predictor",
    "Predicts",
    "load_mean",
    "load_predictor",
    "open_calibration",
    "open_cleanup",
    "open_form",
    "open_known",
    "predict_folder",
]


def load_predictor(
    run: Path, device: str | None = None, engine: Engine = "torch"
) -> Predictor | ExternalPredictor:
    """What predicts for a finished run. Raises `BadCheckpoint` if it is not finished."""
    folder = open_finished(run)
    if not is_external(folder.read_record().method):
        return Predictor.load(run, device, engine)
    if engine != "torch":
        raise BadConfig(
            "nnU-Net has no other engine",
            fix="leave `engine` out",
            code="C02",
        )
    return ExternalPredictor(folder, device)
