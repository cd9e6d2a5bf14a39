"""What fewmask does on a GPU: is it right, how fast, how well does it learn; one command of at most
ten minutes, then a table.

    python benchmarks/gpu.py --out gpu --liver PREPARED --atrium PREPARED --organs PREPARED
    python benchmarks/gpu.py --out gpu --minutes 4 --only feed cohort liver speed kernels pretrain
    python benchmarks/gpu.py --out gpu --only atrium-cfr organs-vnet --steps atrium-cfr=3000
    python benchmarks/gpu.py --out gpu --table
    python benchmarks/gpu.py --out gpu --toy --device cpu

Every part is a process of its own with a limit on its time, writes each row to `OUT/rows` at once,
and leaves its traceback there if it fails, so that the others go on. What is finished is kept: the
same command again makes the others only. Methods are checked beside each other, and the trainings
of `atrium` and `organs` run so; everything else has the card to itself. With few `--minutes` parts
are left out from the end, which is said, and the others get less time. Without the prepared
datasets their trainings are left out; `--toy` trains on phantoms in their place. `atrium-bcp` and
`organs-cfr` are made if they are named.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from gpu_parts.check import NETWORKS, check, check_bits
from gpu_parts.cohort import cohort
from gpu_parts.feed import feed
from gpu_parts.job import Job, phantoms, rows_of
from gpu_parts.kernels import kernels, warm, warm_graphs
from gpu_parts.learn import LESSONS, learn, learn_liver, teach_sam
from gpu_parts.speed import speed

DATA = ("liver", "atrium", "organs")
"""Prepared datasets that may be given."""
CHECKS = 6
"""Processes that share the methods."""
SHARED = 2.5
"""Steps that trainings beside each other get done, over those they would get done one after the
other (an H100: 3).
"""
EXTRA = ("atrium-bcp", "organs-cfr")
"""Trainings that are made if they are named."""
_TOY_CHECKS = ["unet", "vnet"]


@dataclass(frozen=True)
class Phase:
    """Parts that run beside each other, and the seconds they get."""

    parts: tuple[str, ...]
    least: float
    """With less they are left out."""
    most: float = 600.0


PHASES = (
    Phase((*(f"check-{index}" for index in range(CHECKS)), "bits", "warm", "warm-graphs"), 50, 75),
    Phase(("feed",), 40, 60),
    Phase(("liver",), 100, 120),
    Phase(("cohort",), 30, 50),
    Phase(("speed",), 50, 110),
    Phase(("kernels",), 25, 60),
    Phase(("pretrain",), 45, 70),
    Phase(tuple(LESSONS), 150),
)


ALONE: dict[str, Callable[[Job], None]] = {
    "feed": feed,
    "liver": learn_liver,
    "cohort": cohort,
    "speed": speed,
    "kernels": kernels,
    "warm": warm,
    "warm-graphs": warm_graphs,
    "pretrain": teach_sam,
}
"""Parts that are one call."""


def run_part(job: Job) -> None:
    """One part, in this process."""
    if job.name.startswith("check-"):
        check(
            job,
            _TOY_CHECKS if job.toy else NETWORKS[int(job.name.removeprefix("check-")) :: CHECKS],
        )
    elif job.name == "bits":
        check(
            job,
            ["vnet"] if job.toy else ["vnet", "mean_teacher", "canvas_sam", "unet", "sam_mix"],
            check_bits,
        )
    elif job.name in ALONE:
        ALONE[job.name](job)
    else:
        learn(job)


def run_guarded(job: Job) -> int:
    """The same; a fault is written down."""
    rows_of(job.out, job.name).with_suffix(".error.txt").unlink(missing_ok=True)
    job.forget_gaps()
    try:
        run_part(job)
    except Exception as error:
        trace = traceback.format_exc()
        rows_of(job.out, job.name).with_suffix(".error.txt").write_text(trace)
        print(
            f"{job.name} failed: {type(error).__name__}: {error}\n{trace}",
            file=sys.stderr,
            flush=True,
        )
        return 1
    if not any("left_out" in row for row in job.rows()):
        (job.out / "rows" / f"{job.name}.done").touch()
    return 0


def run_phase(names: Sequence[str], words: argparse.Namespace, until: float) -> None:
    """These parts beside each other; what is not done at `until` is ended."""
    logs = words.out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    running = {}
    for name in names:
        command = [
            sys.executable,
            __file__,
            *passed_on(words),
            "--part",
            name,
            "--until",
            str(until - 3),
        ]
        with (logs / f"{name}.txt").open("w") as log:
            running[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)  # noqa: S603
    begun = time.time()
    while any(process.poll() is None for process in running.values()) and time.time() < until:
        time.sleep(0.2)
    for name, process in running.items():
        if process.poll() is None:
            process.kill()
            process.wait()
        code = process.returncode
        print(
            f"{name}: {'done' if code == 0 else f'ended with {code}'}, {time.time() - begun:.0f} s",
            flush=True,
        )


def passed_on(words: argparse.Namespace) -> list[str]:
    """What a part's process is told as this one was."""
    told = ["--out", str(words.out), "--device", words.device]
    told += [f"--{flag}" for flag in ("toy", "compile") if getattr(words, flag)]
    for name in DATA:
        told += [f"--{name}", str(folder)] if (folder := getattr(words, name)) else []
    return [*told, *(["--steps", *words.steps] if words.steps else [])]


