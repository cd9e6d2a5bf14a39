"""nnU-Net in a virtual environment of its own: set up once, then fed with a budget, trained, and
asked for masks.

It needs torchvision and more, which do not live beside our dependencies. The environment variables
it wants are set for its processes only. What it writes stays in one folder of the run:
`plans.json`, `dataset.json` and `log.txt` at the end.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from fewmask.core.budget import Budget
from fewmask.core.errors import BadConfig, NoRoom, TrainingFailed
from fewmask.core.volume import LabelMap, Volume
from fewmask.data.nnunet import write_raw
from fewmask.external.nnunet_worker import DATASET, MARK, PLANS
from fewmask.io.atomic import make_folder
from fewmask.io.ledger import cache
from fewmask.io.lock import waiting_lock
from fewmask.io.nifti import read_labels, write_volume
from fewmask.io.prepared import Prepared
from fewmask.io.same_grid import check_same_grid
from fewmask.io.text import read_json, write_json

PACKAGES = ("nnunetv2==2.6.2", "torch==2.8.0", "torchvision==0.23.0")
"""What is installed there; pinned, because its own requirements are wide."""
FOLDER = "nnunet"
"""Its folder in a run."""
_WORKER = Path(__file__).with_name("nnunet_worker.py")
_READY = "ready.json"
_LONG = 200
"""Characters of a line shown in an error."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """Where and how nnU-Net works for one run."""

    folder: Path
    """Its folder; removed and made anew unless its plans are whole."""
    device: str
    """`cpu`, `cuda`, `cuda:1`."""
    threads: int

    @property
    def is_begun(self) -> bool:
        """Did it train here, and is what it made not taken over yet?"""
        return (self.folder / "results").is_dir()


@dataclass(frozen=True)
class Schedule:
    """What it plans for, and how long it trains."""

    configuration: str
    memory_gb: float
    """What its planner fits patch and batch to."""
    epochs: int
    iterations: int
    """Per epoch."""
    seed: int


def home() -> Path:
    """Where its environment lies."""
    return cache().parent / "nnunet"


def installed() -> dict[str, str] | None:
    """Versions in its environment; None if there is none."""
    ready = home() / _READY
    return read_json(ready, kind=BadConfig) if ready.exists() else None


def set_up(say: Say) -> dict[str, str]:
    """Make the environment; downloads several GB once. Raises `NoRoom` where the packages cannot be
    installed or imported.
    """
    make_folder(home())
    with waiting_lock(home(), "nnunet setup", 3600.0):
        found = installed()
        if found is None:
            say(f"making an environment in {home()}, several GB")
            venv.create(home() / "env", with_pip=True, clear=True)
            _install([str(_python()), "-m", "pip", "install", "--quiet", *PACKAGES])
            found = json.loads(_install([str(_python()), "-I", "-c", _VERSIONS]).splitlines()[-1])
            write_json(home() / _READY, found)
    return found


def require() -> dict[str, str]:
    """Versions in its environment. Raises `BadConfig` that says how to set it up."""
    found = installed()
    if found is None:
        raise BadConfig(
            "nnU-Net is not set up here",
            where=str(home()),
            fix="fewmask nnunet setup",
        )
    return found


def fit(
    prepared: Prepared,
    budget: Budget,
    place: Place,
    schedule: Schedule,
    tell: Callable[[int, float | None], None],
    stopped: Callable[[], bool],
) -> Path:
    """Raw data, plans, training; returns the file with the network's weights. Goes on from the last
    whole epoch.

    `tell(epochs done, training loss)`; when `stopped()` turns true nnU-Net is ended at once and
    `InterruptedError` raised. Raises `TrainingFailed` with nnU-Net's last lines.
    """
    require()
    folder, planned = place.folder, place.folder / "planned.json"
    if not planned.exists():
        shutil.rmtree(folder, ignore_errors=True)
        raw = write_raw(prepared, budget, folder / "raw" / DATASET)
        planning = {
            "configuration": schedule.configuration,
            "memory_gb": schedule.memory_gb,
            "processes": place.threads,
        }
        _work("plan", planning, place, stopped=stopped)
        write_json(planned, {"cases": list(raw.cases)})
    weights = folder / "weights.safetensors"
    training = {
        "configuration": schedule.configuration,
        "epochs": schedule.epochs,
        "iterations": schedule.iterations,
        "seed": schedule.seed,
        "device": _own_device(place.device),
        "out": str(weights.resolve()),
    }
    _work("fit", training, place, lambda line: tell(line["epoch"], line["loss"]), stopped)
    for name in (f"{PLANS}.json", "dataset.json"):
        record = read_json(folder / "preprocessed" / DATASET / name, kind=BadConfig)
        write_json(folder / name.replace(PLANS, "plans"), record)
    return weights


def clean(folder: Path) -> None:
    """Remove copies of scans and masks, states and logs of nnU-Net's own; what prediction needs
    stays.
    """
    for name in ("raw", "preprocessed", "results"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("planned.json", "weights.safetensors"):
        (folder / name).unlink(missing_ok=True)


def ask(place: Place, weights: Path, configuration: str, mirror: bool, volume: Volume) -> LabelMap:
    """Class index per voxel of one scan, on its grid; `mirror` averages over mirrored copies.

    Raises `TrainingFailed` with nnU-Net's last lines.
    """
    require()
    with tempfile.TemporaryDirectory(prefix="fewmask-") as name:
        image, out = Path(name) / "scan_0000.nii.gz", Path(name) / "mask.nii.gz"
        write_volume(image, volume)
        settings: dict[str, Any] = {
            "folder": place.folder,
            "weights": weights,
            "image": image,
            "out": out,
        }
        settings = {key: str(value.resolve()) for key, value in settings.items()}
        how = {
            "configuration": configuration,
            "mirror": mirror,
            "device": _own_device(place.device),
        }
        _work("ask", {**settings, **how}, place)
        mask = read_labels(out)
    check_same_grid(volume.grid, mask.grid, image, out)
    return LabelMap(mask.in_plane(volume.grid.plane).voxels.astype(np.uint8), volume.grid)


_VERSIONS = (
    "import json, torchvision; from importlib.metadata import version; import "
    "nnunetv2.training.nnUNetTrainer.nnUNetTrainer; "
    "print(json.dumps({name: version(name) for name in ('nnunetv2', 'torch')}))"
)


def _python() -> Path:
    return home() / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _install(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own interpreter and list
    if done.returncode:
        raise NoRoom(
            "nnU-Net's environment could not be made",
            where=[str(home()), *(done.stderr or done.stdout).strip().splitlines()[-5:]],
            did="it is not used",
            fix="mend what the lines above say, then fewmask nnunet setup",
        )
    return done.stdout


def _own_device(device: str) -> str:
    """nnU-Net always takes the first GPU that it sees; `_environment` shows it the right one."""
    return device.split(":")[0]


def _environment(place: Place, verb: str) -> dict[str, str]:
    # On a CPU augmentation in the training process itself; its planner wants a positive number all
    # the same.
    augmenting = 0 if (verb, place.device) == ("fit", "cpu") else place.threads
    folder = place.folder.resolve()
    own = {
        "nnUNet_raw": str(folder / "raw"),
        "nnUNet_preprocessed": str(folder / "preprocessed"),
        "nnUNet_results": str(folder / "results"),
        "nnUNet_compile": "f",
        "nnUNet_def_n_proc": str(place.threads),
        "nnUNet_n_proc_DA": str(augmenting),
        "OMP_NUM_THREADS": str(place.threads),
    }
    if ":" in place.device:
        own["CUDA_VISIBLE_DEVICES"] = place.device.split(":")[1]
    return {**os.environ, **own}


def _work(
    verb: str,
    settings: Mapping[str, Any],
    place: Place,
    tell: Callable[[dict[str, Any]], None] = lambda line: None,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Run the worker to its end. Marked lines go to `tell`, all others to `log.txt`."""
    make_folder(place.folder)
    command = [str(_python()), "-u", "-I", str(_WORKER), verb, json.dumps(settings)]
    process = subprocess.Popen(  # noqa: S603  our own interpreter and file
        command,
        env=_environment(place, verb),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines: SimpleQueue[str | None] = SimpleQueue()
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    last: list[str] = []
    try:
        with (place.folder / "log.txt").open("a", encoding="utf-8") as log:
            while (line := _next(lines, stopped)) is not None:
                if line.startswith(MARK):
                    tell(json.loads(line.removeprefix(MARK)))
                else:
                    log.write(line)
                    last = [*last, line.rstrip()[:_LONG]][-8:]
    except BaseException:
        _end(process)
        raise
    finally:
        process.wait()
        reader.join()
        if process.stdout is not None:
            process.stdout.close()
    if process.returncode:
        raise TrainingFailed(
            f"nnU-Net stopped with code {process.returncode}",
            where=[*last, str(place.folder / "log.txt")],
            did="the last whole epoch is kept",
            fix="mend what its last lines say; the same command resumes from there",
        )


def _read(process: "subprocess.Popen[str]", lines: "SimpleQueue[str | None]") -> None:
    for line in process.stdout or ():
        lines.put(line)
    lines.put(None)


def _next(lines: "SimpleQueue[str | None]", stopped: Callable[[], bool]) -> str | None:
    """The next line; None at the end."""
    while True:
        if stopped():
            raise InterruptedError
        try:
            return lines.get(timeout=0.5)
        except Empty:
            continue


def _end(process: "subprocess.Popen[str]") -> None:
    """End it with its data-loading children."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
