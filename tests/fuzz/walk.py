"""The loop: damage a whole file, read it, and see that nothing but a refusal with a fix comes."""

import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fewmask.core.errors import FewmaskError
from tests.fuzz.targets import TARGETS, Reader

SLOW_SECONDS = 5.0


@dataclass
class Tally:
    """What came of it."""

    files: int = 0
    refused: int = 0
    """Files refused by a reader that took the whole one."""
    slowest: float = 0.0
    """Seconds that one file took all its readers."""
    findings: list[str] = field(default_factory=list)


def walk(
    name: str,
    folder: Path,
    *,
    count: int | None = None,
    seconds: float | None = None,
    first: int = 0,
) -> Tally:
    """Damaged files number `first`, ... of a target: `count` of them, or as many as `seconds` hold.

    A number always gives the same damage. The file that is being read stands in `folder`, so that
    it is there if the process dies; one that is a finding is kept beside it as `finding-NUMBER`.
    """
    target, tally = TARGETS[name], Tally()
    path = target.make(folder)
    whole = path.read_bytes()
    usual = [read for read in target.reads if _takes(read, path)]
    assert usual, f"{name}: the whole file is refused"
    for number in _numbers(first, count, seconds):
        damaged = target.damage(whole, np.random.default_rng([7, number]))
        path.write_bytes(damaged)
        began, refused = time.monotonic(), False
        for read in target.reads:
            try:
                with warnings.catch_warnings(action="error"):  # nor does a library talk to users
                    read(path)
            except FewmaskError as error:
                refused |= read in usual
                if not error.fix:
                    _note(tally, folder, number, damaged, f"no fix: {error}")
            except Exception:
                _note(tally, folder, number, damaged, traceback.format_exc())
        took = time.monotonic() - began
        if took > SLOW_SECONDS:
            _note(tally, folder, number, damaged, f"took {took:.1f} s")
        tally.files, tally.refused = tally.files + 1, tally.refused + refused
        tally.slowest = max(tally.slowest, took)
    return tally


def _takes(read: Reader, path: Path) -> bool:
    try:
        read(path)
    except FewmaskError:
        return False
    return True


def _numbers(first: int, count: int | None, seconds: float | None) -> Iterator[int]:
    end = None if seconds is None else time.monotonic() + seconds
    number = first
    while (count is None or number < first + count) and (end is None or time.monotonic() < end):
        yield number
        number += 1


def _note(tally: Tally, folder: Path, number: int, damaged: bytes, why: str) -> None:
    tally.findings.append(f"number {number}: {why}")
    if len(tally.findings) <= 50:
        (folder / f"finding-{number}").write_bytes(damaged)
