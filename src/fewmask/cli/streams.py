"""Standard streams that may close or fill up at any time: talk never ends the work."""

import codecs
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO


class Steady:
    """A stream that is dropped when it fails (`| head -1`, a full disk): what is written to it
    afterwards goes nowhere.
    """

    def __init__(self, stream: TextIO) -> None:
        """`stream` is the real one; whatever else is asked of it is its own."""
        self._stream = stream
        self._works = True

    def write(self, text: str) -> int:
        """The length of the text, written or not."""
        if self._works:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:  # F15: what the stream cannot show is escaped
                self.write(text.encode("ascii", "backslashreplace").decode("ascii"))
            except (OSError, ValueError):
                self._drop()
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Every line, as `write` does."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """As far as possible."""
        if self._works:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._drop()

    def _drop(self) -> None:
        """Turn the stream itself to nowhere: Python flushes it once more on leaving, and what is
        still in its buffer must not fail then.
        """
        self._works = False
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def is_utf8(stream: Any) -> bool:
    """Can it show every character?"""
    try:
        return codecs.lookup(stream.encoding or "ascii").name == "utf-8"
    except LookupError:
        return False


def open_closed() -> None:
    """Give descriptors 0 to 2 that are closed (`>&-`) to nowhere, before a file of ours gets their
    number and is written into by whatever prints.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one


def steady_streams() -> None:
    """Make stdout and stderr steady; where there is none, what is said goes nowhere."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            stream = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  as long as we run
        setattr(sys, name, Steady(stream))
