"""Scans as a page wants them: int16 in (d, h, w) in WORK/cache, from which one slice is read at a
time. Nothing of a scan stays in memory.
"""

import errno
import hashlib
import json
import os
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int16, Shaped

from fewmask.core.errors import BadScan, FewmaskError
from fewmask.core.names import printable
from fewmask.core.volume import BURNED_IN, Grid, Volume
from fewmask.io.atomic import no_room, part_beside, write_text
from fewmask.io.image import files_of
from fewmask.prepare.intensity import looks_like_ct
from fewmask.prepare.layout import Pair
from fewmask.prepare.options import ScanOptions
from fewmask.prepare.reading import read_scan, spoils_one_case
from fewmask.workbench.folder import key_of

_MOST = 20 * 10**9
_SHARE = 5
"""At most this part of what is free on the disk."""
_LOW, _HIGH = -(2**15), 2**15 - 1
_LOOKED_AT = 32
"""So many slices give the percentiles."""


@dataclass(frozen=True)
class ScanInfo:
    """What is known of a scan that was read."""

    grid: Grid
    shape: tuple[int, int, int]
    """(d, h, w)."""
    spacing_mm: tuple[float, float, float]
    """Along d, h, w."""
    scale: float
    offset: float
    """Intensity (HU for CT) = raw * scale + offset."""
    percentiles: tuple[float, float, float]
    """1, 50 and 99 % of the intensities."""
    ct: bool
    """Intensities look like Hounsfield units."""
    notes: tuple[str, ...] = ()

    @property
    def flipped(self) -> bool:
        """d runs against the file's slice axis."""
        return self.grid.orientation.flips[0]

    @property
    def burned_in(self) -> bool:
        """Text in the pixels may name a person."""
        return BURNED_IN in self.notes

    def turn(self, index: int) -> int:
        """d as the file counts it, from 0; its own inverse."""
        return self.grid.orientation.slice_index(index, self.shape[0])

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "grid": self.grid.as_dict(),
            "shape": self.shape,
            "spacing_mm": self.spacing_mm,
            "scale": self.scale,
            "offset": self.offset,
            "percentiles": self.percentiles,
            "ct": self.ct,
            "notes": self.notes,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "ScanInfo":
        """Rebuild from `as_dict`."""
        return cls(
            Grid.from_dict(record["grid"]),
            tuple(record["shape"]),
            tuple(record["spacing_mm"]),
            float(record["scale"]),
            float(record["offset"]),
            tuple(record["percentiles"]),
            bool(record["ct"]),
            tuple(record["notes"]),
        )


