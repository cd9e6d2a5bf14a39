"""Reading, network and writing side by side: while one scan is drawn the next is read and the mask
before is written, each in a thread. At most three scans are in memory, and results come in order.
"""

import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

Given = TypeVar("Given")
Scan = TypeVar("Scan")
Drawn = TypeVar("Drawn")
Written = TypeVar("Written")
Made = TypeVar("Made")
Outcomes = Generator[tuple[str, Future[Written]], None, None]
"""Names and what became of them."""


@dataclass(frozen=True)
class Steps(Generic[Given, Scan, Drawn, Written]):
    """What is done to every scan, each step with its name; `draw` in the caller's thread."""

    read: Callable[[str, Given], Scan]
    draw: Callable[[str, Scan], Drawn]
    write: Callable[[str, Scan, Drawn], Written]


def run_in_turn(
    given: Mapping[str, Given], steps: Steps[Given, Scan, Drawn, Written]
) -> Outcomes[Written]:
    """Every name and what became of it, one after the other in the caller's thread."""
    for name, one in given.items():
        future: Future[Written] = Future()
        try:
            scan = steps.read(name, one)
            future.set_result(steps.write(name, scan, steps.draw(name, scan)))
        except Exception as error:
            future.set_exception(error)
        yield name, future


def run_side_by_side(
    given: Mapping[str, Given], steps: Steps[Given, Scan, Drawn, Written]
) -> Outcomes[Written]:
    """The same with the next scan read ahead and the last mask written behind.

    When the caller closes it or a signal ends it, what is being written is finished first, so that
    no file is left in parts; what was read ahead is dropped.
    """
    todo, behind = iter(given.items()), None
    try:
        ahead = _read_next(todo, steps)
        while ahead is not None:
            name, reading = ahead
            wait([reading])  # one scan ahead and no more
            ahead = _read_next(todo, steps)
            drawn = _draw(name, reading, steps)
            if behind is not None:
                yield behind
                wait([behind[1]])  # one mask behind and no more
            behind = name, _write(name, reading, drawn, steps)
            del reading, drawn
        if behind is not None:
            yield behind
    finally:
        if behind is not None:
            wait([behind[1]])


def _read_next(
    todo: Iterator[tuple[str, Given]], steps: Steps[Given, Scan, Drawn, Written]
) -> tuple[str, Future[Scan]] | None:
    following = next(todo, None)
    if following is None:
        return None
    name, given = following
    return name, _in_background(lambda: steps.read(name, given))


def _draw(
    name: str, reading: Future[Scan], steps: Steps[Given, Scan, Drawn, Written]
) -> Future[Drawn]:
    future: Future[Drawn] = Future()
    try:
        future.set_result(steps.draw(name, reading.result()))
    except Exception as error:
        future.set_exception(error)
    return future


def _write(
    name: str,
    reading: Future[Scan],
    drawn: Future[Drawn],
    steps: Steps[Given, Scan, Drawn, Written],
) -> Future[Written]:
    """An error of reading or drawing comes out here."""
    return _in_background(lambda: steps.write(name, reading.result(), drawn.result()))


def _in_background(make: Callable[[], Made]) -> Future[Made]:
    """In a thread that does not keep the program from ending: a scan may take long to read."""
    future: Future[Made] = Future()

    def work() -> None:
        try:
            future.set_result(make())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future
