"""Label maps that an earlier stage of a method made, as a loader reads them."""

from pathlib import Path
from threading import Lock

import numpy as np
from jaxtyping import UInt8

from fewmask.core.batch import IGNORE
from fewmask.core.volume import Plane
from fewmask.io.nifti import read_labels

_CACHE_BYTES = 2 * 2**30


class PseudoLabels:
    """A folder of `CASE.nii.gz` and `CASE.confidence.nii.gz` (0 to 255)."""

    def __init__(self, folder: Path | None, trust: float = 0.0, plane: Plane = "axial") -> None:
        """Voxels less sure than `trust` in [0, 1] become `IGNORE`. No folder, no labels."""
        self._folder, self._trust, self._plane = folder, trust, plane
        self._volumes: dict[str, UInt8[np.ndarray, "d h w"]] = {}
        self._bytes = 0
        self._reading = Lock()  # one thread reads a scan, and the others wait for it

    @property
    def given(self) -> bool:
        """Is there a folder?"""
        return self._folder is not None

    @property
    def cases(self) -> set[str]:
        """Scans that were labelled."""
        if self._folder is None:
            return set()
        names = [path.name.removesuffix(".nii.gz") for path in self._folder.glob("*.nii.gz")]
        return {name for name in names if not name.endswith(".confidence")}

    def slice(self, case: str, d: int) -> UInt8[np.ndarray, "h w"] | None:
        """One slice on the scan's own grid; None for a scan that was not labelled."""
        volume = self.volume(case)
        return None if volume is None else volume[d]

    def volume(self, case: str) -> UInt8[np.ndarray, "d h w"] | None:
        """A whole scan on its own grid, class numbers and `IGNORE`; kept in memory while there is
        room.
        """
        path = None if self._folder is None else self._folder / f"{case}.nii.gz"
        if path is None or not path.exists():
            return None
        with self._reading:
            if case in self._volumes:
                return self._volumes[case]
            volume = self._read(path, case)
            if self._bytes + volume.nbytes <= _CACHE_BYTES:
                self._bytes += volume.nbytes
                self._volumes[case] = volume
            return volume

    def _read(self, path: Path, case: str) -> UInt8[np.ndarray, "d h w"]:
        volume = read_labels(path).in_plane(self._plane).voxels.astype(np.uint8)
        if self._trust:
            beside = read_labels(path.with_name(f"{case}.confidence.nii.gz"))
            confidence = beside.in_plane(self._plane).voxels
            volume[confidence < round(255 * self._trust)] = IGNORE
        return volume
