"""A few masks in, every mask out.

The verbs of the command line as functions: `check`, `prepare`, `train`, `load`, `predict`,
`predict_folder`, `evaluate`, `report`, `compare`, `next_slices`; see docs/api.md. Nothing heavy is
imported until one of them is used.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fewmask.version import __version__

if TYPE_CHECKING:  # for editors and type checkers; see __getattr__
    from fewmask.api import (
        check,
        compare,
        evaluate,
        load,
        next_slices,
        predict,
        predict_folder,
        prepare,
        report,
        train,
    )
    from fewmask.core.errors import FewmaskError
    from fewmask.methods import register_method

__all__ = [
    "FewmaskError",
    "__version__",
    "check",
    "compare",
    "evaluate",
    "load",
    "next_slices",
    "predict",
    "predict_folder",
    "prepare",
    "register_method",
    "report",
    "train",
]
_HOMES = {
    "FewmaskError": "fewmask.core.errors",
    "register_method": "fewmask.methods",
    "open": "fewmask.api.earlier",
    "save": "fewmask.api.earlier",
}
"""Where names are defined that are not in `fewmask.api`."""


def __getattr__(name: str) -> Any:
    if name not in __all__ and name not in _HOMES:
        raise AttributeError(f"module 'fewmask' has no attribute {name!r}")
    # Deferred: torch takes seconds to import, and `import fewmask` should not.
    return getattr(import_module(_HOMES.get(name, "fewmask.api")), name)


def __dir__() -> list[str]:
    return __all__


class _Package(ModuleType):
    """Keeps `fewmask.prepare` the verb, although there is a sub-package of that name.

    When a sub-package is imported, Python sets it as an attribute of its package, which would put
    it in the verb's place. `from fewmask.prepare.build import ...` does not need the attribute.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
