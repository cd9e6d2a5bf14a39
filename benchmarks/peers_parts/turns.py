"""Two ways to do the same work, taken in turn, so that what else the machine does falls on both."""

import ctypes
import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

Call = Callable[[], object]
"""The work, whatever it gives back."""


@dataclass(frozen=True)
class Cost:
    """Of one call."""

    cpu_s: float
    """Processor time of the process, all its threads: what others run beside it counts little."""
    wall_s: float

    def times(self, factor: float) -> "Cost":
        """Of as many calls."""
        return Cost(self.cpu_s * factor, self.wall_s * factor)


Side = Callable[[], Cost]
"""Does the work once and says what it took."""


@dataclass(frozen=True)
class Row:
    """A line of the table of rows: one pair, or why there is none."""

    work: str
    peer: str
    pair: int
    """Counted from 1; 0 where the peer was skipped."""
    ours_cpu_s: float = 0.0
    peer_cpu_s: float = 0.0
    ours_wall_s: float = 0.0
    peer_wall_s: float = 0.0
    ours_mib: float = 0.0
    """Growth of resident memory during one call, measured once; 0 = not measured."""
    peer_mib: float = 0.0
    threads: int = 1
    machine: str = ""
    note: str = ""
    """What both found, how the work was cut down, or why the peer was skipped."""

    @property
    def ratio(self) -> float:
        """The peer's processor time over ours."""
        return self.peer_cpu_s / self.ours_cpu_s


COLUMNS = [field.name for field in fields(Row)]


@dataclass(frozen=True)
class Match:
    """One kind of work against one peer."""

    work: str
    peer: str
    ours: Side
    theirs: Side
    note: str = ""
    mib: tuple[float, float] = (0.0, 0.0)
    """Memory of ours and of the peer."""
    pairs: int = 0
    """Other than asked for; 0 = as asked."""


@dataclass(frozen=True)
class Skipped:
    """A peer that is not here."""

    work: str
    peer: str
    reason: str


def here(call: Call) -> Side:
    """A call in this process."""

    def side() -> Cost:
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        return Cost(time.process_time() - cpu, time.perf_counter() - wall)

    return side


def elsewhere(python: Path, script: Path, *words: str) -> Side:
    """A script run by another interpreter, which prints its cost as its last line (`told`)."""

    def side() -> Cost:
        return Cost(**json.loads(ask(python, script, *words).splitlines()[-1]))

    return side


def ask(python: Path, script: Path, *words: str) -> str:
    """What a script prints under another interpreter. Raises `CalledProcessError` if it fails."""
    command = [str(python), str(script), *words]
    kept = dict(os.environ)
    if python != Path(sys.executable):
        kept.pop("PYTHONPATH", None)
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=kept)  # noqa: S603
    return done.stdout


def program(command: Sequence[str], allowed: Sequence[int] = (0,)) -> Side:
    """A whole program, with all that it starts."""

    def side() -> Cost:
        before, start = os.times(), time.perf_counter()
        done = subprocess.run(list(command), capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode not in allowed:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout[-500:]}{done.stderr[-1500:]}")
        after = os.times()
        cpu = after.children_user + after.children_system
        cpu -= before.children_user + before.children_system
        return Cost(cpu, time.perf_counter() - start)

    return side


def take_turns(match: Match, pairs: int) -> Iterator[Row]:
    """One call of each that does not count, then pairs."""
    match.ours()
    match.theirs()
    for pair in range(1, (match.pairs or pairs) + 1):
        ours, theirs = match.ours(), match.theirs()
        yield Row(
            match.work,
            match.peer,
            pair,
            round(ours.cpu_s, 4),
            round(theirs.cpu_s, 4),
            round(ours.wall_s, 4),
            round(theirs.wall_s, 4),
            round(match.mib[0], 1),
            round(match.mib[1], 1),
            threads=int(os.environ.get("OMP_NUM_THREADS", "0")) or os.cpu_count() or 1,
            machine=machine(),
            note=match.note,
        )


def growth_mib(call: Call) -> float:
    """How far resident memory rises above what it was while `call` runs (Linux), in MiB."""
    gc.collect()
    # What earlier calls left in the heap would be used again, and not be seen.
    ctypes.CDLL(None).malloc_trim(0)
    before = _status_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    call()
    return _status_mib("VmHWM") - before


def _status_mib(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def machine() -> str:
    """Processor family and what it multiplies matrices with, without a name of the host."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    units = [unit for unit in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if unit in flags]
    return f"{platform.machine()} {os.cpu_count()} cores {units[-1] if units else ''}".strip()
