"""Types told to the checker, and checked when the test runs: a value that is there, a part of a
network by its path and kind.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from torch import nn

Settings = dict[str, Any]
"""Keyword arguments by name, of whatever type each wants."""

P = ParamSpec("P")
T = TypeVar("T")


def required(value: T | None) -> T:
    """The value; None fails the test."""
    assert value is not None
    return value


def part(network: nn.Module, path: str, kind: type[T]) -> T:
    """The sub-module at `path` ("head.0.conv"), which is a `kind`."""
    found = network.get_submodule(path)
    assert isinstance(found, kind), f"{path} is a {type(found).__name__}"
    return found


def watched(function: Callable[P, T], note: Callable[P, object]) -> Callable[P, T]:
    """The same function; `note` is told the arguments of every call."""

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        note(*args, **kwargs)
        return function(*args, **kwargs)

    return call
