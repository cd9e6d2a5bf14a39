"""From what a network draws to the mask that is written: what was said, clean-up, what was said."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int8

from fewmask.core.volume import LabelMap, Volume
from fewmask.io.known import KnownNote
from fewmask.predict.cleanup import Cleanup
from fewmask.predict.known import Known, find_empty, settle
from fewmask.predict.predictor import Prediction, Predicts
from fewmask.predict.quality import Outlined, look_at, overlap
from fewmask.quality.signs import Signs


@runtime_checkable
class TakesTags(Protocol):
    """What can be told which slices hold a structure."""

    def volume_with_tags(
        self,
        volume: Volume,
        tags: Int8[np.ndarray, "d k"],
        probabilities: Float[np.ndarray, "c d h w"] | None = None,
    ) -> Prediction:
        """The mask of a whole scan whose slices are tagged (1, 0; -1: nobody said)."""


@dataclass(frozen=True)
class Finished:
    """A mask to be written, and what became of what was said."""

    prediction: Prediction
    note: KnownNote
    signs: dict[str, Signs] = field(default_factory=dict)
    """By structure what is seen of the mask without truth."""
    outlined: Outlined | None = None
    """How the network's own drawing fits outlines that it learned from."""


def predict_finished(
    predictor: Predicts,
    volume: Volume,
    known: Known | None,
    cleanup: Cleanup,
    classes: Sequence[str],
    probabilities: Float[np.ndarray, "c d h w"] | None = None,
) -> Finished:
    """Predict, put in what was said, clean up, and put it in again: clean-up may take away what a
    person drew, or fill what a person denied.

    `classes` name the structures 1, 2, ...; without them nothing is called empty, and no signs of
    quality are read. `probabilities` is filled, if the `predictor` gives any.
    """
    drawn = draw_scan(predictor, volume, known, probabilities)
    return finish_drawn(drawn, volume, known, cleanup, classes)


def finish_drawn(
    drawn: Prediction,
    volume: Volume,
    known: Known | None,
    cleanup: Cleanup,
    classes: Sequence[str],
) -> Finished:
    """The second half of it, for which no network is needed."""
    done = _settle(drawn, known, cleanup, classes)
    if not classes:
        return done
    signs = look_at(drawn, done.prediction, volume, len(classes), known)
    # What is shown to nobody any more need not wait for the next scan in memory.
    slim = replace(done.prediction, confidence=None, mass=None)
    outlined = overlap(drawn, known, classes)
    return replace(
        done, prediction=slim, signs=dict(zip(classes, signs, strict=True)), outlined=outlined
    )


def draw_scan(
    predictor: Predicts,
    volume: Volume,
    known: Known | None,
    probabilities: Float[np.ndarray, "c d h w"] | None = None,
) -> Prediction:
    """What the network draws, told what a scan's slices hold if it can be told."""
    more = () if probabilities is None else (probabilities,)
    if known is not None and known.prompts == "tags" and isinstance(predictor, TakesTags):
        return predictor.volume_with_tags(volume, known.tags, *more)
    return predictor.volume(volume, *more)


def _settle(
    drawn: Prediction, known: Known | None, cleanup: Cleanup, classes: Sequence[str]
) -> Finished:
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