class Voxels:
    """The scans of a data folder, read once each; safe to be called from several threads."""

    def __init__(
        self,
        pairs: Mapping[str, Pair],
        options: ScanOptions,
        cache: Path,
        most_bytes: int | None = None,
    ) -> None:
        self._pairs = pairs
        self._options = options
        self._cache = cache
        self._most = most_bytes or min(_MOST, shutil.disk_usage(cache).free // _SHARE)
        self._infos: dict[str, ScanInfo] = {}
        self._refused: dict[str, FewmaskError] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._room = threading.Lock()

    def known(self, case: str) -> ScanInfo | None:
        """What is known without reading the scan."""
        if case in self._infos or case in self._refused:
            return self._infos.get(case)
        with suppress(OSError, ValueError, KeyError, TypeError, FewmaskError):
            record = json.loads(self._path(case, ".json").read_text(encoding="utf-8"))
            if record["stamp"] == self._stamp(case):
                self._infos[case] = ScanInfo.from_dict(record["scan"])
        return self._infos.get(case)

    def refusal(self, case: str) -> FewmaskError | None:
        """Why a scan cannot be read, once that was tried."""
        return self._refused.get(case)

    def info(self, case: str) -> ScanInfo:
        """What is known of a scan, which is read where it never was. Raises `FewmaskError` for one
        that cannot be read, the same each time.
        """
        found = self.known(case)
        if found is None:
            with self._locks[case]:
                found = self.known(case) or self._read(case, keep=True)
        return found

    def look(self, case: str) -> None:
        """Read a scan ahead of its time; its voxels are kept only where that pushes no others out.
        A scan that cannot be read is remembered as refused.
        """
        with suppress(FewmaskError), self._locks[case]:
            info = self.known(case)
            if info is None or (not self._path(case, ".npy").exists() and self._fits(info.shape)):
                self._read(case, keep=False)

    def slice(self, case: str, axis: int, index: int) -> Int16[np.ndarray, "rows columns"]:
        """A slice of the raw numbers as the page shows it: across d as (h, w), across h as (d, w)
        and across w as (d, h), the last two with d reversed. Raises `IndexError` outside the scan.
        """
        with self._open(case) as voxels:
            return cut(voxels, axis, index)

    def volume(self, case: str) -> Volume:
        """The scan with its raw numbers, memory-mapped."""
        info = self.info(case)
        with self._open(case) as voxels:
            return Volume(voxels, info.grid, info.scale, info.offset, info.notes)

    @contextmanager
    def _open(self, case: str) -> Iterator[Int16[np.ndarray, "d h w"]]:
        """The voxels, mapped while the block runs. Another thread may just have made room."""
        path, shape = self._path(case, ".npy"), self.info(case).shape
        voxels = map_array(path, shape, np.int16)
        if voxels is None:
            with self._locks[case]:
                voxels = map_array(path, shape, np.int16)
                if voxels is None:
                    shape = self._read(case, keep=True).shape
                    voxels = map_array(path, shape, np.int16)
        if voxels is None:
            raise no_room(FileNotFoundError(errno.ENOENT, "removed while it was read"), path)
        with suppress(OSError):
            os.utime(path)
        yield voxels

    def _read(self, case: str, keep: bool) -> ScanInfo:
        """Read a scan; `keep`: older scans make room for it."""
        with suppress(OSError):  # voxels of what the scan was before
            self._path(case, ".npy").unlink(missing_ok=True)
        try:
            volume = read_scan(self._pairs[case], self._options)
            scale, offset = _scaling(volume)
            info = ScanInfo(
                volume.grid,
                volume.shape,
                volume.spacing_mm,
                scale * volume.slope,
                offset * volume.slope + volume.inter,
                _percentiles(volume),
                looks_like_ct(volume),
                volume.notes,
            )
        except Exception as error:
            refused = spoils_one_case(error)
            if refused is None:
                raise
            self._refused[case] = refused
            raise refused from error
        if keep or self._fits(volume.shape):
            self._write(case, volume.voxels, scale, offset)
        record = {"stamp": self._stamp(case), "scan": info.as_dict()}
        write_text(self._path(case, ".json"), json.dumps(record))
        self._infos[case] = info
        return info

    def _write(
        self, case: str, voxels: Shaped[np.ndarray, "d h w"], scale: float, offset: float
    ) -> None:
        path = self._path(case, ".npy")
        header = {"descr": "<i2", "fortran_order": False, "shape": voxels.shape}
        with self._room:
            self._make_room(2 * voxels.size, path)
            temp = part_beside(path)
            try:
                with temp.open("wb") as file:
                    np.lib.format.write_array_header_1_0(file, header)
                    for plane in voxels:
                        file.write(_as_int16(plane, scale, offset).tobytes())
                temp.replace(path)
            except OSError as error:  # of the cache's disk, not of the scan
                raise no_room(error, path, needed=2 * voxels.size) from error
            finally:
                with suppress(OSError):
                    temp.unlink(missing_ok=True)

    def _stored(self) -> list[tuple[float, int, Path]]:
        """Time of use, bytes and path of each scan that is kept."""
        found = []
        for path in self._cache.glob("*.npy"):
            with suppress(OSError):
                about = path.stat()
                found.append((about.st_mtime, about.st_size, path))
        return sorted(found)

    def _fits(self, shape: tuple[int, int, int]) -> bool:
        return sum(size for _, size, _ in self._stored()) + 2 * int(np.prod(shape)) <= self._most

    def _make_room(self, needed: int, but: Path) -> None:
        """Remove what was not looked at for longest."""
        stored = [one for one in self._stored() if one[2] != but]
        total = sum(size for _, size, _ in stored) + needed
        for _, size, path in stored:
            if total <= self._most:
                return
            with suppress(OSError):  # on Windows one that is being read stays
                path.unlink()
                total -= size

    def _path(self, case: str, ending: str) -> Path:
        return self._cache / f"{key_of(case)}{ending}"

    def _stamp(self, case: str) -> str:
        """Names, sizes and times of the files, and how they are read."""
        pair = self._pairs[case]
        lines = [repr(self._options)]
        for path in pair.slices or files_of(pair.image):
            about = path.stat()
            lines.append(f"{path.name}:{about.st_size}:{about.st_mtime_ns}")
        return hashlib.sha256("\n".join(lines).encode(errors="surrogatepass")).hexdigest()


def map_array(
    path: Path, shape: tuple[int, int, int], kind: type[np.generic]
) -> Shaped[np.ndarray, "d h w"] | None:
    """The array of a file in the cache; None where it is gone, cut short or of something else."""
    with suppress(OSError, ValueError, EOFError):
        found: Shaped[np.ndarray, "d h w"] = np.load(path, mmap_mode="r")
        if found.shape == shape and found.dtype == kind:
            return found
    return None


def cut(
    voxels: Shaped[np.ndarray, "d h w"], axis: int, index: int
) -> Shaped[np.ndarray, "rows columns"]:
    """A slice across an axis as the page shows it, as a copy of its own; see `Voxels.slice`."""
    if not 0 <= axis <= 2 or not 0 <= index < voxels.shape[axis]:
        raise IndexError(f"axis {axis}, index {index}")
    picture = np.take(voxels, index, axis)
    return np.ascontiguousarray(picture[::-1] if axis else picture)


def explain(error: FewmaskError) -> str:
    """Why a scan is refused, in one line without a path."""
    return printable(
        without_paths(f"{error.what}; {error.fix}" if error.fix else error.what, error)
    )


def without_paths(text: str, error: FewmaskError) -> str:
    """A sentence of `error` with names in place of the paths that it tells of: the page needs no
    folder of this machine.
    """
    told = {Path(line.rpartition("  ")[2]) for line in error.where}
    for path in sorted(told, key=lambda path: len(path.parts), reverse=True):
        if path.is_absolute():
            text = text.replace(str(path), path.name)
    return text


def _scaling(volume: Volume) -> tuple[float, float]:
    """(scale, offset) with which stored number = raw * scale + offset: exact for whole numbers that
    16 bits can tell apart, else over the scan's range.
    """
    voxels = volume.voxels
    low, high = float(voxels.min()), float(voxels.max())
    if not np.isfinite((low, high)).all():
        raise BadScan("the scan holds numbers that are not finite", fix="export it again")
    whole = voxels.dtype.kind in "iu" or all(bool((plane % 1 == 0).all()) for plane in voxels)
    if whole and high - low <= _HIGH - _LOW:
        fits = low >= _LOW and high <= _HIGH
        return 1.0, 0.0 if fits else low - _LOW
    scale = (high - low) / (_HIGH - _LOW) or 1.0
    return scale, low - _LOW * scale


def _as_int16(
    plane: Shaped[np.ndarray, "h w"], scale: float, offset: float
) -> Int16[np.ndarray, "h w"]:
    if scale == 1.0 and offset == 0.0:
        return np.ascontiguousarray(plane).astype("<i2")
    raw = np.round((plane.astype(np.float64) - offset) / scale)
    return np.clip(raw, _LOW, _HIGH).astype("<i2")


def _percentiles(volume: Volume) -> tuple[float, float, float]:
    step = max(1, volume.shape[0] // _LOOKED_AT)
    some = volume.voxels[::step, ::2, ::2].astype(np.float32)
    low, middle, high = np.percentile(some, (1, 50, 99)) * volume.slope + volume.inter
    return float(low), float(middle), float(high)
