"""How the program speaks: console on stdout (stderr with --json), one result, progress that fits a
terminal or a log.
"""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from fewmask.core.progress import ProgressEvent


class Console:
    """Where lines go. `json`: stdout carries exactly one object."""

    def __init__(self, json: bool, debug: bool) -> None:
        """Global flags of the call."""
        self.json = json
        self.debug = debug
        self._last = 0.0
        self._open_line = False

    def say(self, text: str) -> None:
        """A line for people."""
        self._close_line()
        _print(text, sys.stderr if self.json else sys.stdout)

    def warn(self, text: str) -> None:
        """A line for people, on stderr."""
        self._close_line()
        _print(text, sys.stderr)

    def result(self, record: Mapping[str, Any]) -> None:
        """The one object of --json; nothing otherwise."""
        if self.json:
            sys.stdout.write(json.dumps(_plain(record), ensure_ascii=False) + "\n")
            sys.stdout.flush()

    def step(self, text: str, done: bool = False, every: float = 10.0) -> None:
        """A progress line: rewritten in place on a terminal, a plain line every few seconds
        elsewhere.
        """
        live = sys.stderr.isatty()
        now = time.monotonic()
        if not done and now - self._last < (0.2 if live else every):
            return
        self._last = now
        if live:
            sys.stderr.write("\r\x1b[K" + text)
            self._open_line = True
            if done:
                self._close_line()
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def count(self, event: ProgressEvent) -> None:
        """A progress line about scans: `3 of 9 scans: ct_03`."""
        text = f"{event.done} of {event.total} {event.unit}s: {event.item or event.note}"
        self.step(text, event.done == event.total)

    def _close_line(self) -> None:
        if self._open_line:
            sys.stderr.write("\n")
            self._open_line = False


def duration(seconds: float) -> str:
    """`48 s`, `3 min 05 s`, `2 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _print(text: str, stream: Any) -> None:
    """Print even where the stream cannot show every character (LANG=C)."""
    encoding = stream.encoding or "ascii"
    stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    stream.flush()


def _plain(value: Any) -> Any:
    """As JSON has it: paths as text, NaN as null."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    return str(value) if isinstance(value, Path) else value
