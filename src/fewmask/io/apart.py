"""Read a file of unknown origin in a process of its own first: what a library written in C does not
survive ends that process, and here it is a refusal.
"""

import contextlib
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from fewmask.core.errors import BadDataset, NoRoom

SECONDS = 600.0
"""A damaged file can send its library round in circles; a good one of some GiB takes a minute."""
_BEGUN = b"begun"


def survive(
    read: Callable[[Path], object], path: Path, *, fix: str, seconds: float = SECONDS
) -> None:
    """Call `read(path)` in another process, and come back when it is through; what it returns or
    raises is dropped, for the caller reads again.

    `read` is a function of a module (both can be named). Costs the start of a Python (0.2 s) and
    one more reading. Raises `BadDataset` (H01) where that process crashed or did not end within
    `seconds`, `NoRoom` (F05) where none could be started.
    """
    # -P: the folder one happens to stand in is no place for modules.
    command = [sys.executable, "-P", "-m", __name__, read.__module__, read.__name__, str(path)]
    try:
        done = subprocess.run(  # noqa: S603  our own interpreter and module
            command,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process, which ends the other
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _refuse(path, f"reading did not end within {seconds:.0f} s", fix) from error
    except OSError as error:
        raise _no_process(path, error.strerror or str(error)) from error
    if not done.stdout.startswith(_BEGUN):
        raise _no_process(path, f"it ended with code {done.returncode}")
    if done.returncode:
        raise _refuse(path, f"reading ended with {_name(done.returncode)}", fix)


def _name(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"code {code}"


def _refuse(path: Path, detail: str, fix: str) -> BadDataset:
    return BadDataset(
        "HDF5 file is damaged: the HDF5 library does not survive it",
        where=[path.name, f"{detail}, in a process of its own"],
        did="nothing was read from it",
        fix=fix,
        code="H01",
    )


def _no_process(path: Path, why: str) -> NoRoom:
    return NoRoom(
        f"cannot start the process that tries {path.name}: {why}",
        fix="look for free memory, and whether Python may start another Python here",
        code="F05",
    )


def _try() -> None:
    """In the other process. No core is dumped: it would hold a part of the scan."""
    with contextlib.suppress(ImportError):  # Windows has none
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    module, name, path = sys.argv[1:]
    read = getattr(importlib.import_module(module), name)
    sys.stdout.buffer.write(_BEGUN)
    sys.stdout.buffer.flush()
    with contextlib.suppress(Exception):  # the caller reads again, and meets it itself
        read(Path(path))


if __name__ == "__main__":
    _try()
