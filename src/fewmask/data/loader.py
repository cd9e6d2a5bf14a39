"""What all loaders share: batches are made ahead in the background, and the order of items is a
function of (seed, step).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, TypeVar, runtime_checkable

from fewmask.core.batch import UNKNOWN, Batch
from fewmask.core.randomness import permutation
from fewmask.core.run_record import Provided
from fewmask.io.prepared import Prepared

Item = TypeVar("Item")


@runtime_checkable
class Loader(Protocol):
    """A loader, as training sees it."""

    def batch(self, index: int) -> Batch:
        """The batch of a step: the same for the same step, whatever came before."""

    def report(self) -> Provided:
        """What a person provided."""

    def close(self) -> None:
        """Free what it holds."""

    def __enter__(self) -> "Loader":
        """The open loader."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""


@dataclass(frozen=True)
class Ahead:
    """How batches are made ahead of the asked-for one."""

    workers: int = 1
    """Threads, and batches made ahead."""
    pin: bool = False
    """In pinned memory, for a GPU."""
    defer: bool = False
    """Leave augmentation to the device (`Pending`); else these threads do it."""


ONE_AHEAD = Ahead()


class Prefetcher:
    """Makes batches ahead of the asked-for one."""

    def __init__(self, make: Callable[[int], Batch], ahead: Ahead = ONE_AHEAD) -> None:
        """`make` is a pure function of the step that several threads may call at once, so it does
        not matter which of them is done first.
        """
        self._make = (lambda step: make(step).pin()) if ahead.pin else make
        self._workers = workers = ahead.workers
        self._ahead: dict[int, Future[Batch]] = {}
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="batches")

    def batch(self, index: int) -> Batch:
        """The batch of step `index`."""
        wanted = range(index, index + self._workers + 1)
        for step in [step for step in self._ahead if step not in wanted]:
            self._ahead.pop(step).cancel()
        for step in wanted:
            if step not in self._ahead:
                self._ahead[step] = self._threads.submit(self._make, step)
        return self._ahead.pop(index).result()

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown(wait=True, cancel_futures=True)


def sample_indices(
    pool: Sequence[Item], count: int, seed: int, stream: str, index: int
) -> list[Item]:
    """Consecutive places in an endless row of keyed permutations of the pool; small pools come
    again within a step.
    """
    if not pool:
        return []
    places = [divmod(index * count + place, len(pool)) for place in range(count)]
    orders = {epoch: permutation(len(pool), seed, stream, epoch) for epoch, _ in places}
    return [pool[orders[epoch][place]] for epoch, place in places]


def count_provided(prepared: Prepared, labelled: Sequence[tuple[str, int]], tags: bool) -> Provided:
    """What a person provided to a run: outlined slices, tags (if the method looks at them), and
    slices nobody described.
    """
    every = [
        (case, d)
        for case in prepared.split.train
        for d in prepared.recipe.slices(prepared.cases[case].shape[0])
    ]
    tagged = {
        item for item in every if tags and any(value != UNKNOWN for value in prepared.tag(*item))
    }
    return Provided(
        labelled_slices=len(labelled),
        tagged_slices=len(tagged),
        tagged_scans=sum(1 for case in prepared.split.train if tags and prepared.tags.get(case)),
        unknown_slices=len(every) - len(tagged | set(labelled)),
        slices=len(every),
    )
