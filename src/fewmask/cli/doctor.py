"""`fewmask doctor`."""

import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer

from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.core.errors import NoRoom

_NEEDED = (
    "torch",
    "numpy",
    "scipy",
    "nibabel",
    "pydicom",
    "h5py",
    "transformers",
    "monai",
    "safetensors",
    "jinja2",
    "pillow",
    "rich",
    "tomli-w",
    "typer",
)
_SYSTEMS = "Linux is tested; macOS and Windows should work and are untested."


@verb(("fewmask doctor", "fewmask --json doctor"))
def doctor(context: typer.Context) -> None:
    """Show what this machine has for fewmask, and what is missing."""
    console: Console = context.obj
    missing = []
    found = {"python": platform.python_version()}
    for name in _NEEDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            missing.append(name)
    for name, text in found.items():
        console.say(f"{name:14} {text}")
    machine = {} if missing else _machine()
    for key, value in machine.items():
        console.say(f"{key:14} {value}")
    console.result({"versions": found, "missing": missing, "machine": machine})
    if missing or sys.version_info < (3, 11, 4):
        wrong = f"Python {found['python']}; 3.11.4 or newer is needed"
        raise NoRoom(
            "this installation is incomplete",
            where=f"missing: {', '.join(missing)}" if missing else wrong,
            did="",
            fix="pip install fewmask",
            code="F21",
        )
    console.say("Everything that fewmask needs is installed.")
    console.hint(_SYSTEMS)


def _machine() -> dict[str, str]:
    import torch

    from fewmask.io.memory import available_bytes

    memory = available_bytes()
    gpu = "none; training runs on the CPU"
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_name()
    elif torch.backends.mps.is_available():
        gpu = "Apple (MPS); used with --device mps only"
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "threads": str(torch.get_num_threads()),
        "memory free": "unknown" if memory is None else f"{memory / 2**30:.1f} GiB",
        "disk free": f"{shutil.disk_usage(Path.cwd()).free / 2**30:.1f} GiB",
        "GPU": gpu,
    }
