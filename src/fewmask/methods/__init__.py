"""The registry: one file, one method; the file name is the method's name, read from the folder.
Adding one edits nothing else.
"""

import difflib
import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from fewmask.core.batch import Task
from fewmask.core.config import parse
from fewmask.core.errors import BadConfig
from fewmask.methods._method import Method, Stage


def names() -> list[str]:
    """Names of all methods, sorted."""
    return sorted(
        path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")
    )


def is_external(name: str) -> bool:
    """Is the method a program that is not ours, with no network to build? Raises `BadConfig` for an
    unknown name.
    """
    return getattr(_module(name), "external", False)


def stages(name: str, config: Any) -> tuple[Stage, ...]:
    """The trainings of a method in order; the last one is the run itself."""
    own = getattr(_module(name), "stages", None)
    return (Stage("", name, config, 1.0),) if own is None else own(config)


def config_class(name: str) -> type:
    """The method's `Config`. Raises `BadConfig` for a name that is not registered."""
    result: type = _module(name).Config
    return result


def config_from(name: str, record: Mapping[str, Any]) -> Any:
    """The method's config from plain data, strictly."""
    return parse(config_class(name), record, name)


def training_settings(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """A config as plain data without settings that matter only when a scan is predicted: what
    training depends on.
    """
    late = getattr(_module(name), "inference_only", ())
    return {key: value for key, value in record.items() if key not in late}


def build(name: str, config: Any, task: Task) -> Method:
    """A fresh, untrained method."""
    result: Method = _module(name).build(config, task)
    return result


def _module(name: str) -> ModuleType:
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"use one of: {', '.join(names())}"
        raise BadConfig(f"no method is called {name!r}", fix=hint, code="C01")
    return importlib.import_module(f"fewmask.methods.{name}")
