"""Packages that only some people need: imported where they are used, and named by the extra that
brings them where they are missing.
"""

from importlib import import_module
from types import ModuleType

from fewmask.core.errors import BadConfig


def need(module: str, extra: str, what: str) -> ModuleType:
    """The module; raises `BadConfig` (C02) with the line that installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise BadConfig(
            f"{what} needs the package {module.partition('.')[0]}, which is not installed",
            fix=f"pip install 'fewmask[{extra}]'",
            code="C02",
        ) from error
