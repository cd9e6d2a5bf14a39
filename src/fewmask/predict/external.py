"""A trained outside program; each scan in a process of its own, so that nothing of it stays in
memory.
"""

from pathlib import Path
from typing import NoReturn

import torch
from jaxtyping import Float
from numpy import ndarray

from fewmask.blocks.device import choose_device
from fewmask.core.volume import Volume
from fewmask.external import nnunet
from fewmask.io.run import RunFolder
from fewmask.methods import config_from
from fewmask.predict.predictor import Prediction, no_bound, no_windows
from fewmask.prepare.intensity import intensity_notes


class ExternalPredictor:
    """nnU-Net with the weights of a run."""

    promptable = False

    def __init__(
        self, run: RunFolder, device: str | None = None, weights: Path | None = None
    ) -> None:
        """`run` is finished, or these are its weights. Raises `BadConfig` where nnU-Net is not set
        up.
        """
        nnunet.require()
        place = choose_device(device)
        self._place = nnunet.Place(run.path / nnunet.FOLDER, str(place), torch.get_num_threads())
        self._weights = weights or run.weights
        self.recipe = run.read_recipe()
        record = run.read_record()
        self._chosen = config_from(record.method, record.config)

    def volume(self, volume: Volume) -> Prediction:
        """The mask of a whole scan."""
        labels = nnunet.ask(
            self._place, self._weights, self._chosen.configuration, self._chosen.mirror, volume
        )
        notes = tuple(intensity_notes(volume, self.recipe.modality))
        return Prediction(labels, prompts=None, no_prompt=0, notes=notes)

    def volume_with_boxes(self, volume: Volume, boxes: Float[ndarray, "d k 4"]) -> NoReturn:
        """Raises `BadConfig`: there is no oracle-box bound."""
        raise no_bound()

    def with_windows(
        self,
        stride: tuple[int, int, int] | None = None,
        gaussian: bool | None = None,
        batch: int | None = None,
    ) -> NoReturn:
        """Raises `BadConfig`: nnU-Net cuts scans by itself."""
        raise no_windows()
