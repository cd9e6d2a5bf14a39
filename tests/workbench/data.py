"""A small data folder on an oblique, anisotropic grid with flips, and a workbench over it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from starlette.testclient import TestClient

from fewmask.core.volume import Grid, LabelMap, Volume
from fewmask.io.image import write_labels
from fewmask.io.nifti import write_volume
from fewmask.io.text import write_json
from fewmask.workbench.bench import Bench, open_bench
from fewmask.workbench.folder import WorkOptions, key_of
from fewmask.workbench.guard import MASK
from fewmask.workbench.server import guarded

TOKEN = "t" * 43
BASE = "http://127.0.0.1:8321"
SHAPE = (9, 6, 12)
"""File order (i, j, k): i runs to the head's side, turned round; so d = 8 - i."""
_TURN = np.deg2rad(8.0)
AFFINE = np.array(
    [
        [0.0, 0.9 * np.cos(_TURN), -1.3 * np.sin(_TURN), 10.0],
        [0.0, 0.9 * np.sin(_TURN), 1.3 * np.cos(_TURN), -20.0],
        [-4.0, 0.0, 0.0, 30.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


def write_data(folder: Path, count: int = 2, masks: bool = False) -> list[str]:
    """CT-like scans `c0`, `c1`, ...; with `masks` the value 6 in four slices of `c0`."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        values = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) - 1000 + index
        volume = Volume(*_turned(values))
        write_volume(folder / "images" / f"c{index}.nii.gz", volume)
    if masks:
        drawn = np.zeros(SHAPE, np.uint8)
        drawn[2:6, 1:4, 3:8] = 6
        write_labels(folder / "labels" / "c0.nii.gz", LabelMap(*_turned(drawn)))
    return [f"c{index}" for index in range(count)]


def _turned(array: np.ndarray) -> tuple[np.ndarray, Grid]:
    grid = Grid(SHAPE, AFFINE)
    return grid.orientation.apply(array), grid


@contextmanager
def opened(folder: Path, **options: object) -> Iterator[Bench]:
    """A workbench over `folder`/data, read when something is asked for."""
    chosen = {"labels": {"liver": (6,), "kidney": ("kidney",)}, **options}
    with open_bench(WorkOptions(folder / "data", **chosen), ahead=False) as bench:  # type: ignore[arg-type]
        yield bench


def client(bench: Bench, dev: bool = False, **more: object) -> TestClient:
    """A page that has the key."""
    known = {"Authorization": f"Bearer {TOKEN}"}
    return TestClient(guarded(bench, TOKEN, dev), BASE, headers=known, **more)  # type: ignore[arg-type]


def put(page: TestClient, d: int, body: bytes, revision: object, **query: str | float):
    """Save slice d of `c0`."""
    headers = {"If-Match": f'"{revision}"', "Content-Type": MASK}
    address = f"/api/cases/{key_of('c0')}/outline/{d}"
    return page.put(address, content=body, headers=headers, params=query)


def finish_round(root: Path, number: int) -> None:
    """A round of which the files say that it is done; its masks are for the test to write."""
    folder = root / "rounds" / f"{number:02d}-from"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "round.json", {"learned": {}, "aside": {}, "minutes": 1, "commands": {}})
    write_json(folder / "state.json", {"state": "done", "stage": "predict", "message": ""})
