"""How one stage's network labels scans for the next."""

import time
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from fewmask.cleanup import CleanupRule, clean
from fewmask.core.budget import Budget
from fewmask.core.errors import BadConfig
from fewmask.core.progress import OnProgress, Pace
from fewmask.core.signals import listen
from fewmask.core.volume import LabelMap
from fewmask.data.label_guard import LabelGuard
from fewmask.io.atomic import make_folder
from fewmask.io.nifti import write_labels
from fewmask.io.prepared import Prepared
from fewmask.io.run import CONFIDENCE, CONFIDENCE_COLUMNS, CONFIDENCE_OVER, RunFolder
from fewmask.io.tables import read_csv, write_csv
from fewmask.methods._method import ConfidenceOver, Stage
from fewmask.predict import Prediction, Predictor
from fewmask.predict.folder import load_prepared
from fewmask.predict.known import read_known, settle
from fewmask.training.cleanup import learn_cleanup
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

    Those without a granted mask, or all (`Stage.labels_all`): then what tags and outlines say is
    put in, and the rest is cleaned by the rule that they speak for.

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
    cases, finish = untouched(prepared, budget), None
    if stage.labels_all:
        cases = list(prepared.split.train)
        finish = _Finish(RunFolder(root / stage.name), predictor, prepared, budget, on_progress)
    pace = Pace("scan", len(cases))
    with listen() as asked:
        for done, case in enumerate(cases, 1):
            if case in labelled or (
                stage.skip_labelled_in
                and (root / stage.skip_labelled_in / f"{case}.nii.gz").exists()
            ):
                continue
            prediction = predictor.volume(load_prepared(prepared, case))
            voxels, confidence = prediction.label_map.voxels, _confidence(stage, prediction)
            if finish is not None:
                voxels, confidence = finish.scan(case, voxels, confidence)
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


def seconds_to_label(predictor: Predictor, prepared: Prepared) -> float:
    """About how long it takes to label all training scans: one of the smallest is predicted."""
    depths = {case: prepared.cases[case].shape[0] for case in prepared.split.train}
    smallest = min(depths, key=lambda case: depths[case])
    start = time.perf_counter()
    predictor.volume(load_prepared(prepared, smallest))
    return (time.perf_counter() - start) * sum(depths.values()) / depths[smallest]


class _Finish:
    """What is done to a mask before another network learns from it."""

    def __init__(
        self,
        run: RunFolder,
        predictor: Predictor,
        prepared: Prepared,
        budget: Budget,
        on_progress: OnProgress,
    ) -> None:
        """Learns the clean-up rule of `run`, if it has none yet."""
        if not run.cleanup.exists():
            learn_cleanup(run, predictor, prepared, budget, on_progress)
        self._rule = CleanupRule.from_dict(run.read_cleanup() or {})
        self._prepared, self._guard = prepared, LabelGuard(prepared, budget)

    def scan(
        self, case: str, voxels: UInt8[np.ndarray, "d h w"], confidence: UInt8[np.ndarray, "d h w"]
    ) -> tuple[UInt8[np.ndarray, "d h w"], UInt8[np.ndarray, "d h w"]]:
        """The mask with tags and outlines put in and cleaned; slices that these decide are sure."""
        known = read_known(self._prepared, self._guard, case)
        cleaned = clean(settle(voxels, known).voxels, self._prepared.classes, self._rule)
        settled = settle(cleaned.voxels, known)
        sure = np.where(settled.sure[:, None, None], 255, confidence).astype(np.uint8)
        return settled.voxels, sure


def _confidence(stage: Stage, prediction: Prediction) -> UInt8[np.ndarray, "d h w"]:
    if prediction.confidence is None:
        raise BadConfig(
            f"{stage.method} gives no confidence, so that it cannot label scans for another "
            "training",
            did="no scan was labelled",
            code="C02",
        )
    return prediction.confidence
