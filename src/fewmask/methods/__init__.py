"""The registry of methods. One file here, one method: the file's name is the method's name, and
adding one edits nothing else. Methods from outside the package are registered by
`register_method(name, spec)`, or found in the entry-point group `fewmask.methods` of an installed
package, whose entries name a `MethodSpec`.
"""

import difflib
import functools
import importlib
import re
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from fewmask.core.batch import Task
from fewmask.core.config import parse
from fewmask.core.errors import BadConfig
from fewmask.core.renamed import todays_config
from fewmask.methods._method import (
    HasEncoder,
    HasSam,
    Method,
    MethodSpec,
    PresenceAware,
    Promptable,
    Stage,
)

__all__ = [
    "HasEncoder",
    "HasSam",
    "Method",
    "MethodSpec",
    "PresenceAware",
    "Promptable",
    "Stage",
    "build",
    "config_class",
    "config_from",
    "find_method",
    "is_external",
    "names",
    "register_method",
    "stages",
    "training_settings",
]
ENTRY_POINTS = "fewmask.methods"
"""Group of entry points of packages that bring methods."""
_registered: dict[str, MethodSpec] = {}


def names() -> list[str]:
    """Names of all methods, sorted."""
    return sorted({*_files(), *_entries(), *_registered})


def register_method(name: str, spec: MethodSpec, *, replace: bool = False) -> None:
    """Make a method of your own known under `name`, for as long as this process runs.

    `replace` exchanges a method that was registered before. Raises `BadConfig` for a name that is
    taken, or is not of lower-case letters, digits and underscores.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise BadConfig(
            f"{name!r} cannot be the name of a method",
            fix="use lower-case letters, digits and underscores, a letter first",
            did="nothing was registered",
            code="C02",
        )
    if name in names() and not (replace and name in _registered):
        raise BadConfig(
            f"there is a method {name!r} already",
            fix="use another name, or replace=True for one that you registered yourself",
            did="nothing was registered",
            code="C02",
        )
    _registered[name] = spec


def find_method(name: str) -> MethodSpec:
    """What is known of a method. Raises `BadConfig` for an unknown name, for one that several
    installed packages claim, and for a method that does not keep the contract's form.
    """
    entries = _entries().get(name, [])
    if (name in _files()) + len(entries) > 1:
        raise BadConfig(
            f"the method {name!r} comes from several places",
            where=[f"entry point of {entry.dist.name if entry.dist else '?'}" for entry in entries],
            fix="uninstall the package whose method you do not want",
            code="C02",
        )
    if name in _registered:
        return _registered[name]
    if entries:
        return _checked(entries[0].load(), f"the entry point {entries[0].value}")
    if name in _files():
        return spec_of(importlib.import_module(f"fewmask.methods.{name}"))
    raise BadConfig(
        f"no method is called {name!r}", fix=_suggest(name, names(), "use one of: "), code="C01"
    )


def is_external(name: str) -> bool:
    """Is the method a program that is not ours, with no network to build? Raises `BadConfig` for an
    unknown name.
    """
    return find_method(name).external


def stages(name: str, config: Any) -> tuple[Stage, ...]:
    """The trainings of a method in order; the last one is the run itself."""
    own = find_method(name).stages
    return (Stage("", name, config, 1.0),) if own is None else own(config)


def config_class(name: str) -> type:
    """The dataclass of the method's settings. Raises `BadConfig` for an unknown name."""
    return find_method(name).config


def config_from(name: str, record: Mapping[str, Any]) -> Any:
    """The method's config from plain data, strictly; settings by names of an earlier version are
    today's.
    """
    return parse(config_class(name), todays_config(name, record), name)


def training_settings(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """A config as plain data without settings that matter only when a scan is predicted: what
    training depends on.
    """
    late = find_method(name).inference_only
    return {key: value for key, value in record.items() if key not in late}


_UNBUILDABLE = (ValueError, TypeError, AssertionError, ArithmeticError, LookupError)
"""What parts of networks raise for sizes that do not fit together."""


def build(name: str, config: Any, task: Task) -> Method:
    """A fresh, untrained method. Raises `BadConfig` for a program that is not ours, and for
    settings of which no network can be made.
    """
    spec = find_method(name)
    if spec.build is None:
        raise BadConfig(
            f"{name} is a program, not a network of ours", fix="use `method=unet`", code="C02"
        )
    try:
        return spec.build(config, task)
    except _UNBUILDABLE as error:
        raise BadConfig(
            f"no {name} can be built with these settings: {error or type(error).__name__}",
            fix=f"see `fewmask info {name}`",
            code="C02",
        ) from error


def spec_of(module: ModuleType) -> MethodSpec:
    """The `METHOD` of a method file.

    Raises `BadConfig` if there is none, or if a public name in lower case holds data: the contract
    has no such names, so it is a misspelt or misplaced part of it.
    """
    known = [*MethodSpec.__dataclass_fields__, "METHOD"]
    for name, value in vars(module).items():
        misplaced = isinstance(value, MethodSpec) and name != "METHOD"
        loose = name.islower() and isinstance(value, bool | int | float | str | tuple | list | dict)
        if misplaced or (loose and not name.startswith("_")):
            raise BadConfig(
                f"{module.__name__} has a public name {name!r} that no method has",
                fix=_suggest(name, known, "known are: ")
                + "; all that a method declares stands in METHOD = MethodSpec(...)",
                code="C02",
            )
    return _checked(getattr(module, "METHOD", None), f"METHOD of {module.__name__}")


def _checked(found: object, where: str) -> MethodSpec:
    if not isinstance(found, MethodSpec):
        raise BadConfig(
            f"{where} is no MethodSpec but {type(found).__name__}",
            fix="METHOD = MethodSpec(Config, build)",
            code="C02",
        )
    return found


def _suggest(name: str, known: list[str], otherwise: str) -> str:
    folded = {entry.lower(): entry for entry in known}
    near = difflib.get_close_matches(name.lower(), folded, n=1)
    return f"did you mean {folded[near[0]]!r}?" if near else otherwise + ", ".join(known)


def _files() -> set[str]:
    stems = {path.stem for path in Path(__file__).parent.glob("*.py")}
    return {stem for stem in stems if not stem.startswith("_")}


@functools.cache
def _entries() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        found.setdefault(entry.name, []).append(entry)
    return found
