"""SIGINT, SIGTERM, SIGHUP: once = finish the step, save and stop; a second SIGINT = stop now. A
detached run has no SIGHUP.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from fewmask.core.errors import Interrupted


class StopRequest:
    """Who asked for a stop, if anybody did."""

    signal: int | None = None
    by_caller = False
    """Did a callback ask for it?"""

    @property
    def stop(self) -> bool:
        """Shall the work stop?"""
        return self.by_caller or self.signal is not None

    @property
    def exit_code(self) -> int:
        """130 for SIGINT and a callback, 143 for SIGTERM and SIGHUP."""
        return 128 + (signal.SIGINT if self.signal in (None, signal.SIGINT) else signal.SIGTERM)

    def interrupted(self, when: str, where: Path) -> Interrupted:
        """What to raise once everything is saved; `when` as in `after step 3 of 9`."""
        return Interrupted(
            f"stopped by {'a signal' if self.signal else 'the program that called'} {when}",
            where=str(where),
            did="everything up to here is saved",
            fix="the same command resumes from here",
            exit_code=self.exit_code,
            code="F02",
        )


@contextmanager
def listen() -> Iterator[StopRequest]:
    """Catch these signals while the block runs (in the main thread only: elsewhere Python forbids
    it).
    """
    asked = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        if asked.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.signal = number

    numbers = [signal.SIGINT, signal.SIGTERM]
    if (
        hasattr(signal, "SIGHUP")  # Windows has none
        and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN  # nohup ignores it: so do we
    ):
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
