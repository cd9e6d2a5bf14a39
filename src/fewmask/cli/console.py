"""How the program speaks: lines on stdout (stderr with --json), one result, progress that fits any
terminal or log.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from fewmask.cli.flags import in_flags
from fewmask.cli.progress import Event, Progress, ProgressFile, losses_text, print_line
from fewmask.cli.streams import is_utf8
from fewmask.core.progress import ProgressEvent

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
"""Of these, what is not printable is escaped: JSON itself does so below a blank only."""

_CODED = re.compile(r"[A-Z]\d\d: ")
"""A note that is to be read as a line, and not cut to the width of a terminal."""


class Console:
    """Where lines go. `json`: stdout carries exactly one object."""

    told = False
    """Of the program: was the one object printed?"""

    def __init__(self, json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        """Global flags of the call."""
        self.json = json
        self.quiet = quiet
        self._progress = Progress(every_line=verbose)
        self._file = ProgressFile()

    def say(self, text: str) -> None:
        """A line that was asked for."""
        self._progress.clear()
        print_line(text, sys.stderr if self.json else sys.stdout)

    def hint(self, text: str) -> None:
        """A line that helps: a note, what comes next; not with --quiet. Settings become flags."""
        if not self.quiet:
            self.say(in_flags(text))

    def warn(self, text: str) -> None:
        """A line for people, on stderr; settings are named as flags."""
        self._progress.clear()
        print_line(in_flags(text), sys.stderr)

    def result(self, record: Mapping[str, Any]) -> None:
        """The one object of --json; nothing otherwise."""
        if self.json:
            Console.told = True
            text = json.dumps(_plain(record), ensure_ascii=not is_utf8(sys.stdout))
            sys.stdout.write(_UNPRINTABLE.sub(_escaped, text) + "\n")
            sys.stdout.flush()

    def step(self, text: str) -> None:
        """What is being done now, where nothing is counted."""
        self._show(Event(text, 0, 0, text))

    def count_items(self, verb: str) -> Callable[[ProgressEvent], None]:
        """A callback: `scans read: 3 of 6, 40 s left, ct_02`."""

        def show(event: ProgressEvent) -> None:
            text = f"{verb}: {event.done} of {event.total}"
            self._show(
                Event(
                    verb,
                    event.done,
                    event.total,
                    text,
                    event.item or event.note,
                    left=event.seconds_left,
                )
            )

        return show

    def count_bytes(self, verb: str) -> Callable[[int, int], None]:
        """A callback (done, total) in bytes: `fetching: 3 of 358 MiB, 2 min 05 s left`."""
        return lambda done, total: self._show(
            Event(verb, done, total, f"{verb}: {done >> 20} of {total >> 20} MiB")
        )

    def show_training(self, event: ProgressEvent) -> None:
        """Where training stands; a note of its own line before it."""
        if _CODED.match(event.note):
            self.hint(event.note)
            return
        if event.note and not event.losses:
            kind = event.note.split(":")[0]
            left = event.seconds_left
            self._show(Event(kind, event.done, event.total, event.note, left=left))
            return
        if event.note:
            self.hint(event.note)
        self._show(
            Event(
                "train",
                event.done,
                event.total,
                f"{event.unit} {event.done} of {event.total}",
                f"{event.seconds_each:.2f} s a {event.unit}, saved at step {event.saved_step}",
                losses_text(event.losses),
                event.seconds_left,
            )
        )

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._progress.clear()

    def _show(self, event: Event) -> None:
        self._file.show(event)
        if not self.quiet:
            self._progress.show(event)


def _escaped(found: re.Match[str]) -> str:
    """As JSON writes what cannot be shown."""
    return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]


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
