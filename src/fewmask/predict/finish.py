"""From what a network draws to the mask that is written: what was said, clean-up, what was said."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int8

from fewmask.core.volume import LabelMap, Volume
from fewmask.io.known import KnownNote
from fewmask.predict.cleanup import Cleanup
from fewmask.predict.known import Known, find_empty, settle
from fewmask.predict.predictor import Prediction, Predicts


@runtime_checkable
class TakesTags(Protocol):
    """What can be told which slices hold a structure."""

    def volume_with_tags(self, volume: Volume, tags: Int8[np.ndarray, "d k"]) -> Prediction:
        """The mask of a whole scan whose slices are tagged (1, 0; -1: nobody said)."""


@dataclass(frozen=True)
class Finished:
    """A mask to be written, and what became of what was said."""

    prediction: Prediction
    note: KnownNote


def predict_finished(
    predictor: Predicts,
    volume: Volume,
    known: Known | None,
    cleanup: Cleanup,
    classes: Sequence[str],
) -> Finished:
    """Predict, put in what was said, clean up, and put it in again: clean-up may take away what a
    person drew, or fill what a person denied.

    `classes` name the structures 1, 2, ...; without them nothing is called empty.
    """
    if known is not None and known.prompts == "tags" and isinstance(predictor, TakesTags):
        drawn = predictor.volume_with_tags(volume, known.tags)
    else:
        drawn = predictor.volume(volume)
    if known is None or not known.put_in:
        done = cleanup.apply(drawn)
        return Finished(done, KnownNote(empty=find_empty(done.label_map.voxels, known, classes)))
    grid = drawn.label_map.grid
    first = settle(drawn.label_map.voxels, known)
    cleaned = cleanup.apply(replace(drawn, label_map=LabelMap(first.voxels, grid)))
    last = settle(cleaned.label_map.voxels, known)
    note = KnownNote(
        True,
        first.removed,
        tuple(sorted(known.outlines)),
        find_empty(last.voxels, known, classes),
        known.prompts,
    )
    return Finished(replace(cleaned, label_map=LabelMap(last.voxels, grid)), note)
