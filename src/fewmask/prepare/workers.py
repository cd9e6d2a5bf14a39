"""One function over many items in processes, in order; what a dead one leaves is done here."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
_AHEAD = 4
"""Items per process that are sent before the first comes back."""
MOST = 64
"""More processes than this only cost memory."""


def in_processes(
    function: Callable[[T], R],
    items: Sequence[T],
    jobs: int,
    say: Callable[[str], object] = lambda note: None,
) -> Generator[R, None, None]:
    """`function(item)` of every item, in their order, by up to `jobs` processes.

    Both must be picklable. Where a process dies (memory, a crash in a decoder, a script without a
    main guard: F05) the rest is done in this one, and `say` told so. An exception of the function
    comes here. When the caller closes it early or is stopped by a signal, items that no process has
    begun are dropped; workers end with this process, however it ends.
    """
    jobs, done = min(jobs, len(items), MOST), 0
    if jobs > 1:
        pool = ProcessPoolExecutor(
            jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_begin
        )
        try:
            # Not `pool.map`: that writes down all items for the workers before the first is done.
            left = iter(items)
            waiting = deque(pool.submit(function, item) for item in islice(left, _AHEAD * jobs))
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(left, 1))
                done += 1
                yield result
        except BrokenProcessPool:
            say("a worker process died, going on in this one")
        finally:
            pool.shutdown(cancel_futures=True)
    for item in items[done:]:
        yield function(item)


def end_if_starting() -> None:
    """End a worker that is still starting, without a word: it runs a script without a main guard
    once more, and has come to the very call that started it. That one goes on alone (F05).
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        os._exit(1)


def _begin() -> None:
    """In a worker: Ctrl-C is for the parent, which decides; without a parent there is no work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
