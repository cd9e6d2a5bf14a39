"""One round as a process of its own: `python -m fewmask.workbench.job ROUND`. It runs the round's
commands one after the other, says in `state.json` where it is, and goes on where it was stopped. It
outlives the server.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewmask.core.errors import NoRoom
from fewmask.io.lock import folder_lock
from fewmask.io.text import read_json, write_json

STATE, ROUND, PROGRESS = "state.json", "round.json", "progress.json"
STAGES = ("prepare", "train", "predict")
_PARTLY = 5
"""Exit code of commands that did what could be done."""
_STOPPED = (130, 143, 129)
_MOST = 20
"""Warnings of a stage that are kept."""


def run_round(folder: Path) -> str:
    """Run what is left of the round whose folder this is; returns its state: `done`, `stopped` or
    `failed`. Raises `NoRoom` (F12) where another process is at it.
    """
    record = read_json(folder / ROUND)
    stopped: list[int] = []
    child: list[subprocess.Popen[str]] = []

    def stop(number: int, _: Any) -> None:
        stopped.append(number)
        for process in child:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with folder_lock(folder, "a round of the workbench"):
        before = read_json(folder / STATE) if (folder / STATE).exists() else {}
        now = _Standing(folder, before.get("finished", []), before.get("warnings", []))
        for stage in STAGES:
            if stage in now.finished:
                continue
            now.tell("running", stage)
            code, said = (130, "") if stopped else _run(folder, stage, record, child)
            if code in _STOPPED or (stopped and code):
                return now.tell("stopped", stage)
            if code not in (0, _PARTLY):
                return now.tell("failed", stage, _message(said))
            now.finished.append(stage)
            now.warnings += _warnings(said)
        return now.tell("done", STAGES[-1])


@dataclass
class _Standing:
    """Where a round is."""

    folder: Path
    finished: list[str]
    warnings: list[str]
    """What its commands warned of, in words."""

    def tell(self, state: str, stage: str, message: str = "") -> str:
        """Write it down."""
        record = {
            "state": state,
            "stage": stage,
            "finished": self.finished,
            "warnings": self.warnings,
            "message": message,
        }
        write_json(self.folder / STATE, record)
        return state


def _run(
    folder: Path, stage: str, record: dict[str, Any], child: list[subprocess.Popen[str]]
) -> tuple[int, str]:
    """Exit code of a stage's command, and the one object that it prints."""
    (folder / PROGRESS).unlink(missing_ok=True)
    command = [sys.executable, "-m", "fewmask", "--json", *record["commands"][stage]]
    environment = {**os.environ, "FEWMASK_PROGRESS": str(folder / PROGRESS)}
    with (folder / f"{stage}.log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(  # noqa: S603 - our own program, words from round.json
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
        child[:] = [process]
        said, _ = process.communicate()
        child.clear()
    return process.returncode, said


def _message(said: str) -> str:
    """What went wrong, and what to do, of the one object that a command prints."""
    try:
        error = json.loads(said)
        return f"{error['what']} [{error['code']}]: {error['fix']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "the command ended without a word; its log is beside the round"


def _warnings(said: str) -> list[str]:
    """What a command did all the same, and a person should know: too few steps, empty masks, scans
    that were refused.
    """
    try:
        record = json.loads(said)
        refused = [f"{one['case'] or 'folder'}: {one['what']}" for one in record.get("refused", [])]
        advice = record.get("advice") or ""
        return [*([advice] if advice else []), *record.get("empty", []), *refused][:_MOST]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def main() -> int:
    """The process: 0 done or stopped, 1 failed, 4 where another is at it."""
    try:
        return int(run_round(Path(sys.argv[1])) == "failed")
    except NoRoom:
        return NoRoom.exit_code


if __name__ == "__main__":
    sys.exit(main())
