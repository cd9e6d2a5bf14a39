"""How unsure a run is of every slice of its scans, kept beside its masks; and what to outline next.

A scan is predicted slice by slice, its probabilities are summed up as they are made and never kept.
What is left, two numbers per slice and structure, stands in `RUN/predictions/CASE.doubt.json`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from fewmask.core.errors import BadConfig, BadDataset, FewmaskError
from fewmask.core.progress import OnProgress, Pace, ignore_progress
from fewmask.core.signals import stopping
from fewmask.core.volume import Volume
from fewmask.io.atomic import make_folder
from fewmask.io.prepared import Prepared, is_prepared
from fewmask.io.run import RunFolder
from fewmask.io.stream import sha256
from fewmask.io.text import read_json, write_json
from fewmask.predict import load_predictor, open_cleanup
from fewmask.predict.cleanup import NOTHING, Cleanup
from fewmask.predict.folder import open_scans, plane_of
from fewmask.predict.known import tags_of
from fewmask.predict.predictor import Predictor, Predicts, open_finished
from fewmask.predict.work import Load, load_prepared
from fewmask.prepare.reading import digest_voxels
from fewmask.quality.next import (
    DEFAULT_RULE,
    DOUBTING,
    PER_SCAN,
    CaseView,
    Rule,
    Suggestion,
    choose,
)

FORMAT = 1


@dataclass(frozen=True)
class Doubt:
    """A scan as a run sees it, per slice and structure."""

    area_mm2: Float[np.ndarray, "d k"]
    """Of the mask after clean-up."""
    doubt_mm2: Float[np.ndarray, "d k"] | None
    """Binary entropy in bits of the structure's probability, summed over the slice, times the area
    of a pixel: so many mm2 of coin toss. None of programs that give no probabilities.
    """


def measure(predictor: Predicts, volume: Volume, k: int, cleanup: Cleanup = NOTHING) -> Doubt:
    """Predict a scan and sum up its k structures. Memory is that of `predict`: one batch and the
    label map.
    """
    pixel = volume.spacing_mm[1] * volume.spacing_mm[2]
    bits = np.zeros((volume.shape[0], k))

    def watch(slices: Sequence[int], probs: Float[Tensor, "c m h w"]) -> None:
        for number in range(k):
            bits[list(slices), number] = entropy_of(probs[number + 1]).numpy(force=True)

    watched = isinstance(predictor, Predictor)
    if isinstance(predictor, Predictor):
        predictor = predictor.watched_by(watch)
    labels = cleanup.apply(predictor.volume(volume)).label_map.voxels
    return Doubt(_areas(labels.astype(np.uint8), k) * pixel, bits * pixel if watched else None)


def entropy_of(p: Float[Tensor, "m h w"]) -> Float[Tensor, " m"]:
    """Binary entropy in bits of every pixel's probability, summed over each slice."""
    p = p.float().clamp(0, 1)
    nats: Float[Tensor, " m"] = (torch.special.entr(p) + torch.special.entr(1 - p)).sum((1, 2))
    return nats / math.log(2)


def suggest(
    run: Path,
    prepared: Path | None = None,
    n: int = 10,
    rule: Rule = DEFAULT_RULE,
    seed: int = 0,
    *,
    known: Mapping[str, Iterable[int]] | None = None,
    per_scan: int = PER_SCAN,
    device: str | None = None,
    predict: bool = True,
    on_progress: OnProgress = ignore_progress,
) -> list[Suggestion]:
    """Up to n slices to outline next, the first one first; the same for the same input.

    `prepared` is a prepared dataset, of which only scans of the training part are suggested (None:
    the run's own), or a folder of scans of which nobody said anything. `known` gives slices d that
    are outlined or declared empty by case, in place of those that the dataset knows. Scans that the
    rule must see predicted are, once (`CASE.doubt.json`); with `predict=False` none is, and a rule
    that wants doubt takes scans without it for usual ones.

    Raises `BadCheckpoint` for a run that is not finished, `BadConfig` (C02) for a rule that wants
    doubt of a program that gives none, `BadDataset` (C06) where structures are not the run's.
    """
    folder = open_finished(run)
    work = _Work(folder, rule, device, predict, on_progress)
    if prepared is not None and not is_prepared(prepared):
        views = work.views_of_scans(prepared)
    else:
        data = folder.open_prepared() if prepared is None else Prepared.open(prepared)
        views = work.views(data, known)
    return choose(views, folder.read_record().task.classes, n, rule, seed, per_scan)


def views_of(
    prepared: Prepared, known: Mapping[str, Iterable[int]] | None = None
) -> list[CaseView]:
    """Scans of the training part, by tags alone: what may be known before the first training.

    Nothing here comes from a mask but what a person said of it: tags, and which slices are known.
    """
    return [_view(prepared, case, known) for case in prepared.split.train]


def doubts_missing(run: Path, prepared: Path) -> list[str]:
    """Cases of the training part that `suggest` has not measured yet with these weights."""
    folder, data = open_finished(run), Prepared.open(prepared)
    weights = sha256(folder.weights)
    return [
        case
        for case in data.split.train
        if read_doubt(folder, case, f"{weights} {data.cases[case].voxels_sha256}") is None
    ]


def _view(
    prepared: Prepared,
    case: str,
    known: Mapping[str, Iterable[int]] | None,
    doubt: Doubt | None = None,
) -> CaseView:
    row = prepared.cases[case]
    return CaseView(
        case,
        row.patient,
        tags_of(prepared, case),
        prepared.reviewed[case] if known is None else frozenset(known.get(case, ())),
        None if doubt is None else doubt.area_mm2,
        None if doubt is None else doubt.doubt_mm2,
        row.flipped,
        prepared.recipe.plane,
        prepared.recipe.slices(row.shape[0]),
    )


