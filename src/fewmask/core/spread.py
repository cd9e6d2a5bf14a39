"""How the items of long work are gone through: here one after the other, or on many machines."""

from collections.abc import Callable, Generator, Iterable
from typing import Protocol, TypeVar, runtime_checkable

from fewmask.core.errors import FewmaskError

T = TypeVar("T")
R = TypeVar("R")


@runtime_checkable
class Spread(Protocol):
    """Does one function of many items, wherever that may be.

    Items depend on nothing but themselves, and one that is done again comes to the same: whoever
    dies, another does its items once more.
    """

    def __call__(
        self, function: Callable[[T], R], items: Iterable[T]
    ) -> Generator[R | FewmaskError, None, None]:
        """The results in the order of the items; an error in place of one that nobody lived to
        finish. What the function raises is raised here.
        """


def one_by_one(
    function: Callable[[T], R], items: Iterable[T]
) -> Generator[R | FewmaskError, None, None]:
    """In this process, each when it is asked for."""
    yield from map(function, items)
