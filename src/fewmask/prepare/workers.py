"""One piece of work for each of many cases: in several processes, or in this one when they die."""

import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

DIED = "a worker process died, going on in this one"
"""What `in_processes` says when it goes on alone."""


def leave_second_run() -> None:
    """End a process that runs somebody's script for a second time.

    New processes import the script that started them. Without `if __name__ == "__main__":` around
    it they do all its work again, and would start processes of their own. Such a one ends here
    without a word; the process that started it goes on alone.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(0)


def in_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    jobs: int,
    say: Callable[[str], object] = lambda note: None,
) -> Iterator[Result]:
    """`function(item)` for each item, in their order, by `jobs` processes at a time.

    Where a process dies (killed for memory, crashed in a decoder, started by a script without a
    main guard; F05) the rest is done in this one, and `say` is told once. What `function` raises
    is raised here.
    """
    done = 0
    jobs = min(jobs, len(items))
    if jobs > 1:
        try:
            with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
                for result in pool.map(function, items):
                    done += 1
                    yield result
        except BrokenProcessPool:
            say(DIED)
    yield from map(function, items[done:])
