"""The main job on phantoms, from raw NIfTI to report: what `make demo` runs."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from fewmask.benchmark.score import score_run, write_run_report
from fewmask.core.budget import Split
from fewmask.core.errors import BadConfig
from fewmask.core.progress import OnMessage, OnProgress, ignore_progress
from fewmask.io.prepared import Prepared, write_split
from fewmask.predict import load_predictor, predict_folder
from fewmask.prepare.build import PrepareOptions, prepare
from fewmask.synth.phantom import LABELS, write_phantoms
from fewmask.training import TrainRequest, train

TRAIN_CASES, TEST_CASES = 16, 4
SLICES = 20
STEPS = 300
_MARK = "fewmask-demo"


@dataclass(frozen=True)
class DemoResult:
    """What the last line of the demo says, and where to look."""

    dice: float
    low: float
    high: float
    report: Path


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    steps: int = STEPS,
    method: str = "sam_mix",
    say: OnMessage = print,
    progress: OnProgress = ignore_progress,
) -> DemoResult:
    """Make phantoms, prepare them, train on 20 outlined slices and the unlabelled rest, predict,
    score, report.

    Starts afresh: a folder an earlier demo left is replaced, any other non-empty folder is refused.
    Raises `BadConfig` then.
    """
    _claim(out)
    start = time.monotonic()
    cases = write_phantoms(out / "scans", TRAIN_CASES + TEST_CASES, seed)
    say(
        f"{len(cases)} phantom scans with known truth in {out / 'scans'}   "
        f"({time.monotonic() - start:.0f} s)"
    )
    write_split(
        out / "split.toml", Split(tuple(cases[:TRAIN_CASES]), (), tuple(cases[TRAIN_CASES:]))
    )
    options = PrepareOptions(
        labels={"liver": (LABELS["liver"],)},
        recipe="ct",
        masks="complete",
        tags="from-masks",
        split=out / "split.toml",
        jobs=2,
    )
    prepare(out / "scans", out / "prepared", options)
    say(f"prepared in {out / 'prepared'}   ({time.monotonic() - start:.0f} s)")
    run = train(
        TrainRequest(
            prepared=out / "prepared",
            method=method,
            out=out / "run",
            slices=SLICES,
            steps=steps,
            seed=seed,
        ),
        on_progress=progress,
    )
    say(
        f"trained on {SLICES} outlined slices and the tags of {TRAIN_CASES} scans   "
        f"({time.monotonic() - start:.0f} s)"
    )
    predict_folder(
        load_predictor(run),
        out / "prepared",
        run / "predictions",
        cases=list(Prepared.open(out / "prepared").cases),
    )
    summary = score_run(run).summaries[0].dice
    report = write_run_report(run)
    say(f"{len(cases)} masks in {run / 'predictions'}   ({time.monotonic() - start:.0f} s)")
    return DemoResult(summary.mean, summary.low, summary.high, report)


def _claim(out: Path) -> None:
    """An empty folder becomes ours; ours is emptied of what a demo writes."""
    if out.exists() and any(out.iterdir()):
        if not (out / _MARK).exists():
            raise BadConfig(
                "the demo's folder holds other files",
                where=str(out),
                did="nothing was written",
                fix="choose another --out",
                code="F11",
            )
        for name in ("scans", "prepared", "run"):
            shutil.rmtree(out / name, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARK).write_text("made by `fewmask demo`; replaced by the next one\n")
