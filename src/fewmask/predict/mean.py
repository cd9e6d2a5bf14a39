"""The mean of several runs: unlike networks err on different scans, and their mean errs less."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from math import prod
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from jaxtyping import Float, Int8

from fewmask.core.errors import BadConfig
from fewmask.core.volume import LabelMap, Volume
from fewmask.core.words import count
from fewmask.io.atomic import no_room
from fewmask.methods import is_external
from fewmask.predict.predictor import (
    Engine,
    Prediction,
    Predictor,
    no_bound,
    no_windows,
    open_finished,
)
from fewmask.predict.restore import confidence_of, mass_of

_IN_MEMORY = 2**28
"""Bytes of probabilities up to which they are no file: 256 MiB."""
_SLICES = 8
"""Slices that are added up at a time."""


class MeanPredictor:
    """Networks of the same structures, each with its own recipe; the mean of their probabilities
    decides.
    """

    promptable = False

    def __init__(self, members: Sequence[Predictor]) -> None:
        """Two or more, with equal tasks; `load_mean` opens them from run folders."""
        self.members = tuple(members)
        self.task = self.members[0].task
        self.recipe = self.members[0].recipe
        stamps = [member.stamp for member in self.members]
        self.stamp = "mean of " + "; ".join(stamps) if all(stamps) else ""
        self.with_confidence = False
        """Also give the confidence of every voxel, and the sums of probabilities (`mass`)."""

    @property
    def device(self) -> torch.device:
        """Where the first network lies; all of `load_mean` lie there."""
        return self.members[0].device

    def volume(
        self, volume: Volume, probabilities: Float[np.ndarray, "c d h w"] | None = None
    ) -> Prediction:
        """The mask of a whole scan; of equal probabilities the first class wins, background first.

        Networks run one after the other. What they say is kept in memory up to 256 MiB, else in
        temporary files of twice (structures + 1) x 4 bytes a voxel (`TMPDIR` says where; raises
        `NoRoom` where there is none). `probabilities` is filled with the mean.
        """
        return self._mean(volume, lambda member, own: member.volume(volume, own), probabilities)

    def volume_with_tags(
        self,
        volume: Volume,
        tags: Int8[np.ndarray, "d k"],
        probabilities: Float[np.ndarray, "c d h w"] | None = None,
    ) -> Prediction:
        """The same where a person says which slices hold a structure, for networks that judge it;
        see `Predictor.volume_with_tags`.
        """
        return self._mean(
            volume, lambda member, own: member.volume_with_tags(volume, tags, own), probabilities
        )

    def volume_with_boxes(self, volume: Volume, boxes: Float[np.ndarray, "d k 4"]) -> NoReturn:
        """Raises `BadConfig`: there is no oracle-box bound."""
        raise no_bound()

    def with_windows(
        self,
        stride: tuple[int, int, int] | None = None,
        gaussian: bool | None = None,
        batch: int | None = None,
    ) -> "MeanPredictor":
        """The same with other windows for the 3D methods among them. Raises `BadConfig` if there is
        none.
        """
        if all(member.windows is None for member in self.members):
            raise no_windows()
        return MeanPredictor(
            [
                member if member.windows is None else member.with_windows(stride, gaussian, batch)
                for member in self.members
            ]
        )

    def _mean(
        self,
        volume: Volume,
        ask: Callable[[Predictor, Float[np.ndarray, "c d h w"]], Prediction],
        probabilities: Float[np.ndarray, "c d h w"] | None = None,
    ) -> Prediction:
        shape = (self.task.k + 1, *volume.shape)
        notes: dict[str, None] = {}
        own = nullcontext(probabilities) if probabilities is not None else zeros_or_file(shape)
        with zeros_or_file(shape) as one, own as total:
            total[:] = 0
            for member in self.members:
                said = ask(member, one)
                notes |= dict.fromkeys(said.notes)
                if said.no_prompt:
                    notes[f"one of the runs had no prompt for {count(said.no_prompt, 'slice')}"] = (
                        None
                    )
                for block in _blocks(volume.shape[0]):
                    total[:, block] += one[:, block]
            labels = np.zeros(volume.shape, np.uint8)
            confidence = np.zeros(volume.shape, np.uint8) if self.with_confidence else None
            mass = np.zeros((volume.shape[0], self.task.k)) if self.with_confidence else None
            for block in _blocks(volume.shape[0]):
                total[:, block] /= len(self.members)
                labels[block] = total[:, block].argmax(0)
                if confidence is not None and mass is not None:
                    probs = torch.from_numpy(np.asarray(total[:, block]))
                    confidence[block], mass[block] = confidence_of(probs), mass_of(probs)
        grid = volume.grid
        return Prediction(
            LabelMap(labels, grid), None, 0, confidence, mass=mass, notes=tuple(notes)
        )


def load_mean(
    runs: Sequence[Path], device: str | None = None, engine: Engine = "torch"
) -> MeanPredictor:
    """Open finished runs whose mean predicts. Raises `BadConfig` for runs of other structures, one
    that is named twice and outside programs, `BadCheckpoint` for a run that is not finished.
    """
    folders = [run.resolve() for run in runs]
    twice = sorted({str(folder) for folder in folders if folders.count(folder) > 1})
    if twice:
        raise BadConfig(
            "a run is named twice: the mean would count it twice",
            where=twice,
            did="nothing was written",
            fix="name each run once",
            code="C02",
        )
    records = [open_finished(run).read_record() for run in runs]
    first = records[0].task.classes
    for run, record in zip(runs, records, strict=True):
        if is_external(record.method):
            raise BadConfig(
                f"{record.method} gives masks and no probabilities, so it has no part in a mean",
                where=str(run),
                fix="leave this run out",
                code="C02",
            )
        if record.task.classes != first:
            raise BadConfig(
                f"the runs draw other structures: {', '.join(first)} and "
                f"{', '.join(record.task.classes)}",
                where=[str(runs[0]), str(run)],
                fix="give runs of the same structures in the same order",
                code="C02",
            )
    return MeanPredictor([Predictor.load(run, device, engine) for run in runs])


def _blocks(depth: int) -> Iterator[slice]:
    for start in range(0, depth, _SLICES):
        yield slice(start, start + _SLICES)


@contextmanager
def zeros_or_file(shape: tuple[int, ...]) -> Iterator[Float[np.ndarray, "c d h w"]]:
    """Zeros in memory, or in a temporary file that goes when it is done with."""
    size = 4 * prod(shape)
    if size <= _IN_MEMORY:
        yield np.zeros(shape, np.float32)
        return
    with tempfile.TemporaryFile() as file:
        try:
            # A file with holes would end the program where the disk runs full later.
            reserve = getattr(os, "posix_fallocate", None)
            reserve(file.fileno(), 0, size) if reserve else file.truncate(size)
        except OSError as error:
            raise no_room(error, Path(tempfile.gettempdir()), needed=size) from error
        yield np.memmap(file, np.float32, "r+", shape=shape)
