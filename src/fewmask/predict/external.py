"""A trained program, ready to answer; each scan in a process of its own, so that nothing of it
stays in memory.
"""

from typing import NoReturn

import torch
from jaxtyping import Float
from numpy import ndarray

from fewmask.core.volume import Volume
from fewmask.external import nnunet
from fewmask.io.run import RunFolder
from fewmask.methods import config_from
from fewmask.predict.predictor import Prediction, no_bound


class ExternalPredictor:
    """nnU-Net with the weights of a run."""

    promptable = False

    def __init__(self, run: RunFolder, device: str | None = None) -> None:
        """`run` is finished. Raises `BadConfig` where nnU-Net is not set up."""
        nnunet.require()
        place = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._place = nnunet.Place(run.path / nnunet.FOLDER, place, torch.get_num_threads())
        self._weights = run.weights
        record = run.read_record()
        self._chosen = config_from(record.method, record.config)

    def volume(self, volume: Volume) -> Prediction:
        """The mask of a whole scan."""
        chosen = self._chosen
        return Prediction(
            nnunet.ask(self._place, self._weights, chosen.configuration, chosen.mirror, volume),
            None,
            0,
        )

    def volume_with_boxes(self, volume: Volume, boxes: Float[ndarray, "d k 4"]) -> NoReturn:
        """Raises `BadConfig`: there is no oracle-box bound."""
        raise no_bound()
