"""A few masks in, every mask out.

`fewmask.open(folder)`, `fewmask.train(...)`, `fewmask.load(run)`, `fewmask.save(mask, path)`; see
`fewmask.api`. Nothing heavy is imported until used.
"""

from typing import Any

from fewmask.version import __version__

__all__ = ["__version__", "load", "open", "save", "train"]


def __getattr__(name: str) -> Any:
    if name not in ("open", "train", "load", "save"):
        raise AttributeError(f"module 'fewmask' has no attribute {name!r}")
    # Deferred: torch takes seconds to import, and `import fewmask` should not
    from fewmask import api

    return getattr(api, name)
