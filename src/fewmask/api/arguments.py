"""What a person writes in Python, checked and turned into what the packages below take."""

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, wraps
from pathlib import Path
from types import GenericAlias
from typing import Any, Literal, ParamSpec, TypeVar, get_type_hints

from fewmask.core.config import convert, nearest
from fewmask.core.volume import Plane
from fewmask.io.header import ReadOptions
from fewmask.prepare.options import ScanOptions

File = str | os.PathLike[str]
"""The name of a file or folder."""
Trust = Literal["sform", "qform"]
Spacing = tuple[float, float, float]
Settings = Mapping[str, Any] | Iterable[str]
P = ParamSpec("P")
T = TypeVar("T")


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """The function with its arguments checked against its annotations.

    A keyword that is not there raises `TypeError` with the nearest one that is; a value of another
    type, or a word that a `Literal` does not hold, raises `BadConfig`. Numpy's numbers become
    Python's.
    """
    signature, name = inspect.signature(function), function.__qualname__

    @cache
    def hints() -> dict[str, Any]:
        # Asked for at the first call: annotations may name classes that are defined further below.
        return get_type_hints(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        for key in kwargs:
            if key not in signature.parameters:
                near = nearest(key, signature.parameters)
                raise TypeError(f"{name}() has no keyword {key!r}: {near}")
        bound = signature.bind(*args, **kwargs)
        for key, value in bound.arguments.items():
            hint = hints().get(key, Any)
            if signature.parameters[key].kind is inspect.Parameter.VAR_POSITIONAL:
                hint = GenericAlias(tuple, (hint, ...))
            bound.arguments[key] = convert(value, hint, f"{name}: {key}")
        return function(*bound.args, **bound.kwargs)

    return call


def scan_options(
    trust: Trust | None,
    assume_ras: bool,
    volume: int | None,
    fix_nonfinite: bool,
    spacing_mm: Spacing | None,
    series: str | None,
    keep_first: bool,
    follow_links: bool,
    channel: str | int | None = None,
    intensity: str | None = None,
    plane: Plane | None = None,
) -> ScanOptions:
    """How scans are found and read, from the keywords that say so."""
    read = ReadOptions(trust, assume_ras, volume, fix_nonfinite, spacing_mm)
    chosen = None if channel is None else str(channel)
    return ScanOptions(read, series, keep_first, follow_links, chosen, intensity, plane)


def path_or_none(file: File | None) -> Path | None:
    """A path, where one was given."""
    return None if file is None else Path(file)


def setting_lines(settings: Settings) -> tuple[str, ...]:
    """Lines `key=value` from such lines, or from a mapping: `{"lr": 1e-3}` gives `lr=0.001`.

    A mapping inside holds the settings of a part: `{"finetune": {"lr": 1e-3}}`.
    """
    if isinstance(settings, str):
        return (settings,)
    if isinstance(settings, Mapping):
        return tuple(_lines(settings, ""))
    return tuple(settings)


def _lines(settings: Mapping[str, Any], above: str) -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _lines(value, f"{above}{name}.")
            continue
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        # Numpy's arrays and numbers, as lists and numbers that can be written down.
        value = value.tolist() if hasattr(value, "tolist") else value
        yield f"{above}{name}={value!r}"
