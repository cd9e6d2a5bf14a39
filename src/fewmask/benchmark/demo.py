"""The main job on phantoms, from raw NIfTI to report: what `make demo` runs."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from fewmask.benchmark.score import score_run
from fewmask.blocks.device import choose_device
from fewmask.core.budget import Split
from fewmask.core.progress import OnMessage, OnProgress, ignore_progress
from fewmask.core.task import DEFAULT_METHOD
from fewmask.core.words import count
from fewmask.io.atomic import is_part, make_folder, write_text
from fewmask.io.outputs import check_folder
from fewmask.io.prepared import write_split
from fewmask.predict import load_predictor, open_cleanup, open_known, predict_folder
from fewmask.prepare.build import PrepareOptions, prepare
from fewmask.report.run import write_run_report
from fewmask.synth.phantom import LABELS, write_phantoms
from fewmask.training import TrainRequest, train

_MARK = "fewmask-demo"


@dataclass(frozen=True)
class DemoSize:
    """How much a demo makes and learns from."""

    train: int
    """Phantoms to learn from."""
    test: int
    slices: int
    """Outlined slices."""
    steps: int


FULL = DemoSize(16, 4, 20, 300)
QUICK = DemoSize(4, 2, 5, 30)
"""To see that everything works; too few steps for good masks."""


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
    size: DemoSize = FULL,
    seed: int = 0,
    steps: int | None = None,
    method: str = DEFAULT_METHOD,
    say: OnMessage = print,
    progress: OnProgress = ignore_progress,
    device: str | None = None,
) -> DemoResult:
    """Make phantoms, prepare them, train on a few outlined slices and the unlabelled rest (`steps`
    in place of the size's), predict, score, report.

    Starts afresh: a folder an earlier demo left is replaced, any other non-empty folder is refused.
    Raises `BadConfig` then.
    """
    choose_device(device)  # one that is not there is refused before anything is written
    _claim(out)
    start = time.monotonic()

    def say_done(text: str) -> None:
        say(f"{text}   ({time.monotonic() - start:.0f} s)")

    cases = write_phantoms(out / "scans", size.train + size.test, seed)
    say_done(f"{len(cases)} phantom scans with known truth in {out / 'scans'}")
    _prepare(out, cases, size.train)
    say_done(f"prepared in {out / 'prepared'}")
    request = TrainRequest(
        prepared=out / "prepared",
        method=method,
        out=out / "run",
        slices=size.slices,
        steps=steps or size.steps,
        seed=seed,
        device=device,
    )
    run = train(request, on_progress=progress)
    say_done(f"trained on {size.slices} outlined slices and the tags of {size.train} scans")
    predict_folder(
        load_predictor(run, device),
        out / "prepared",
        run / "predictions",
        cases=cases,
        cleanup=open_cleanup(run),
        known=open_known(run, out / "prepared"),
    )
    dice = score_run(run).summaries[0].dice
    report = write_run_report(run)
    say_done(f"{count(len(cases), 'mask')} in {run / 'predictions'}")
    return DemoResult(dice.mean, dice.low, dice.high, report)


def _prepare(out: Path, cases: list[str], train: int) -> None:
    """The phantoms as a prepared dataset, the first ones to learn from."""
    split = Split(train=tuple(cases[:train]), test=tuple(cases[train:]))
    write_split(out / "split.toml", split)
    options = PrepareOptions(
        labels={"liver": (LABELS["liver"],)},
        recipe="ct",
        masks="complete",
        tags="from-masks",
        split=out / "split.toml",
        jobs=2,
    )
    prepare(out / "scans", out / "prepared", options)


def _claim(out: Path) -> None:
    """An empty folder becomes ours; ours is emptied of what a demo writes."""
    ours = (out / _MARK).exists()
    check_folder(out, owns=None if ours else is_part)
    if ours:
        for name in ("scans", "prepared", "run"):
            shutil.rmtree(out / name, ignore_errors=True)
    make_folder(out)
    write_text(out / _MARK, "made by `fewmask demo`; replaced by the next one\n")
