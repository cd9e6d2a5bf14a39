"""SIGINT, SIGTERM, SIGHUP: training finishes its step, saves and stops (a second SIGINT: at once);
work that is whole after every file stops at once. A detached run has no SIGHUP.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
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
        """130 for SIGINT and a callback, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + (self.signal or signal.SIGINT)

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

    def note(number: int, frame: FrameType | None) -> None:
        if asked.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.signal = number

    with _handling(note):
        yield asked


@contextmanager
def stopping(work: str, where: Path) -> Iterator[None]:
    """The same signals end the block at once with `Interrupted`: for work of which every file is
    whole or absent, so that nothing has to be saved.

    `work` is what was being done (`predicting`). Parts of files are removed on the way out; a
    `KeyboardInterrupt` from elsewhere is told as a signal too. Inside another `stopping` or
    `listen` it leaves signals to it.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Stop(number)

    nested = callable(signal.getsignal(signal.SIGTERM))
    try:
        with nullcontext() if nested else _handling(stop):
            yield
    except (_Stop, KeyboardInterrupt) as error:
        if nested:
            raise
        number = error.number if isinstance(error, _Stop) else signal.SIGINT
        raise Interrupted(
            f"stopped by a signal while {work}",
            where=str(where),
            did="every file that was written is whole, and kept",
            fix="the same command goes on from here",
            exit_code=128 + number,
            code="F02",
        ) from None


class _Stop(BaseException):
    """Passes everything that catches the faults of one case."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Call `handler` for these signals (in the main thread only: elsewhere Python forbids it)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if (
        hasattr(signal, "SIGHUP")  # Windows has none
        and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN  # nohup ignores it: so do we
    ):
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
