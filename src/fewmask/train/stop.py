"""SIGINT and SIGTERM: once = finish the step, save and stop; a second SIGINT = stop now."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopAsked:
    """Which signal came, if any."""

    signal: int | None = None

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, 143 for SIGTERM."""
        return 128 + (self.signal or signal.SIGINT)


@contextmanager
def listen() -> Iterator[StopAsked]:
    """Catch both signals while the block runs (in the main thread only: elsewhere Python forbids it)."""
    asked = StopAsked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        if asked.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.signal = number

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
