"""One thread per test process, shapes and types checked, real scans only where they are."""

import ast
import os
import signal
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from jaxtyping import _import_hook, install_import_hook


class Shaped(_import_hook.JaxtypingTransformer):
    """Leaves a function inside a function as it is if its types have no shape: it is made anew at
    each call, to make it checked takes milliseconds, and mypy checks such types.
    """

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        inside = any(isinstance(parent, ast.FunctionDef) for parent in self._parents)
        return node if inside and not _has_shape(node) else super().visit_FunctionDef(node)


def _has_shape(node: ast.FunctionDef) -> bool:
    """Does it, or one inside it, take or give a `Float[Tensor, "d h w"]`?"""
    signatures = [
        part
        for function in ast.walk(node)
        if isinstance(function, ast.FunctionDef)
        for part in (function.args, function.returns)
        if part is not None
    ]
    return any(
        isinstance(one, ast.Constant) and isinstance(one.value, str)
        for part in signatures
        for one in ast.walk(part)
    )


_import_hook.JaxtypingTransformer = Shaped  # type: ignore[misc]

# The hook must stand before anything of fewmask is imported.
_PACKAGES = [
    package.parent.name
    for package in (Path(__file__).parents[1] / "src/fewmask").glob("*/__init__.py")
    if package.parent.name != "cli"
]
_HOOK = install_import_hook([f"fewmask.{package}" for package in _PACKAGES], "beartype.beartype")

import torch  # noqa: E402

torch.set_num_threads(1)

# What is started with nohup, or in the background of a script, ignores signals, and so do its
# children; tests are about programs that a person starts.
for _name, _handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    _number = getattr(signal, _name, None)  # Windows has no SIGHUP
    if _number is not None and signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


@pytest.fixture(autouse=True)
def signals_stay_as_they_were() -> Iterator[None]:
    """A test that runs what takes signals for a whole process leaves nothing to those after it."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def real_scans() -> Path:
    """The folder of real scans, if this machine has it."""
    folder = os.environ.get("FEWMASK_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real scans are not here: set FEWMASK_DATA to their folder")
    return Path(folder)
