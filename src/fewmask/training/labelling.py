"""How one stage's network labels scans for the next."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from fewmask.cleanup import CleanupRule, clean
from fewmask.core.budget import Budget
from fewmask.core.errors import BadConfig
from fewmask.core.progress import OnProgress, Pace
from fewmask.core.randomness import permutation
from fewmask.core.run_record import RunRecord
from fewmask.core.signals import listen
from fewmask.core.volume import LabelMap
from fewmask.data.label_guard import LabelGuard
from fewmask.io.atomic import make_folder
from fewmask.io.nifti import read_labels, write_labels
from fewmask.io.prepared import Prepared
from fewmask.io.run import CONFIDENCE, CONFIDENCE_COLUMNS, CONFIDENCE_OVER, RunFolder
from fewmask.io.tables import read_csv, write_csv
from fewmask.io.text import read_json, write_json
from fewmask.methods._method import ConfidenceOver, Stage
from fewmask.predict import Prediction, Predictor
from fewmask.predict.known import Known, read_known, settle, tags_of
from fewmask.predict.work import load_prepared
from fewmask.training.cleanup import granted_slices, learn_rule
from fewmask.training.stages import untouched

_COLUMNS = (*CONFIDENCE_COLUMNS, CONFIDENCE_OVER)


def label_scans(
    root: Path,
    stage: Stage,
    prepared: Prepared,
    budget: Budget,
    device: torch.device,
    on_progress: OnProgress,
) -> None:
    """Label training scans, once: `CASE.nii.gz`, `CASE.confidence.nii.gz` (0 to 255), and a table.

    Those without a granted mask, or any (`choose_scans`): then the network is told what tags
    say, draws no slice that they call empty, and what tags and outlines say is put into its masks,
    which are cleaned by the rule that outlines and tags speak for (`cleanup.json` in the folder).

    Goes on after the last scan that was labelled. Raises `Interrupted` on a signal or when the
    callback asks to stop, after the scan at hand.
    """
    folder = root / stage.pseudo_labels_to
    if (folder / CONFIDENCE).exists():
        return
    make_folder(folder)
    begun = folder / "begun.csv"
    rows = read_csv(begun, CONFIDENCE_COLUMNS) if begun.exists() else []
    labelled = {row["case"] for row in rows}
    predictor = Predictor.load(root / stage.name, str(device))
    predictor.with_confidence = True
    outlined = granted_slices(LabelGuard(prepared, budget)) if stage.labels_all else {}
    run = RunFolder(root / stage.name)
    cases = untouched(prepared, budget)
    if stage.labels_all:
        cases = choose_scans(stage, prepared, budget, run.read_record().seed)
    pace = Pace("scan", len(cases))
    with listen() as asked:
        for done, case in enumerate(cases, 1):
            if case in labelled or (
                stage.skip_labelled_in
                and (root / stage.skip_labelled_in / f"{case}.nii.gz").exists()
            ):
                continue
            if stage.labels_all:
                prediction = _draw(predictor, prepared, case)
            else:
                prediction = predictor.volume(load_prepared(prepared, case))
            voxels, confidence = prediction.label_map.voxels, _confidence(stage, prediction)
            confidence[outlined.get(case, [])] = 255
            mean = mean_confidence(voxels, confidence, stage.confidence_over)
            sure = mean >= stage.min_confidence
            if sure:
                grid = prediction.label_map.grid
                write_labels(folder / f"{case}.confidence.nii.gz", LabelMap(confidence, grid))
                write_labels(folder / f"{case}.nii.gz", LabelMap(voxels, grid))
            line = {"case": case, "confidence": f"{mean:.4f}", "labelled": str(int(sure))}
            rows.append({**line, CONFIDENCE_OVER: stage.confidence_over})
            write_csv(begun, _COLUMNS, rows)
            note = f"{stage.name}: {done} of {len(cases)} scans labelled"
            asked.by_caller |= bool(on_progress(pace.event(done, item=case, note=note)))
            if asked.stop:
                raise asked.interrupted(f"after labelling {done} of {len(cases)} scans", folder)
    if stage.labels_all:
        _finish(folder, cases, prepared, budget, run.read_record(), on_progress)
    write_csv(folder / CONFIDENCE, _COLUMNS, rows)
    begun.unlink(missing_ok=True)
    if stage.min_confidence and rows:
        count = sum(int(row["labelled"]) for row in rows)
        least, most = f"{stage.min_confidence:g}", max(row["confidence"] for row in rows)
        over = "" if stage.confidence_over == "all" else " over voxels of structures"
        note = (
            f"{stage.name}: {count} of {len(rows)} scans are sure enough to teach ({least}; the "
            f"surest has {most}{over})"
        )
        on_progress(pace.event(len(cases), note=note))


def mean_confidence(
    voxels: UInt8[np.ndarray, "d h w"],
    confidence: UInt8[np.ndarray, "d h w"],
    over: ConfidenceOver,
) -> float:
    """Mean of the voxels' confidence (0 to 255), as a number from 0 to 1; 0 over structures where
    nothing is called one.
    """
    chosen = confidence if over == "all" else confidence[voxels > 0]
    return float(chosen.mean()) / 255 if chosen.size else 0.0


def choose_scans(stage: Stage, prepared: Prepared, budget: Budget, seed: int) -> list[str]:
    """What a stage labels that labels any training scan: all, or `Stage.labels_most` of them, those
    with outlines first and the others as the seed draws them.
    """
    every = list(prepared.split.train)
    known = {case for case, _ in budget.slices} | set(budget.volumes)
    drawn = [every[place] for place in permutation(len(every), seed, "label")]
    first = sorted(drawn, key=lambda case: case not in known)
    chosen = set(first[: stage.labels_most or None])
    return [case for case in every if case in chosen]


def seconds_to_label(predictor: Predictor, prepared: Prepared, cases: Sequence[str]) -> float:
    """About how long it takes to draw the slices of these scans that tags do not call empty: those
    of one of the smallest are.
    """
    depths = {}
    for case in cases:
        drawn = int((tags_of(prepared, case) != 0).any(1).sum())
        if drawn:
            depths[case] = drawn
    if not depths:
        return 0.0
    smallest = min(depths, key=lambda case: depths[case])
    start = time.perf_counter()
    _draw(predictor, prepared, smallest)
    return (time.perf_counter() - start) * sum(depths.values()) / depths[smallest]


def _draw(predictor: Predictor, prepared: Prepared, case: str) -> Prediction:
    """The mask by a network that is told the scan's tags."""
    tags = tags_of(prepared, case)
    return predictor.volume_with_tags(load_prepared(prepared, case), tags, skip_empty=True)


