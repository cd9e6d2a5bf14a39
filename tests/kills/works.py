"""What is killed: commands, where they work, and what must be the same afterwards."""

import csv
import gzip
import hashlib
import json
import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
from safetensors import SafetensorError, safe_open

from fewmask.io.atomic import is_part
from fewmask.io.lock import LOCK
from fewmask.training import TrainRequest, train
from tests.cli.test_verbs import fewmask, small
from tests.scans import prepare_scans

_TIMED = ("environment.json", LOCK)
_TIMES = ("train_seconds", "seconds", "trained", "finished")
"""Columns of tables that say how long or when."""


@dataclass(frozen=True)
class Work:
    """One command; `OUT` and `PLACE` stand for its folders."""

    kills: int
    words: str
    begins_with: str = ""
    """What is copied into the output folder first."""
    once: bool = False
    """Is the same command refused (F11) once the output is there? Its bits are compared then."""
    may_lack: tuple[str, ...] = ()
    """Ends of names of files that need not be there in the end."""

    def run(self, place: Path, out: Path) -> None:
        """In a child; an error where the command fails."""
        os.chdir(place)
        words = self.words.replace("OUT", str(out)).split()
        done = fewmask(*words)
        code = getattr(done.exception, "exit_code", done.exit_code)
        if self.once and getattr(done.exception, "code", "") == "F11":
            return
        if code not in (0, 5):
            raise RuntimeError(f"{words[0]}: exit {code}: {done.exception!r}")


_UNET = "--method unet --set channels=(4,8) --slices 4 --device cpu --amp off --threads 1"
WORKS = {
    "save": Work(50, f"train prepared {_UNET} --steps 5 --save-steps 1 --out OUT/run"),
    "predict": Work(30, "predict run scans/images --device cpu --out OUT/masks"),
    "prepare": Work(20, "prepare scans --label liver=6 --jobs 1 --out OUT/prepared"),
    "convert": Work(20, "convert prepared --out OUT/slices.h5", once=True),
    "predict-sam": Work(20, "predict sam scans/images --device cpu --out OUT/masks"),
    # A whole mask is scored; without the note beside it `predict` would draw it again.
    "evaluate": Work(
        20, "evaluate OUT/run --device cpu", begins_with="run", may_lack=(".made.json",)
    ),
    "sweep": Work(
        20, "sweep plan.toml --data . --device cpu --threads 1 --work OUT/w --rows OUT/rows.csv"
    ),
}


def make_place(place: Path) -> None:
    """Scans, a prepared dataset, a run of a plain network and one with a SAM, a sweep file. Done in
    a child.
    """
    prepared = prepare_scans(place, 3).folder
    train(small(prepared, place / "run"))
    settings = ("classifier_width=8",)
    train(
        TrainRequest(
            prepared,
            place / "sam",
            "sam_mix",
            slices=3,
            steps=1,
            encoder="tiny",
            settings=settings,
            amp="off",
            device="cpu",
        )
    )
    (place / "plan.toml").write_text(
        'data = "scans"\namp = "off"\nlabel = ["liver=6"]\n[[runs]]\nmethod = ["unet"]\n'
        "slices = [4]\nsteps = 1\nset = { channels = [4, 8] }\n"
    )


def digests(out: Path) -> dict[str, str]:
    """Of every file, without what says when, how long and on what machine."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(_lasting(path)).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in _TIMED
    }


def _lasting(path: Path) -> bytes:
    if path.suffix != ".csv":
        return path.read_bytes()
    with path.open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k not in _TIMES} for row in csv.DictReader(file)]
    return repr(rows).encode()


def damage(out: Path) -> list[str]:
    """Files that cannot be read to their end. Temporary ones are none of anybody's business."""
    return [
        path.relative_to(out).as_posix()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not is_part(path) and not _is_whole(path)
    ]


def _is_whole(path: Path) -> bool:
    read = _READERS.get(path.suffix)
    try:
        return read is None or read(path) is not False
    except (OSError, ValueError, EOFError, SafetensorError, gzip.BadGzipFile):
        return False


def _read_h5(path: Path) -> None:
    with h5py.File(path) as file:
        file.visititems(lambda _, item: item[()] if isinstance(item, h5py.Dataset) else None)


def _read_tensors(path: Path) -> None:
    with safe_open(path, framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118  it is no dict
            file.get_tensor(name)


_READERS: dict[str, Callable[[Path], object]] = {
    ".gz": lambda path: gzip.decompress(path.read_bytes()),
    ".json": lambda path: json.loads(path.read_bytes()),
    LOCK: lambda path: json.loads(path.read_bytes()),
    ".toml": lambda path: tomllib.loads(path.read_text()),
    ".csv": lambda path: path.read_bytes().endswith(b"\n"),
    ".html": lambda path: path.read_text().rstrip().endswith("</html>"),
    ".h5": _read_h5,
    ".safetensors": _read_tensors,
}
