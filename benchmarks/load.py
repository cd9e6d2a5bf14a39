"""Many scans: do time per scan and memory stay flat?

    python benchmarks/load.py                      200, 500, 1000 and 2000 scans
    python benchmarks/load.py --counts 50 100

Makes small CT-like scans (32 x 32 x 8 voxels, a mask each) in a temporary folder and runs check,
prepare, train (8 steps of a tiny network), predict (all scans as files, and the prepared dataset),
evaluate and report as a user does, each a process of its own. Prints a table in Markdown: per verb
and number of scans its processor time (of all its processes, which does not depend on what else the
machine does), the milliseconds that each scan more than in the line before it took (of the first:
that each scan took, start of the program included), and the memory of its largest process.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewmask.core.volume import LabelMap, Volume
from fewmask.io.nifti import write_labels, write_volume

COUNTS = (200, 500, 1000, 2000)
AFFINE = np.diag([-3.0, -3.0, 5.0, 1.0])
SHAPE = (32, 32, 8)
TRAIN = "--method unet --steps 8 --slices 5 --set channels=[4,8] --amp off --device cpu --threads 1"


@dataclass(frozen=True)
class Cost:
    """Of one verb."""

    verb: str
    seconds: float
    cpu_seconds: float
    peak_mib: float


def write_scans(folder: Path, count: int) -> None:
    """`count` scans with a bright block (label 1) in slices 2 to 5."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for index in range(count):
        rng = np.random.default_rng(index)
        image = rng.normal(0, 15, SHAPE)
        label = np.zeros(SHAPE, np.uint8)
        label[6 : 14 + index % 8, 8:20, 2:6] = 1
        image[label > 0] += 120
        image[:2] = -1000
        name = f"case_{index:05d}.nii.gz"
        volume = Volume.from_file_order(np.round(image).astype(np.int16), AFFINE)
        write_volume(folder / "images" / name, volume)
        write_labels(folder / "labels" / name, LabelMap.from_file_order(label, AFFINE))


def run_verbs(folder: Path, count: int) -> Iterator[Cost]:
    """What a user does with a folder of `count` scans."""
    write_scans(folder / "scans", count)
    scans, prepared, run = (str(folder / name) for name in ("scans", "prepared", "run"))
    label = ["--label", "block=1"]
    yield measure("check", scans, *label, "--jobs", "1")
    complete = ["--masks", "complete", "--tags", "from-masks", "--recipe", "ct", "--size", "64"]
    yield measure("prepare", scans, "--out", prepared, *label, *complete, "--jobs", "1")
    yield measure(
        "prepare",
        scans,
        "--out",
        prepared,
        *label,
        *complete,
        "--jobs",
        "1",
        name="prepare (again)",
    )
    yield measure("train", prepared, "--out", run, *TRAIN.split())
    images, masks = str(folder / "scans" / "images"), str(folder / "masks")
    yield measure("predict", run, images, "--out", masks, name="predict (files)")
    yield measure("evaluate", masks, str(folder / "scans" / "labels"), *label)
    yield measure("predict", run, prepared, name="predict (prepared)")
    yield measure("report", run)


def measure(verb: str, *arguments: str, name: str = "") -> Cost:
    """Run one verb, called `name` in the table. Exit 5 (masks left empty by so short a training) is
    an answer too.
    """
    command = [sys.executable, "-m", "fewmask", "--quiet", verb, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603  our own interpreter
            command, env=environment, stdout=said, stderr=said
        )
        _, status, usage = os.wait4(process.pid, 0)
        code = process.returncode = os.waitstatus_to_exitcode(status)
        if code not in (0, 5):
            said.seek(0)
            raise SystemExit(f"{verb} ended with {code}\n{said.read().decode()[-2000:]}")
    seconds, cpu = time.perf_counter() - began, usage.ru_utime + usage.ru_stime
    return Cost(name or verb, seconds, cpu, usage.ru_maxrss / 1024)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    counts = parser.parse_args().counts
    print("| verb | scans | wall s | CPU s | CPU ms per scan more | peak MiB |", flush=True)
    print("|---|---|---|---|---|---|")
    before: dict[str, tuple[int, float]] = {}
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="load-") as folder:
            for cost in run_verbs(Path(folder), count):
                fewer, less = before.get(cost.verb, (0, 0.0))
                more = 1000 * (cost.cpu_seconds - less) / (count - fewer)
                before[cost.verb] = count, cost.cpu_seconds
                print(
                    f"| {cost.verb} | {count:,} | {cost.seconds:.1f} | {cost.cpu_seconds:.1f} "
                    f"| {more:.1f} | {cost.peak_mib:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