def job_from(words: argparse.Namespace) -> Job:
    """Of a part's process."""
    data = {name: folder for name in DATA if (folder := getattr(words, name)) is not None}
    if words.toy:
        data = dict.fromkeys(DATA[1:], phantoms(words.out, True).folder) | data
    steps = {name: int(count) for name, _, count in (pair.partition("=") for pair in words.steps)}
    return Job(
        words.part,
        words.out,
        words.device,
        words.toy,
        words.until,
        data,
        steps.get(words.part),
        words.compile,
    )


def wanted(words: argparse.Namespace, name: str) -> bool:
    """Is the part asked for, and is its data here?"""
    asked = name in words.only or (
        (not words.only or name.split("-")[0] in words.only) and name not in EXTRA
    )
    missing = name in LESSONS and not words.toy and getattr(words, LESSONS[name].data) is None
    return (
        asked
        and not missing
        and not (words.toy and name.startswith("check-") and name != "check-0")
    )


def open_phases(words: argparse.Namespace) -> list[tuple[list[str], Phase]]:
    """What is asked for and not done yet, as far as there is time for it in `minutes`; what is not
    is said.
    """
    left, kept = 60 * words.minutes, []
    for phase in PHASES:
        names = [name for name in phase.parts if wanted(words, name)]
        names = [name for name in names if not (words.out / "rows" / f"{name}.done").exists()]
        least = phase.least / 10 if words.toy else phase.least
        if not names:
            continue
        if left < least:
            said = f"it needs {least:.0f} s, {max(0, left):.0f} s are left: more `--minutes`"
            print(f"{', '.join(names)} left out: {said}, or the same command again", flush=True)
            continue
        left -= least
        kept.append((names, replace(phase, least=least, most=600.0 if words.toy else phase.most)))
    return kept


def add_steps(words: argparse.Namespace, names: Sequence[str], seconds: float) -> None:
    """Say how many steps each training gets, by what `speed` measured: the papers', or the same
    part of them for all.
    """
    path = rows_of(words.out, "speed")
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    milliseconds = {
        (row["what"], row["data"]): row["both_ms_4"] for row in rows if "both_ms_4" in row
    }
    said = {pair.partition("=")[0] for pair in words.steps}
    open_ = [name for name in names if name in LESSONS and name not in said]
    if words.toy or not all(key in milliseconds for name in open_ for key in LESSONS[name].timed):
        return
    cost = {
        name: LESSONS[name].steps * sum(milliseconds[key] for key in LESSONS[name].timed) / 1000
        for name in open_
    }
    part = min(1.0, SHARED * seconds / max(1.0, sum(cost.values())))
    words.steps += [f"{name}={max(1, int(part * LESSONS[name].steps))}" for name in open_]


def table(out: Path) -> str:
    """All rows, those with the same columns under one heading."""
    groups: dict[tuple[str, ...], list[dict[str, object]]] = {}
    for path in sorted((out / "rows").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            row["part"] = (
                row["part"].split("-")[0] if row["part"].startswith("check-") else row["part"]
            )
            groups.setdefault(tuple(row), []).append(row)
    lines: list[str] = []
    for columns, rows in groups.items():
        lines += ["", "| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
        lines += ["| " + " | ".join(str(row[name]) for name in columns) + " |" for row in rows]
    errors = sorted((out / "rows").glob("*.error.txt"))
    return "\n".join(
        [*lines, *(f"\n{path.stem}: {path.read_text().splitlines()[-1]}" for path in errors)]
    )


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.0, help="of all parts together")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--liver", type=Path, help="prepared CTs with a liver; else phantoms")
    parser.add_argument("--atrium", type=Path, help="prepared dataset with one label")
    parser.add_argument("--organs", type=Path, help="prepared dataset with thirteen")
    parser.add_argument(
        "--only", nargs="*", default=[], help="parts or their first words, such as check, atrium"
    )
    parser.add_argument("--steps", nargs="*", default=[], help="PART=STEPS")
    parser.add_argument(
        "--compile", action="store_true", help="trainings let torch.compile write their kernels"
    )
    parser.add_argument(
        "--toy", action="store_true", help="tiny networks on phantoms, to test this command"
    )
    parser.add_argument("--table", action="store_true", help="print the table of what is there")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, default=0.0, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.part:
        torch.set_num_threads(1 if words.toy else 2)
        return run_guarded(job_from(words))
    if not words.table:
        end = time.time() + 60 * words.minutes
        for small in {True, words.toy}:
            phantoms(words.out, small)
        phases = open_phases(words)
        for place, (names, phase) in enumerate(phases):
            # What the later ones need at least is theirs.
            free = end - time.time() - sum(later.least for _, later in phases[place + 1 :])
            seconds = min(phase.most, free)
            add_steps(words, names, seconds)
            run_phase(names, words, time.time() + seconds)
    print(table(words.out), flush=True)
    return int(any((words.out / "rows").glob("*.error.txt")))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    sys.exit(main())
