"""What all feeds share: the next batch is made in the background, and the order of items is a
function of (seed, step).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Protocol, TypeVar, runtime_checkable

from fewmask.core.batch import UNKNOWN, Batch
from fewmask.core.randomness import permutation
from fewmask.io.prepared import Prepared

Item = TypeVar("Item")


@runtime_checkable
class Loader(Protocol):
    """A loader, as training sees it."""

    def batch(self, index: int) -> Batch:
        """The batch of a step: the same for the same step, whatever came before."""

    def report(self) -> dict[str, int]:
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


class Prefetcher:
    """Makes batches, one ahead of the asked-for one."""

    def __init__(self, make: Callable[[int], Batch]) -> None:
        """`make` is a pure function of the step; it runs in one thread."""
        self._make = make
        self._next: tuple[int, Future[Batch]] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")

    def batch(self, index: int) -> Batch:
        """The batch of step `index`."""
        if self._next is not None and self._next[0] == index:
            batch = self._next[1].result()
        else:
            batch = self._thread.submit(self._make, index).result()
        self._next = (index + 1, self._thread.submit(self._make, index + 1))
        return batch

    def close(self) -> None:
        """Stop the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)


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


def count_provided(
    prepared: Prepared, labelled: Sequence[tuple[str, int]], tags: bool
) -> dict[str, int]:
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
    return {
        "labelled_slices": len(labelled),
        "tagged_slices": len(tagged),
        "tagged_scans": sum(1 for case in prepared.split.train if tags and prepared.tags.get(case)),
        "unknown_slices": len(every) - len(tagged | set(labelled)),
        "slices": len(every),
    }
