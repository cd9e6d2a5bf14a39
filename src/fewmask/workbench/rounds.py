"""Rounds: train on all outlines that there are, predict every scan, and compare with the round
before on slices that neither has learned from.
"""

import itertools
import math
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from fewmask.core.errors import BadConfig, FewmaskError
from fewmask.core.randomness import rng
from fewmask.evaluate.intervals import t_interval
from fewmask.io.atomic import make_folder
from fewmask.io.lock import holder_of
from fewmask.io.text import read_json, write_json
from fewmask.prepare.options import ScanOptions
from fewmask.workbench.commands import predict_command, prepare_command, train_command
from fewmask.workbench.compared import Compared, mean_dice
from fewmask.workbench.freeze import Slices, freeze
from fewmask.workbench.job import PROGRESS, ROUND, STAGES, STATE

ENOUGH_NEW = 8
"""New outlines from which some are kept aside, to compare this round with the one before."""
MOST_KEPT = 6
_STARTING_SECONDS = 20.0
_SETTLED_SECONDS = 1.0


class Running(Exception):
    """A round is at work; one at a time."""


class Rounds:
    """All rounds of an opened WORK."""

    def __init__(
        self,
        root: Path,
        data: Path,
        classes: tuple[str, ...],
        scans: ScanOptions,
        truth: Callable[[str, int], UInt8[np.ndarray, "h w"]],
        drawn: Callable[[str, int, int], UInt8[np.ndarray, "h w"]],
        outlined: Callable[[], Slices],
        flush: Callable[[], None],
        quarrels: Callable[[], list[str]] = list,
    ) -> None:
        """`truth(case, d)` is a person's slice, `drawn(case, round, d)` a round's (`KeyError` where
        it drew none); `outlined` says which there are, `flush` writes them to `root/labels`.
        `quarrels`: sentences about outlines that tags deny.
        """
        self._root, self._data, self._classes, self._scans = root, data, classes, scans
        self._truth, self._drawn, self._outlined, self._flush = truth, drawn, outlined, flush
        self._quarrels = quarrels
        self._lock = threading.Lock()
        self._settled: tuple[float, int | None] = (-math.inf, None)
        self._beside: dict[int, int] = {}  # round -> the one in use when its turn came
        self._compared: dict[tuple[int, int], tuple[int, Compared]] = {}
        self._processes: list[subprocess.Popen[bytes]] = []

    def numbers(self) -> list[int]:
        """Rounds that were begun, in order."""
        found = (self._root / "rounds").glob(f"*-from/{ROUND}")
        return sorted(int(path.parent.name.removesuffix("-from")) for path in found)

    def begin(self, minutes: float) -> int:
        """Freeze what is outlined and tagged now, and start a round on it; returns its number.

        Raises `Running`, and `BadConfig` where a structure has no outline yet (C02) or a tag denies
        an outline (S04).
        """
        with self._lock:
            if self.is_busy():
                raise Running
            self._flush()
            slices = self._outlined()
            self._check_classes(slices)
            self._check_tags()
            number = max(self.numbers(), default=0) + 1
            folder = self.folder(number)
            make_folder(folder.parent)
            make_folder(folder)
            aside = self._keep_aside(number, slices)
            freeze(self._root, folder, slices, aside, self._scans.plane or "axial")
            prepared, run = self._root / "prepared", self.run(number)
            values = {name: value for value, name in enumerate(self._classes, 1)}
            learned = {case: sorted(ds - aside.get(case, set())) for case, ds in slices.items()}
            record = {
                "minutes": minutes,
                "learned": {case: ds for case, ds in learned.items() if ds},
                "aside": {case: sorted(ds) for case, ds in aside.items()},
                "commands": {
                    "prepare": prepare_command(self._data, prepared, values, folder, self._scans),
                    "train": train_command(prepared, run, minutes),
                    "predict": predict_command(prepared, run),
                },
            }
            write_json(folder / ROUND, record)
            self._start(number)
            return number

    def go_on(self, number: int) -> None:
        """Take a stopped or failed round up where it was left. Raises `Running`, and `BadConfig`
        (C06) where a later one was begun: what is prepared now are its outlines, and this one would
        learn from slices that it is compared on.
        """
        with self._lock:
            if self.is_busy():
                raise Running
            if number != max(self.numbers()):
                raise BadConfig(
                    f"round {number} cannot go on: a later one was begun since",
                    did="nothing was started",
                    fix="begin a new round; it learns from all outlines",
                    code="C06",
                )
            self._start(number)

    def stop(self, number: int) -> None:
        """Ask a round to save and stop; it is `stopped` when it has."""
        pid = holder_of(self.folder(number))
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
        elif number == max(self.numbers()):  # it is starting: only who started it knows its number
            for process in self._processes:
                if process.poll() is None:
                    process.terminate()  # until it listens, it may have been told to ignore SIGINT

    def choose(self, number: int) -> None:
        """Make a round the default, whatever the comparison says."""
        write_json(self._root / "rounds.json", {"chosen": number})
        self._settled = -math.inf, None

    def default(self) -> int | None:
        """The round whose masks the page shows: the last one that a comparison does not find worse,
        or what a person chose since. Every line of the queue asks: it is settled once a second.
        """
        at, found = self._settled
        if time.monotonic() - at > _SETTLED_SECONDS:
            found = self._settle()
            self._settled = time.monotonic(), found
        return found

    def _settle(self) -> int | None:
        done = [one for one in self.numbers() if self.state(one)["state"] == "done"]
        path = self._root / "rounds.json"
        before = read_json(path) if path.exists() else {}
        best = before.get("chosen") if before.get("chosen") in done else None
        beside: dict[int, int] = {}
        for number in done:
            if best is None:
                best = number
            elif number > best:
                beside[number] = best
                compared = self.compare(number, best)
                if not compared.slices or compared.is_better:
                    best = number
        self._beside = beside
        return best

    def state(self, number: int) -> dict[str, Any]:
        """`state`, `stage`, `message`; a round whose process is gone is `stopped`."""
        folder = self.folder(number)
        path = folder / STATE
        record = read_json(path) if path.exists() else {"stage": STAGES[0], "message": ""}
        if record.get("state") in (None, "running") and holder_of(folder) is None:
            # A clock that was set back must not make it start for ever.
            starting = abs(time.time() - (folder / ROUND).stat().st_mtime) < _STARTING_SECONDS
            alive = any(process.poll() is None for process in self._processes)
            state = "running" if (starting and not path.exists()) or alive else "stopped"
            return {**record, "state": state}
        return record

    def as_dict(self) -> dict[str, Any]:
        """What the page asks for: the default and every round."""
        return {"default": self.default(), "rounds": [self.line(one) for one in self.numbers()]}

    def status(self) -> dict[str, Any] | None:
        """The last round as the page shows it; None before the first."""
        numbers = self.numbers()
        return self.line(numbers[-1]) if numbers else None

    def is_busy(self) -> bool:
        """Is a round at work?"""
        return any(self.state(number)["state"] == "running" for number in self.numbers())

    def line(self, number: int) -> dict[str, Any]:
        """One round as the page shows it."""
        folder = self.folder(number)
        record, state = read_json(folder / ROUND), self.state(number)
        progress: dict[str, Any] = {}
        if state["state"] == "running":
            with suppress(FewmaskError, OSError):
                progress = read_json(folder / PROGRESS)
        learned: Mapping[str, list[int]] = record["learned"]
        done = [one for one in self.numbers() if one < number and self._is_done(one)]
        compared = None
        if done and state["state"] == "done":
            self.default()  # what decided is said: the round in use may be older than the last
            found = self.compare(number, self._beside.get(number, done[-1]))
            compared = {
                "slices": found.slices,
                "better_by": found.better_by if found.slices else None,
                "low": None if np.isnan(found.low) else found.low,
                "high": None if np.isnan(found.high) else found.high,
                "words": found.words(),
            }
        return {
            "number": number,
            "state": state["state"],
            "stage": state["stage"],
            "done": progress.get("done", 0),
            "total": progress.get("total", 0),
            "seconds_left": progress.get("seconds_left"),
            "message": state.get("message") or progress.get("text", ""),
            "warnings": state.get("warnings", []),
            "slices": sum(map(len, learned.values())),
            "scans": len(learned),
            "aside": sum(map(len, record["aside"].values())),
            "minutes": record["minutes"],
            "compared": compared,
        }

    def compare(self, number: int, against: int) -> Compared:
        """Both rounds on every slice that a person outlined and neither learned from.

        A slice that is one round's mask to the voxel was taken over as it was: the other round
        could only lose there, so it does not count.
        """
        slices = self._outlined()
        for one in (number, against):
            for case, ds in read_json(self.folder(one) / ROUND)["learned"].items():
                slices.get(case, set()).difference_update(ds)
        truths = [(c, d, self._truth(c, d)) for c, ds in sorted(slices.items()) for d in sorted(ds)]
        key = hash(tuple((case, d, zlib.crc32(truth.tobytes())) for case, d, truth in truths))
        before = self._compared.get((number, against))
        if before is not None and before[0] == key:
            return before[1]
        differences: dict[str, list[float]] = {}
        for case, d, truth in truths:
            with suppress(KeyError, IndexError, FewmaskError):
                mine, other = (self._drawn(case, one, d) for one in (number, against))
                if not any(self._is_taken(case, d, one) for one in (number, against)):
                    gain = mean_dice(mine, truth) - mean_dice(other, truth)
                    differences.setdefault(case, []).append(gain)
        scans = np.array([np.mean(values) for values in differences.values()])
        interval = t_interval(scans, -1.0, 1.0)
        total = sum(map(len, differences.values()))
        compared = Compared(against, total, interval.mean, interval.low, interval.high)
        self._compared[number, against] = key, compared
        return compared

    def folder(self, number: int) -> Path:
        """What a round began from, and where it stands."""
        return self._root / "rounds" / f"{number:02d}-from"

    def run(self, number: int) -> Path:
        """Its run folder, as `fewmask train` makes it."""
        return self._root / "rounds" / f"{number:02d}"

    def _is_done(self, number: int) -> bool:
        return bool(self.state(number)["state"] == "done")

    def _start(self, number: int) -> None:
        """A process that outlives this one. Its own words go to the log of each stage."""
        command = [sys.executable, "-m", "fewmask.workbench.job", str(self.folder(number))]
        folder = self.folder(number)
        if (folder / STATE).exists():
            write_json(folder / STATE, {**read_json(folder / STATE), "state": "running"})
        process = subprocess.Popen(  # noqa: S603 - our own program, a path of ours
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._processes = [*(one for one in self._processes if one.poll() is None), process]

    def _check_classes(self, slices: Slices) -> None:
        held = self._held(slices)
        missing = [name for value, name in enumerate(self._classes, 1) if value not in held]
        if missing:
            raise BadConfig(
                f"nothing is outlined yet of: {', '.join(missing)}",
                did="no round was begun",
                fix="outline each structure in at least one slice; five or more are better",
                code="C02",
            )

    def _check_tags(self) -> None:
        found = self._quarrels()
        if found:
            more = f", and {len(found) - 1} more" if found[1:] else ""
            raise BadConfig(
                f"{found[0]}{more}",
                where=found[:10],
                did="no round was begun",
                fix="correct the outline or the tag (keys , and . or the buttons beside them)",
                code="S04",
            )

    def _keep_aside(self, number: int, slices: Slices) -> Slices:
        """Some of the outlines that are new since the last round, at most one in four, spread over
        scans: this round does not learn from them, the next one does.
        """
        done = [one for one in self.numbers() if self._is_done(one)]
        if not done:
            return {}
        record = read_json(self.folder(done[-1]) / ROUND)
        old = {
            case: set(record["learned"].get(case, [])) | set(record["aside"].get(case, []))
            for case in slices
        }
        new = [(case, d) for case, ds in slices.items() for d in sorted(ds - old[case])]
        new = [one for one in new if self._truth(*one).any() and not self._is_taken(*one, done[-1])]
        if len(new) < ENOUGH_NEW:
            return {}
        waiting: dict[str, list[int]] = {}
        for place in rng(0, "aside", number).permutation(len(new)):
            case, d = new[place]
            waiting.setdefault(case, []).append(d)
        wanted = min(MOST_KEPT, len(new) // 4)
        kept: Slices = {}
        for case in itertools.islice(_in_turn(waiting), wanted):
            kept.setdefault(case, set()).add(waiting[case].pop())
        left = {case: ds - kept.get(case, set()) for case, ds in slices.items()}
        # A structure that is outlined in those slices alone has to be learned from.
        return kept if self._held(left) == self._held(slices) else {}

    def _is_taken(self, case: str, d: int, number: int) -> bool:
        """Is a person's slice a round's mask as it was?"""
        with suppress(KeyError, IndexError, FewmaskError):
            return np.array_equal(self._drawn(case, number, d), self._truth(case, d))
        return False

    def _held(self, slices: Slices) -> set[int]:
        """Values that these slices hold."""
        planes = (self._truth(case, d) for case, ds in slices.items() for d in ds)
        return {int(value) for plane in planes for value in np.unique(plane) if value}


def _in_turn(waiting: Mapping[str, list[int]]) -> Iterator[str]:
    """Each scan once, then each that has more once again, ..."""
    while any(waiting.values()):
        yield from (case for case, ds in waiting.items() if ds)
