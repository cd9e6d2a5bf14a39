"""One prepared case = one HDF5 file: voxels in (d, h, w) exactly as stored by the scanner, the
mask, and the file's grid.

Chunks hold one slice, uncompressed and checksummed, so that a slice costs a tenth of a millisecond
and a flipped bit is found.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import h5py
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from fewmask.core.errors import BadDataset
from fewmask.core.volume import Grid, Volume, scale_voxels
from fewmask.io.hdf5 import open_guarded
from fewmask.io.hdf5write import writing_hdf5
from fewmask.io.text import expecting

FORMAT = 1
_FIX = "run `fewmask prepare` again: it rebuilds only what is broken"


def write_case(
    path: Path,
    volume: Volume,
    labels: UInt8[np.ndarray, "d h w"] | None,
    stamp: str = "",
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write a case atomically. `labels` holds class indices, 0 = background; `stamp` says what
    files it was made from, `about` is any plain data about it.
    """
    with writing_hdf5(path) as file:
        _, h, w = volume.shape
        options: dict[str, Any] = {"chunks": (1, h, w), "fletcher32": True}
        file.create_dataset("image", data=np.ascontiguousarray(volume.voxels), **options)
        if labels is not None:
            file.create_dataset("label", data=np.ascontiguousarray(labels), **options)
        if about is not None:  # too long for an attribute, and text is none of the types we read
            text = np.frombuffer(json.dumps(about).encode(), np.uint8)
            file.create_dataset("about", data=text, chunks=text.shape, fletcher32=True)
        file.attrs["format"] = FORMAT
        # Of a fixed length: texts of any length lie in a heap that has to be searched when opened.
        file.attrs["stamp"] = np.bytes_(stamp.encode())
        file.attrs["grid"] = np.bytes_(json.dumps(volume.grid.as_dict()).encode())
        file.attrs["scaling"] = np.array([volume.slope, volume.inter])


class CaseFile:
    """An open case. Masks are read through `data.gate` in training; nothing else in training may
    call `labels`.
    """

    def __init__(self, path: Path) -> None:
        """Open and check. Raises `BadDataset` for a damaged, foreign or newer file
        (rows H01-H04).
        """
        self.path = path
        self._file = open_guarded(path, fix=_FIX)
        attributes = self._file.attrs
        if (
            attributes.get("format") != FORMAT
            or "image" not in self._file
            or "grid" not in attributes
        ):
            self.close()
            raise BadDataset(
                "not a prepared case of this version", where=str(path), fix=_FIX, code="W06"
            )
        try:
            with expecting(path, kind=BadDataset, fix=_FIX):
                self._take_apart()
        except BadDataset:
            self.close()
            raise

    def _take_apart(self) -> None:
        """What the file says of itself; raises whatever a foreign value makes of it."""
        attributes = self._file.attrs
        self.grid = Grid.from_dict(json.loads(attributes["grid"]))
        self.slope, self.inter = (float(value) for value in attributes["scaling"])
        stamp = attributes.get("stamp", "")
        self.stamp = stamp.decode() if isinstance(stamp, bytes) else str(stamp)
        self._image = cast(h5py.Dataset, self._file["image"])
        d, h, w = self._image.shape
        self.shape: tuple[int, int, int] = (d, h, w)
        stored = self.grid.orientation.apply(np.empty(self.grid.shape, "V0")).shape
        labels = self._file["label"].shape if "label" in self._file else self.shape
        if not self.shape == stored == labels:
            raise ValueError(f"image {self.shape}, label {labels} and grid {stored} differ")
        if not (math.isfinite(self.slope) and math.isfinite(self.inter)):
            raise ValueError(f"scaling {self.slope}, {self.inter}")

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along d, h, w."""
        d, h, w = (self.grid.spacing_mm[axis] for axis in self.grid.orientation.axes)
        return d, h, w

    @property
    def about(self) -> dict[str, Any]:
        """The plain data that was written with it; empty for cases of earlier versions. Raises
        `BadDataset` where it is damaged.
        """
        if "about" not in self._file:
            return {}
        with expecting(self.path, kind=BadDataset, fix=_FIX):
            try:
                text = np.asarray(self._file["about"]).astype(np.uint8).tobytes()
            except OSError as error:
                raise ValueError(str(error)) from error
            return dict(json.loads(text))

    @property
    def has_labels(self) -> bool:
        """Is there a mask?"""
        return "label" in self._file

    def intensities(self, slices: Sequence[int]) -> Float[np.ndarray, "n h w"]:
        """Intensities (HU for CT) of these slices as float32."""
        return scale_voxels(self._read(self._image, slices), self.slope, self.inter)

    def labels(self, slices: Sequence[int]) -> UInt8[np.ndarray, "n h w"]:
        """Class indices of these slices. Raises `BadDataset` if the case has no mask."""
        if not self.has_labels:
            raise BadDataset(
                "the case has no mask",
                where=str(self.path),
                fix="outline it, and run `fewmask prepare` again",
                code="M15",
            )
        return self._read(cast(h5py.Dataset, self._file["label"]), slices)

    def volume(self) -> Volume:
        """The whole scan."""
        return Volume(
            self._read(self._image, range(self.shape[0])), self.grid, self.slope, self.inter
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> "CaseFile":
        """The open case."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _read(self, dataset: h5py.Dataset, slices: Sequence[int]) -> Shaped[np.ndarray, "n h w"]:
        try:
            if isinstance(slices, range) and slices.step == 1:
                return cast(np.ndarray, dataset[slices.start : slices.stop])
            return np.stack([dataset[d] for d in slices])
        except OSError as error:
            raise BadDataset(
                f"case {self.path.stem} is damaged: {error}",
                where=str(self.path),
                fix=_FIX,
                code="H02",
            ) from error
