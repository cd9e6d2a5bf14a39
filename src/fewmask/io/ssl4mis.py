"""HDF5 volumes as the semi-supervised literature shares them: datasets `image` and `label`, one
scan per file, no spacing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
from jaxtyping import Shaped, UInt8

from fewmask.core.errors import BadDataset
from fewmask.core.names import check_name
from fewmask.core.words import count
from fewmask.io.apart import survive
from fewmask.io.hdf5 import open_guarded
from fewmask.io.text import read_text

LEFT_ATRIUM = "mri_norm2.h5"
"""File name of the left-atrium set (UA-MT): one folder per scan, 0.625 mm (R18)."""
LEFT_ATRIUM_MM = 0.625
Order = Literal["whd", "dhw"]
"""Which axis is which: slices last (left atrium) or first (ACDC). The files do not say it."""
_PARTS = ("train", "val", "test")
_AGAIN = "get the file again"
_ENDINGS = (".list", ".txt")


@dataclass(frozen=True)
class Found:
    """Files of a folder, in the order of its lists."""

    files: dict[str, Path]
    """Case -> file."""
    lists: dict[str, list[str]]
    """`train`, `val` and `test` as the lists beside the files say, those that are there."""


def find_volumes(folder: Path) -> Found:
    """`ID/mri_norm2.h5` or `CASE.h5`, with their lists (`read_list`) from the folder or the one
    above it.

    Raises `BadDataset` if there is no file, if a list names a case that is not there, or if two
    lists name the same part.
    """
    nested = {path.parent.name: path for path in sorted(folder.glob(f"*/{LEFT_ATRIUM}"))}
    files = nested or {path.stem: path for path in sorted(folder.glob("*.h5"))}
    if not files:
        raise BadDataset(
            "no HDF5 volumes here",
            where=str(folder),
            did="nothing was written",
            fix=f"give the folder of ID/{LEFT_ATRIUM} or CASE.h5",
        )
    outside = [p for p in files.values() if not p.resolve().is_relative_to(folder.resolve())]
    if outside:
        raise BadDataset(
            f"{count(len(outside), 'link leaves', 'links leave')} the folder",
            where=[str(path) for path in outside[:5]],
            did="nothing was written",
            fix="copy the files they point to into the folder",
            code="N46",
        )
    for case in files:
        check_name(case, "a case", str(files[case]), kind=BadDataset)
    lists = {}
    for part in _PARTS:
        path = _list_of(part, folder)
        if path is None:
            continue
        lists[part] = read_list(path)
        missing = [case for case in lists[part] if case not in files]
        if missing:
            raise BadDataset(
                f"{path.name} names {count(len(missing), 'scan')} not here",
                where=missing[:5],
                did="nothing was written",
                fix="get the scans too, or take their lines out",
                code="S04",
            )
    return Found(files, lists)


def _list_of(part: str, folder: Path) -> Path | None:
    """`PART.list` (left atrium, ACDC) or `PART.txt` (BraTS); the folder's own goes before that of
    the folder above.
    """
    for parent in (folder, folder.parent):
        candidates = [parent / f"{part}{ending}" for ending in _ENDINGS]
        lists = [path for path in candidates if path.is_file()]
        if len(lists) > 1:
            raise BadDataset(
                f"{lists[0].name} and {lists[1].name} both say which scans are for {part}",
                where=str(parent),
                did="nothing was written",
                fix="keep the one that is meant",
                code="S04",
            )
        if lists:
            return lists[0]
    return None


def read_list(path: Path) -> list[str]:
    """One case per line, with or without `.h5`; what follows a comma is not read, as in the
    literature's code.
    """
    lines = read_text(path, kind=BadDataset).splitlines()
    names = [line.partition(",")[0].strip() for line in lines]
    return [Path(name).stem if name.endswith(".h5") else name for name in names if name]


def read_h5_volume(
    path: Path, order: Order
) -> tuple[Shaped[np.ndarray, "w h d"], UInt8[np.ndarray, "w h d"]]:
    """Image and label map of a file whose axes are in `order`. Raises `BadDataset` for a damaged,
    foreign or 2D file.
    """
    survive(parse_h5_volume, path, fix=_AGAIN)
    image, label = parse_h5_volume(path)
    return (image, label) if order == "whd" else (image.T.copy(), label.T.copy())


def parse_h5_volume(
    path: Path,
) -> tuple[Shaped[np.ndarray, "..."], UInt8[np.ndarray, "..."]]:
    """Image and label map in the file's own order of axes; a damaged file may end the process."""
    image, label = _load(path)
    if image.ndim != 3 or image.shape != label.shape or not image.size:
        raise BadDataset(
            f"image is {image.shape} and label {label.shape}, two volumes of one shape are wanted",
            where=str(path),
            fix=_AGAIN,
            code="M01",
        )
    for name, array in (("image", image), ("label", label)):
        if array.dtype.kind not in "iuf":
            raise BadDataset(
                f"{name} holds {array.dtype}, numbers are wanted",
                where=str(path),
                fix=_AGAIN,
                code="H05",
            )
    values = np.unique(label)
    whole = np.isfinite(values).all() and np.array_equal(values, np.rint(values))
    if not whole or values.min() < 0 or values.max() > 254:
        raise BadDataset(
            f"label holds {values[:5]}, whole numbers from 0 to 254 are wanted",
            where=str(path),
            fix=_AGAIN,
            code="M11",
        )
    return image, label.astype(np.uint8)


def _load(path: Path) -> tuple[Shaped[np.ndarray, "..."], Shaped[np.ndarray, "..."]]:
    with open_guarded(path, fix=_AGAIN) as file:
        parts = [file.get(name) for name in ("image", "label")]
        if not all(isinstance(part, h5py.Dataset) for part in parts):
            raise BadDataset(
                "no datasets `image` and `label`",
                where=str(path),
                did="nothing was written",
                fix="get the file again, or take it out of the folder",
                code="H05",
            )
        try:
            image, label = (np.asarray(part[...]) for part in parts)
        except OSError as error:
            raise BadDataset(
                f"the file is damaged: {error}",
                where=str(path),
                fix=_AGAIN,
                code="H02",
            ) from error
    return image, label
