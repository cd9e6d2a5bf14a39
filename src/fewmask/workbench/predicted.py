"""What the rounds drew: masks slice by slice, and the tables beside them. Only read here."""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from fewmask.core.errors import FewmaskError
from fewmask.io.atomic import part_beside
from fewmask.io.image import read_labels
from fewmask.io.same_grid import lay_on_grid
from fewmask.io.tables import read_csv
from fewmask.workbench.folder import WorkFolder, key_of
from fewmask.workbench.voxels import ScanInfo, cut, map_array

Rows = dict[str, dict[str, dict[str, str]]]
"""Case -> structure -> column -> text."""
_MOST_ROUNDS = 99


class Predicted:
    """Predictions of all rounds of an opened WORK."""

    def __init__(
        self,
        folder: WorkFolder,
        scan: Callable[[str], ScanInfo],
        default: Callable[[], int | None],
    ) -> None:
        """`default` says which round's masks are shown."""
        self._folder, self.default = folder, default
        self._scan = scan
        self._lock = threading.Lock()
        self._areas: dict[tuple[str, int, float], Int64[np.ndarray, "d k"]] = {}
        self._tables: dict[Path, tuple[int, Rows]] = {}

    def has(self, case: str, number: int | None) -> bool:
        """Is there a mask of a case from this round?"""
        return number is not None and self._file(case, number).exists()

    def drawn_at(self, case: str, number: int) -> float:
        """When it was drawn, in seconds since 1970. Raises `OSError` where there is none."""
        return self._file(case, number).stat().st_mtime

    def mask(self, case: str, number: int) -> UInt8[np.ndarray, "d h w"]:
        """The mask of a case on its scan's grid, memory-mapped. Raises `KeyError` where there is
        none, and as `read_labels`.
        """
        path, info = self._file(case, number), self._scan(case)
        if not 0 < number <= _MOST_ROUNDS or not path.exists():
            raise KeyError(number)
        stored = self._folder.cache / f"{key_of(case)}-{number:02d}.npy"
        with self._lock:
            drawn = path.stat().st_mtime_ns
            with suppress(OSError):
                if stored.stat().st_mtime_ns == drawn:
                    kept = map_array(stored, info.shape, np.uint8)
                    if kept is not None:
                        return kept
            read = read_labels(path, grid=info.grid).in_plane(info.grid.plane)
            found = lay_on_grid(info.grid, read, path, path)[0].voxels
            labels = np.ascontiguousarray(found.astype(np.uint8))
            with suppress(OSError):  # a full disk only means that it is read again
                _store(stored, labels, drawn)
        return labels

    def slice(
        self, case: str, number: int, axis: int, index: int
    ) -> UInt8[np.ndarray, "rows columns"]:
        """A slice of a mask, as `Voxels.slice` cuts. Raises `KeyError` without one, `IndexError`
        outside the scan.
        """
        return cut(self.mask(case, number), axis, index)

    def areas(self, case: str, number: int, structures: int) -> Int64[np.ndarray, "d k"]:
        """Pixels of each structure in each slice. Raises `KeyError` without a mask."""
        key = case, number, self.drawn_at(case, number)
        if key not in self._areas:
            counts = [
                np.bincount(plane.ravel(), minlength=structures + 1)[1 : structures + 1]
                for plane in self.mask(case, number)
            ]
            self._areas[key] = np.array(counts, np.int64).reshape(-1, structures)
        return self._areas[key]

    def quality(self, case: str, number: int) -> dict[str, dict[str, str]]:
        """Structure (or `mean`) -> the cells of its line in quality.csv; empty without one."""
        columns = ("case", "structure", "dice", "low", "high", "reasons")
        return self._rows(number, "quality.csv", columns).get(case, {})

    def volumes(self, case: str, number: int) -> dict[str, dict[str, str]]:
        """Structure -> the cells of its line in volumes.csv; empty without one."""
        return self._rows(number, "volumes.csv", ("case", "structure", "ml")).get(case, {})

    def _rows(self, number: int, name: str, columns: tuple[str, ...]) -> Rows:
        path = self._folder.predictions(number) / name
        try:
            now = path.stat().st_mtime_ns
        except OSError:
            return {}
        before = self._tables.get(path)
        if before is None or before[0] != now:
            rows: Rows = {}
            with suppress(FewmaskError):  # it is being written, or of a later version
                for row in read_csv(path, columns):
                    rows.setdefault(row["case"], {})[row["structure"]] = row
            before = self._tables[path] = (now, rows)
        return before[1]

    def _file(self, case: str, number: int) -> Path:
        return self._folder.predictions(number) / f"{case}.nii.gz"


def _store(path: Path, labels: UInt8[np.ndarray, "d h w"], drawn: int) -> None:
    """Keep a mask, with the time of the file that it came from: another one is read anew."""
    temp = part_beside(path)
    try:
        with temp.open("wb") as file:
            np.save(file, labels)
        os.utime(temp, ns=(drawn, drawn))
        temp.replace(path)
    finally:
        with suppress(OSError):
            temp.unlink(missing_ok=True)


def number_in(row: dict[str, str], column: str) -> float | None:
    """A cell as a number; None for an empty one (it cannot be known) and for what is none."""
    with suppress(ValueError):
        found: Any = float(row.get(column, ""))
        return found if np.isfinite(found) else None
    return None
