"""Time and peak memory of the costly verbs, each in a process of its own.

    python benchmarks/cost.py prepare DATA --label liver=6
    python benchmarks/cost.py step PREPARED METHOD [--volumes N] [--set KEY=VALUE]
    python benchmarks/cost.py predict RUN SCAN

Prints one line of JSON: seconds per scan, per training step (median after three; by the clock,
and of processor time, which a busy machine changes little) or per slice, and peak resident memory
of the process (and, for prepare, of its largest child). Numbers depend on the machine:
docs/results/cost.md says which.
"""

import argparse
import itertools
import json
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from fewmask.io.nifti import read_volume
from fewmask.predict import Predictor
from fewmask.prepare.build import PrepareOptions, prepare
from fewmask.prepare.mapping import parse_labels
from fewmask.training import ProgressEvent, TrainRequest, train


def peak_mib() -> dict[str, int]:
    """Peak resident memory so far of this process and of its largest finished child."""
    usage = {"self": resource.RUSAGE_SELF, "children": resource.RUSAGE_CHILDREN}
    return {
        f"peak_{name}_mib": resource.getrusage(who).ru_maxrss // 1024 for name, who in usage.items()
    }


def time_prepare(data: Path, label: list[str]) -> dict[str, object]:
    """Prepare a whole folder afresh."""
    folder = Path(tempfile.mkdtemp())
    start = time.perf_counter()
    summary = prepare(
        data,
        folder / "prepared",
        PrepareOptions(labels=parse_labels(label), masks="complete", tags="from-masks", jobs=2),
    )
    seconds = time.perf_counter() - start
    shutil.rmtree(folder)
    return {
        "scans": summary.built,
        "seconds": round(seconds, 2),
        "seconds_per_scan": round(seconds / max(1, summary.built), 3),
    }


def time_step(
    prepared: Path, method: str, slices: int, volumes: int | None, settings: list[str], steps: int
) -> dict[str, object]:
    """Whole training steps (data, forward, backward, optimiser) as the loop runs them."""
    folder = Path(tempfile.mkdtemp())
    stamps: list[tuple[int, float, float]] = []

    def stamp(progress: ProgressEvent) -> None:
        stamps.append((progress.done, time.perf_counter(), time.process_time()))

    train(
        TrainRequest(
            prepared=prepared,
            method=method,
            out=folder / "run",
            steps=steps,
            settings=tuple(settings),
            slices=slices if volumes is None else None,
            volumes=volumes,
        ),
        on_progress=stamp,
    )
    shutil.rmtree(folder)
    clock, processor = [], []
    for before, after in itertools.pairwise(stamps[3:] if len(stamps) > 4 else stamps):
        taken = after[0] - before[0]
        if not taken:
            continue
        clock.append((after[1] - before[1]) / taken)
        processor.append((after[2] - before[2]) / taken)
    return {
        "method": method,
        "seconds_per_step": round(statistics.median(clock), 3),
        "processor_seconds_per_step": round(statistics.median(processor), 3),
        "threads": torch.get_num_threads(),
    }


def time_predict(run: Path, scan: Path) -> dict[str, object]:
    """One whole scan, read, predicted and put back on its grid."""
    predictor = Predictor.load(run)
    start = time.perf_counter()
    volume = read_volume(scan)
    predictor.volume(volume)
    seconds = time.perf_counter() - start
    return {
        "shape_dhw": volume.shape,
        "seconds": round(seconds, 2),
        "seconds_per_slice": round(seconds / volume.shape[0], 4),
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("prepare")
    verb.add_argument("data", type=Path)
    verb.add_argument("--label", action="append", required=True)
    verb = verbs.add_parser("step")
    verb.add_argument("prepared", type=Path)
    verb.add_argument("method")
    verb.add_argument("--slices", type=int, default=10)
    verb.add_argument("--volumes", type=int)
    verb.add_argument("--set", action="append", default=[], dest="settings")
    verb.add_argument("--steps", type=int, default=24)
    verb = verbs.add_parser("predict")
    verb.add_argument("run", type=Path)
    verb.add_argument("scan", type=Path)
    arguments = vars(parser.parse_args())
    measures: dict[str, Callable[..., dict[str, object]]] = {
        "prepare": time_prepare,
        "step": time_step,
        "predict": time_predict,
    }
    measure = measures[arguments.pop("verb")]
    print(json.dumps({**measure(**arguments), **peak_mib()}))


if __name__ == "__main__":
    main()
