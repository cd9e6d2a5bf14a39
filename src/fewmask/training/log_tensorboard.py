"""The log of a training as TensorBoard reads it: event files in the run folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewmask.io.extra import need


class TensorBoardLog:
    """Event files in `folder`; steps from `resumed` on replace what an earlier process wrote."""

    def __init__(self, folder: Path, resumed: int) -> None:
        need("tensorboard", "tensorboard", "`log=tensorboard`")
        from torch.utils.tensorboard import SummaryWriter

        self._is_new = not folder.exists()
        # Readers forget steps of earlier files from `purge_step` on: a resume does them again.
        self._writer = SummaryWriter(str(folder), purge_step=None if self._is_new else resumed)

    def settings(self, settings: Mapping[str, str | float]) -> None:
        """As hyperparameters; once."""
        if not self._is_new:
            return
        from torch.utils.tensorboard.summary import hparams

        for summary in hparams(dict(settings), {"total_loss": 0.0}):
            self._writer._get_file_writer().add_summary(summary)

    def step(self, step: int, numbers: Mapping[str, float]) -> None:
        """Scalars."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    scores = step

    def close(self, how: str = "finished") -> None:
        """Flush; TensorBoard has no word for how it ended."""
        self._writer.close()


def open_tensorboard(
    run: Path, known: dict[str, Any], resumed: int
) -> tuple[TensorBoardLog, dict[str, Any]]:
    """The log in `run/log/tensorboard`."""
    return TensorBoardLog(run / "log" / "tensorboard", resumed), known
