"""Slices on their way into a label file: a small file each, from the stroke until that is written.
A server that was killed finds them at its next start.
"""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from fewmask.core.errors import BadConfig
from fewmask.io.atomic import clean_parts, make_folder, write_bytes
from fewmask.workbench.folder import WorkFolder
from fewmask.workbench.voxels import ScanInfo

State = Literal["untouched", "outlined", "empty"]
_ENDING = ".slice"


@dataclass(frozen=True)
class Entry:
    """A slice as it lies in the journal."""

    d: int
    state: State
    packed: bytes
    """The mask, compressed."""
    mask: bytes
    """The same, a byte per pixel."""


def journalled(folder: WorkFolder) -> list[str]:
    """Cases of which the journal holds slices."""
    journal = folder.root / "journal"
    return [inner.name for inner in journal.iterdir() if any(inner.glob(f"*{_ENDING}"))]


def write_entry(folder: Path, d: int, state: State, packed: bytes, info: ScanInfo) -> None:
    """Put slice d on the disk, before this returns. `folder`: the case's own."""
    if not folder.is_dir():
        make_folder(folder)
    index = info.turn(d)
    head = {"slice": index, "state": state, "shape": info.shape}
    write_bytes(folder / f"{index}{_ENDING}", json.dumps(head).encode() + b"\n" + packed)


def remove_entry(folder: Path, d: int, info: ScanInfo) -> None:
    """Slice d is in the label file. Nothing happens where somebody removed its entry."""
    (folder / f"{info.turn(d)}{_ENDING}").unlink(missing_ok=True)


def read_entries(folder: Path, info: ScanInfo, structures: int) -> Iterator[Entry]:
    """What the journal holds of a case; none without it.

    Raises `BadConfig` (M01) for slices of another scan, and (C03) for an entry that is damaged.
    """
    clean_parts(folder)
    for path in sorted(folder.glob(f"*{_ENDING}")):
        try:
            head, _, packed = path.read_bytes().partition(b"\n")
            record = json.loads(head)
            shape = tuple(map(int, record["shape"]))
            state, d = record["state"], info.turn(int(record["slice"]))
            mask = zlib.decompress(packed)
            sound = state in get_args(State) and len(mask) == int(np.prod(shape[1:]))
            held = max(mask, default=0)
        except (ValueError, KeyError, TypeError, zlib.error) as error:
            raise _damaged(path) from error
        if shape != info.shape:
            raise BadConfig(
                f"the scan {folder.name} was another one when it was outlined",
                where=[str(path), f"has {list(shape)}, the scan {list(info.shape)}"],
                fix=f"bring the earlier scan back, or move {path.parent} away",
                code="M01",
            )
        if not sound or not 0 <= d < shape[0] or held > structures:
            raise _damaged(path)
        yield Entry(d, state, packed, mask)


def _damaged(path: Path) -> BadConfig:
    return BadConfig(
        f"a saved slice of {path.parent.name} is damaged",
        where=str(path),
        did="nothing of this scan was changed",
        fix=f"move {path} away; its slice is then as the label file has it",
        code="C03",
    )
