"""One at a time: work that would take both cores from everything else waits in a short line."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class LineFull(Exception):
    """So many are waiting that one more would only make all slower."""


class Line:
    """`with line.turn():` runs alone; at most `limit` wait, one more raises `LineFull`."""

    def __init__(self, limit: int = 8) -> None:
        self._limit = limit
        self._waiting = 0
        self._count = threading.Lock()
        self._turn = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many wait, the one at work not counted."""
        return self._waiting

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for one's turn and hold it while the block runs."""
        if not self._turn.acquire(blocking=False):
            with self._count:
                if self._waiting >= self._limit:
                    raise LineFull(f"{self._limit} are waiting")
                self._waiting += 1
            self._turn.acquire()
            with self._count:
                self._waiting -= 1
        try:
            yield
        finally:
            self._turn.release()
