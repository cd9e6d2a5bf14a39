"""A run folder and a scan -> a mask on the scanner's own grid. Needs nothing else; no label can
enter.
"""

from pathlib import Path

from fewmask.core.errors import BadConfig
from fewmask.methods import is_external
from fewmask.predict.external import ExternalPredictor
from fewmask.predict.folder import PredictSummary, predict_folder
from fewmask.predict.predictor import Engine, Prediction, Predictor, Predicts, open_finished

__all__ = [
    "PredictSummary",
    "Prediction",
    "Predictor",
    "Predicts",
    "load_predictor",
    "predict_folder",
    "set_windows",
]


def load_predictor(run: Path, device: str | None = None, engine: Engine = "torch") -> Predicts:
    """Whatever answers for a finished run. Raises `BadCheckpoint` if it is not finished."""
    folder = open_finished(run)
    if not is_external(folder.read_record().method):
        return Predictor.load(run, device, engine)
    if engine != "torch":
        raise BadConfig(
            "nnU-Net has no other engine",
            fix="leave --engine out",
            code="C02",
        )
    return ExternalPredictor(folder, device)


def set_windows(
    predictor: Predicts,
    stride: tuple[int, int, int] | None = None,
    gaussian: bool = False,
    windows: int | None = None,
) -> None:
    """How a 3D method cuts a scan: `stride` in voxels (d, h, w) between windows, and how many go at
    a time.

    Raises `BadConfig` for a method without windows, and for a stride that would leave voxels out.
    """
    patch = predictor.method.batch_spec.patch if isinstance(predictor, Predictor) else None
    if not isinstance(predictor, Predictor) or patch is None:
        raise BadConfig(
            "stride, Gaussian weights and windows at a time are for 3D methods",
            did="nothing was written",
            fix="leave them out",
            code="C02",
        )
    if stride is not None and not all(
        1 <= step <= side for step, side in zip(stride, patch, strict=True)
    ):
        raise BadConfig(
            f"a stride of {stride} leaves gaps between windows of {patch}",
            did="nothing was written",
            fix="use steps from 1 to the window's sides",
            code="C02",
        )
    predictor.stride, predictor.gaussian = stride, gaussian
    predictor.windows = windows or predictor.windows
