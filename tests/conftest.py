"""One thread per test process, shapes and types checked, real scans only where they are."""

import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from jaxtyping import install_import_hook

# The hook must stand before anything of fewmask is imported.
_PACKAGES = [
    package.parent.name
    for package in (Path(__file__).parents[1] / "src/fewmask").glob("*/__init__.py")
    if package.parent.name != "cli"
]
_HOOK = install_import_hook([f"fewmask.{package}" for package in _PACKAGES], "beartype.beartype")

import torch  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_scans() -> Path:
    """The folder of real scans, if this machine has it."""
    folder = os.environ.get("FEWMASK_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real scans are not here: set FEWMASK_DATA to their folder")
    return Path(folder)
