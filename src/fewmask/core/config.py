"""Frozen dataclasses as configs: parsed strictly, changed by `--set a.b=c`, written back as plain
data.
"""

import ast
import difflib
import inspect
import json
import math
import os
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields, is_dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fewmask.core.errors import BadConfig
from fewmask.core.manual import sentences_of

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """Bounds of a number; stands with the field, as `Annotated[float, Range(0.0, 1.0)]`."""

    low: float
    high: float = math.inf
    above: bool = False
    """Must it lie above `low`, not at it?"""

    def holds(self, value: Real) -> bool:
        """Is the number within?"""
        number = float(value)
        return (self.low < number if self.above else self.low <= number) and number <= self.high

    def __str__(self) -> str:
        if self.high < math.inf:
            return f"from {self.low:g} to {self.high:,.12g}"
        return f"above {self.low:g}" if self.above else f"{self.low:g} or more"


Positive = Annotated[float, Range(0.0, above=True)]
NotNegative = Annotated[float, Range(0.0)]
Share = Annotated[float, Range(0.0, 1.0)]
Count = Annotated[int, Range(1.0, 1e7)]
"""At least one."""
Number = Annotated[int, Range(0.0, 1e7)]
"""None is allowed."""


def parse(cls: type[T], record: Mapping[str, Any], place: str = "config") -> T:
    """Build the dataclass `cls` from plain data; unknown keys and wrong types raise `BadConfig`
    naming the nearest key.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    known = {f.name for f in fields(cls) if f.init}  # type: ignore[arg-type]
    for key in record:
        if key not in known:
            raise BadConfig(
                f"unknown key {key!r} in {place}",
                where=f"known keys: {', '.join(sorted(known))}",
                fix=nearest(key, known),
                code="C01",
            )
    values = {key: convert(value, hints[key], f"{place}.{key}") for key, value in record.items()}
    for f in fields(cls):  # type: ignore[arg-type]
        if (
            f.init
            and f.name not in values
            and f.default is MISSING
            and f.default_factory is MISSING
        ):
            raise BadConfig(
                f"{place} lacks the key {f.name!r}",
                fix=f"add {f.name}",
                code="C02",
            )
    return cls(**values)


def check_fields(config: Any, place: str) -> dict[str, Any]:
    """The values of a dataclass instance as their types have them (whole numbers as floats, texts
    as paths). Raises `BadConfig` naming the field whose value is of another kind.
    """
    hints = typing.get_type_hints(type(config), include_extras=True)
    return {
        f.name: convert(getattr(config, f.name), hints[f.name], f"{place}.{f.name}")
        for f in fields(config)
    }


def changed_settings(saved: Mapping[str, Any], usual: Any) -> dict[str, Any]:
    """Settings of a saved config that differ from `usual`, a dataclass or its plain data; those of
    a stage as `finetune.canvas`.
    """
    plain = usual if isinstance(usual, Mapping) else asdict(usual)
    return dict(_differ(saved, json.loads(json.dumps(plain)), ""))


def setting_words(changed: Mapping[str, Any]) -> list[str]:
    """Settings as `--set` takes them."""
    words = {True: "true", False: "false", None: "none"}
    return [
        f"{name}={words[value] if isinstance(value, bool | None) else str(value).replace(' ', '')}"
        for name, value in changed.items()
    ]


def settings_text(changed: Mapping[str, Any]) -> str:
    """The same in one line."""
    return " ".join(setting_words(changed))


def apply_settings(config: T, settings: Iterable[str], place: str = "config") -> T:
    """`config` changed by lines such as `lr=0.001` or `encoder.depth=4` (`--set`); values are
    written as in TOML or Python.
    """
    for line in settings:
        key, equals, text = line.partition("=")
        if not equals or not key.strip():
            raise BadConfig(
                f"`settings` {line!r} is not of the form key=value",
                fix="write such as lr=0.001",
                code="C02",
            )
        config = _set(config, key.strip().split("."), text.strip(), place)
    return config


def describe(cls: type) -> list[tuple[str, str, Any, str]]:
    """(name, type, default, sentence) of every field, read from the string under the field: the
    dataclass is the manual.
    """
    sentences = {
        name: text
        for one in reversed(cls.__mro__[:-1])
        for name, text in _field_sentences(one).items()
    }
    hints = typing.get_type_hints(cls)
    return [
        (f.name, _type_name(hints[f.name]), _default(f), sentences.get(f.name, ""))
        for f in fields(cls)
        if f.init
    ]


def _differ(
    saved: Mapping[str, Any], usual: Mapping[str, Any], above: str
) -> Iterator[tuple[str, Any]]:
    for name, value in saved.items():
        if isinstance(value, Mapping):
            yield from _differ(value, usual.get(name) or {}, f"{above}{name}.")
        elif value != usual.get(name):
            yield above + name, value


def _set(config: Any, path: list[str], text: str, place: str) -> Any:
    name = path[0]
    known = {f.name for f in fields(config)}
    if name not in known:
        raise BadConfig(
            f"unknown key {name!r} in {place}",
            fix=nearest(name, known),
            code="C01",
        )
    if len(path) > 1:
        inner = getattr(config, name)
        if not is_dataclass(inner):
            raise BadConfig(
                f"{place}.{name} has no parts",
                fix="leave out what follows the last dot",
                code="C01",
            )
        return replace(config, **{name: _set(inner, path[1:], text, f"{place}.{name}")})
    hint = typing.get_type_hints(type(config), include_extras=True)[name]
    return replace(config, **{name: read_value(text, hint, f"{place}.{name}")})


def read_value(text: str, hint: Any, place: str) -> Any:
    """What was written, as a value of this type; `none` is a word where a word is wanted
    (`weights=none`).
    """
    try:
        return convert(_literal(text), hint, place)
    except BadConfig:
        if hint is str or (
            typing.get_origin(hint) is typing.Literal and text in typing.get_args(hint)
        ):
            return text
        raise


def convert(value: Any, hint: Any, place: str) -> Any:
    """`value` as the type `hint`: lists become tuples, whole numbers floats, numpy's numbers
    Python's; nothing else changes. Raises `BadConfig` naming `place` for what does not fit.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:
        plain = convert(value, arguments[0], place)
        for bounds in arguments[1:]:
            if isinstance(bounds, Range) and not bounds.holds(plain):
                raise BadConfig(
                    f"{place} = {plain!r} is not {bounds}",
                    fix=f"give a number {bounds}",
                    code="C02",
                )
        return plain
    if origin in (types.UnionType, typing.Union):
        for option in arguments:
            try:
                return convert(value, option, place)
            except BadConfig:
                if typing.get_origin(option) is Annotated and _fits(value, option):
                    raise  # the kind is right, the number is not
    elif origin is typing.Literal:
        if value in arguments:
            return value
    elif origin is tuple and isinstance(value, list | tuple):
        inner = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(inner) == len(value):
            return tuple(
                convert(v, h, f"{place}[{i}]")
                for i, (v, h) in enumerate(zip(value, inner, strict=True))
            )
    elif origin is list and isinstance(value, list):
        return [convert(v, arguments[0], f"{place}[{i}]") for i, v in enumerate(value)]
    elif origin is dict and isinstance(value, Mapping):
        return {str(k): convert(v, arguments[1], f"{place}.{k}") for k, v in value.items()}
    elif is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, hint):
            return value
        if isinstance(value, Mapping):
            return parse(hint, value, place)
    elif hint in (float, int):
        kind = Real if hint is float else Integral
        if isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value):
            return hint(value)
    elif hint is Path:
        if isinstance(value, str | Path):
            return Path(value)
    elif isinstance(value, hint if origin is None else origin):
        return value
    raise BadConfig(
        f"{place} = {value!r} is not {_type_name(hint)}",
        fix=f"give {_type_name(hint)}",
        code="C02",
    )


def _fits(value: Any, hint: Any) -> bool:
    """Is it of the kind, whatever its bounds?"""
    try:
        convert(value, typing.get_args(hint)[0], "")
    except BadConfig:
        return False
    return True


def _literal(text: str) -> Any:
    if text in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[text]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def nearest(key: str, known: Iterable[str]) -> str:
    """What to do about an unknown key: the nearest known one, or all of them."""
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"use one of: {', '.join(sorted(known))}"


def _type_name(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is typing.Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_type_name(argument) for argument in arguments)
    names = {
        float: "a finite number",
        int: "a whole number",
        str: "a text",
        bool: "true or false",
        Path: "a path",
        type(None): "none",
        os.PathLike: "a path",
        Mapping: "a mapping",
        Callable: "a function",
    }
    return names.get(origin or hint, str(hint).replace("typing.", ""))


def _default(f: "Field[Any]") -> Any:
    if f.default is not MISSING:
        return f.default
    return f.default_factory() if f.default_factory is not MISSING else None


def _field_sentences(cls: type) -> dict[str, str]:
    try:
        body = ast.parse(inspect.getsource(cls)).body[0]
    except (OSError, TypeError, IndentationError):
        return {}
    return sentences_of(typing.cast(ast.ClassDef, body))