def _finish(
    folder: Path,
    cases: Sequence[str],
    prepared: Prepared,
    budget: Budget,
    record: RunRecord,
    on_progress: OnProgress,
) -> None:
    """Put into the drawn masks what tags and outlines say, and clean them by the rule that these
    speak for. Begun again after a stop it comes to the same: the rule is written first.
    """
    guard, path = LabelGuard(prepared, budget), folder / "cleanup.json"

    def read(case: str) -> LabelMap:
        return read_labels(folder / f"{case}.nii.gz")

    if not path.exists():

        def draw(case: str) -> UInt8[np.ndarray, "d h w"]:
            return settle(read(case).voxels, Known(tags_of(prepared, case))).voxels

        rule = learn_rule(
            draw, prepared, budget, record.seed, on_progress, saved=record.steps, where=folder
        )
        write_json(path, rule.as_dict())
    rule = CleanupRule.from_dict(read_json(path))
    for case in cases:
        drawn, known = read(case), read_known(prepared, guard, case)
        cleaned = clean(settle(drawn.voxels, known).voxels, prepared.classes, rule)
        settled = settle(cleaned.voxels, known)
        write_labels(folder / f"{case}.nii.gz", LabelMap(settled.voxels, drawn.grid))


def _confidence(stage: Stage, prediction: Prediction) -> UInt8[np.ndarray, "d h w"]:
    if prediction.confidence is None:
        raise BadConfig(
            f"{stage.method} gives no confidence, so that it cannot label scans for another "
            "training",
            did="no scan was labelled",
            fix="let another method label the scans",
            code="C02",
        )
    return prediction.confidence
