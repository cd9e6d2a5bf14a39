"""How far long work is, on any terminal and in any log."""

import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from fewmask.cli.streams import is_utf8
from fewmask.core.names import harmless

if TYPE_CHECKING:
    from rich.live import Live

_LIVE_SECONDS = 0.2
"""Between two pictures on a terminal."""
_FILE_SECONDS = 0.5
_LINE_SECONDS, _LINE_PART = 10.0, 0.1
"""Between two lines of a log: so much time and so much of the work."""
_LONG_SECONDS = 600.0
"""A log gets a line after this time in any case."""
_LOSS_NAMES = {"dice": "dice loss", "score": "score loss"}
"""Losses whose name alone would read as something that should rise."""


@dataclass(frozen=True)
class Event:
    """Where some work stands, in words."""

    work: str
    """Name of the work; another one begins anew."""
    done: int
    total: int
    """0 where nothing is counted."""
    text: str
    """What is counted: `step 3 of 9`."""
    more: str = ""
    """What else stands in the same row."""
    below: str = ""
    """A second row."""
    left: float | None = None
    """Seconds; None: from the pace so far."""


class ProgressFile:
    """How far long work is, in a file for another program: `FEWMASK_PROGRESS` names it.

    One JSON object: `work`, `done`, `total` (0: nothing is counted), `text`, `seconds_left` (null:
    not known). It is replaced as a whole, at most twice a second.
    """

    def __init__(self) -> None:
        """Without the variable nothing is ever written."""
        named = os.environ.get("FEWMASK_PROGRESS")
        self._path = Path(named) if named else None
        self._last = 0.0

    def show(self, event: Event) -> None:
        """Write it, unless it was written a moment ago. What cannot be written is left."""
        now = time.monotonic()
        if self._path is None or now - self._last < _FILE_SECONDS:
            return
        self._last = now
        record = {
            "work": event.work,
            "done": event.done,
            "total": event.total,
            "text": event.text,
            "seconds_left": event.left,
        }
        part = self._path.with_name(f"{self._path.name}.part")
        with suppress(OSError):
            part.write_text(json.dumps(record), encoding="utf-8")
            part.replace(self._path)


class Progress:
    """How far long work is, on stderr.

    On a terminal one or two rows that are drawn over and cut to its width. Elsewhere lines: at the
    start, at the end, and between them only now and then.
    """

    def __init__(self, every_line: bool = False, stream: TextIO | None = None) -> None:
        """`every_line`: more lines in a log, every ten seconds."""
        self._every_line = every_line
        self._stream = stream
        self._live: Live | None = None
        self._work: tuple[str, int] | None = None
        self._begun = self._last = 0.0
        self._first = self._last_done = 0

    def show(self, event: Event) -> None:
        """The latest state of some work; most of them are passed over."""
        now = time.monotonic()
        work = (event.work, event.total)
        new = work != self._work or event.done < self._last_done
        last = 0 < event.total == event.done
        if new:
            self.clear()
            self._work, self._begun, self._first = work, now, event.done
        stream = self._stream or sys.stderr
        live = stream.isatty() and os.environ.get("TERM") != "dumb"
        if not (new or last or self._is_due(now, event, live)):
            return
        self._last, self._last_done = now, event.done
        self._say(event, now, live, stream)
        if last:
            self._end()

    def _say(self, event: Event, now: float, live: bool, stream: TextIO) -> None:
        """Draw, or print a line; a terminal that goes away in the middle of it ends no work."""
        head = ", ".join(part for part in (event.text, self._left(now, event), event.more) if part)
        with suppress(OSError):
            if live:
                self._draw(stream, event, head)
            else:
                print_line("  ".join(part for part in (head, event.below) if part), stream)

    def clear(self) -> None:
        """Make room for another line: what is drawn goes, and comes again with the next step."""
        if self._live is not None:
            self._live.transient = True
            self._end()

    def _end(self) -> None:
        """Leave what is drawn."""
        if self._live is not None:
            with suppress(OSError):
                self._live.stop()
            self._live = None

    def _is_due(self, now: float, event: Event, live: bool) -> bool:
        passed = now - self._last
        if live:
            return passed >= _LIVE_SECONDS
        enough = self._every_line or event.done - self._last_done >= _LINE_PART * event.total
        return passed >= _LINE_SECONDS and (enough or passed >= _LONG_SECONDS)

    def _left(self, now: float, event: Event) -> str:
        left, made = event.left, event.done - self._first
        if left is None and made > 0:
            left = (now - self._begun) / made * (event.total - event.done)
        return "" if left is None or event.done >= event.total else f"{duration(left)} left"

    def _draw(self, stream: TextIO, event: Event, head: str) -> None:
        from rich.console import Console as RichConsole
        from rich.console import Group
        from rich.live import Live
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        if self._live is None:
            self._live = Live(
                console=RichConsole(file=stream, highlight=False),
                auto_refresh=False,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        width = self._live.console.width
        # An ellipsis that the terminal cannot show would be escaped, and break the row (F15).
        cut: Any = "ellipsis" if is_utf8(stream) else "crop"
        row = Table.grid(padding=(0, 1))
        parts: list[Any] = [Text(harmless(head), no_wrap=True, overflow=cut)]
        if event.total and len(head) + 12 <= width:
            bar = min(40, width - len(head) - 2)
            parts.append(ProgressBar(event.total, event.done, width=bar))
        row.add_row(*parts)
        text = harmless(event.below)
        below = [Text(text, no_wrap=True, overflow=cut)] if text else []
        self._live.update(Group(row, *below), refresh=True)


def losses_text(losses: Mapping[str, float]) -> str:
    """`loss 0.42 (dice loss 0.06, ce 0.36)`: their sum, which falls as the method learns, and each
    one.
    """
    each = ", ".join(f"{loss_name(name)} {value:.3f}" for name, value in losses.items())
    return f"loss {sum(losses.values()):.3f} ({each})"


def loss_name(name: str) -> str:
    """A column of losses.csv in words."""
    return _LOSS_NAMES.get(name, name.replace("_", " "))


def duration(seconds: float) -> str:
    """`48 s`, `3 min 05 s`, `2 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def print_line(text: str, stream: Any) -> None:
    """Print even where the stream cannot show every character (LANG=C). What a foreign text could
    do to a terminal is escaped.
    """
    encoding = stream.encoding or "ascii"
    stream.write(harmless(text).encode(encoding, "replace").decode(encoding) + "\n")
    stream.flush()