class _Work:
    """Views of scans, measured where the rule needs it."""

    def __init__(
        self,
        folder: RunFolder,
        rule: Rule,
        device: str | None,
        predict: bool,
        on_progress: OnProgress,
    ) -> None:
        self.folder, self.rule, self.device = folder, rule, device
        self.predict, self.on_progress = predict, on_progress
        self.weights = sha256(folder.weights)
        self.classes = tuple(folder.read_record().task.classes)
        self.predictor: Predicts | None = None

    def views(
        self, prepared: Prepared, known: Mapping[str, Iterable[int]] | None
    ) -> list[CaseView]:
        """Of the training part of a prepared dataset."""
        if prepared.classes != self.classes:
            raise BadDataset(
                f"the dataset has {', '.join(prepared.classes)}, the run {', '.join(self.classes)}",
                where=str(prepared.folder),
                did="nothing was suggested",
                fix="give the dataset that the run learned from, or train a new run on this one",
                code="C06",
            )
        views = []
        cases = list(prepared.split.train)
        pace = Pace("scan", len(cases))
        for done, case in enumerate(cases, 1):
            view, doubt = _view(prepared, case, known), None
            if self._wants(view):
                digest = prepared.cases[case].voxels_sha256
                doubt = self.doubt(case, digest, lambda case=case: load_prepared(prepared, case))  # type: ignore[misc]
            views.append(view if doubt is None else _view(prepared, case, known, doubt))
            self.on_progress(pace.event(done, item=case))
        return views

    def views_of_scans(self, source: Path) -> list[CaseView]:
        """Of a folder of scans; those that cannot be read are left out unless all are."""
        plane, views, problems = plane_of(self._open()), [], []
        found = open_scans(source).found
        pace = Pace("scan", len(found))
        for done, (case, load) in enumerate(found.items(), 1):
            try:
                volume = load().in_plane(plane)
            except FewmaskError as error:
                problems.append(error)
                continue
            doubt = self.doubt(case, digest_voxels(volume), lambda volume=volume: volume)  # type: ignore[misc]
            untold = np.full((volume.shape[0], len(self.classes)), -1, np.int8)
            area = None if doubt is None else doubt.area_mm2
            flipped = volume.grid.orientation.flips[0]
            bits = None if doubt is None else doubt.doubt_mm2
            views.append(CaseView(case, case, untold, frozenset(), area, bits, flipped, plane))
            self.on_progress(pace.event(done, item=case))
        if problems and not views:
            raise problems[0]
        return views

    def doubt(self, case: str, digest: str, load: Load) -> Doubt | None:
        """As it was kept, or measured now and kept."""
        of = f"{self.weights} {digest}"
        kept = read_doubt(self.folder, case, of)
        if kept is not None or not self.predict:
            return kept
        with stopping("measuring doubt", self.folder.predictions):
            cleanup = open_cleanup(self.folder.path)
            made = measure(self._open(), load(), len(self.classes), cleanup)
            write_doubt(self.folder, case, of, made)
        return made

    def _wants(self, view: CaseView) -> bool:
        """Does the rule need to see the scan predicted? Not where tags say all it asks."""
        return self.rule in DOUBTING or bool((view.tags < 0).any())

    def _open(self) -> Predicts:
        if self.predictor is None:
            self.predictor = load_predictor(self.folder.path, self.device)
            if self.rule in DOUBTING and not isinstance(self.predictor, Predictor):
                raise BadConfig(
                    f"`rule={self.rule}` wants probabilities, and the run's program gives none",
                    did="nothing was suggested",
                    fix="use `rule=random` or `rule=spread`",
                    code="C02",
                )
        return self.predictor


def _areas(labels: UInt8[np.ndarray, "d h w"], k: int) -> Float[np.ndarray, "d k"]:
    """Pixels of each structure in each slice."""
    counts = [np.bincount(plane.ravel(), minlength=k + 1)[1 : k + 1] for plane in labels]
    return np.array(counts, float).reshape(len(labels), k)


def write_doubt(folder: RunFolder, case: str, of: str, doubt: Doubt) -> None:
    """Beside the masks of the run; `of` says of which weights and voxels."""
    make_folder(folder.predictions)
    bits = None if doubt.doubt_mm2 is None else np.round(doubt.doubt_mm2, 3).tolist()
    area = np.round(doubt.area_mm2, 3).tolist()
    record = {"format": FORMAT, "of": of, "area_mm2": area, "doubt_mm2": bits}
    write_json(_path(folder, case), record)


def read_doubt(folder: RunFolder, case: str, of: str) -> Doubt | None:
    """What `write_doubt` left; None if there is none of these weights and voxels, or it cannot be
    read: it is measured again.
    """
    path = _path(folder, case)
    if not path.is_file():
        return None
    try:
        record = read_json(path)
        return _take_apart(record) if record.get("of") == of else None
    except (FewmaskError, KeyError, ValueError, TypeError):
        return None


def _take_apart(record: Mapping[str, Any]) -> Doubt | None:
    if record["format"] != FORMAT:
        return None
    area, bits = np.array(record["area_mm2"], float), record["doubt_mm2"]
    doubt = None if bits is None else np.array(bits, float)
    if area.ndim != 2 or (doubt is not None and doubt.shape != area.shape):
        raise ValueError("tables of other sizes")
    return Doubt(area, doubt)


def _path(folder: RunFolder, case: str) -> Path:
    return folder.predictions / f"{case}.doubt.json"
