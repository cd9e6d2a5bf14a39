"""Room for placed scans: in memory first, then in files mapped into it, of which a patch reads its
own part only. Where there is neither, a scan is read and placed again for every patch.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

import torch
from jaxtyping import Shaped
from torch import Tensor

from fewmask.io.atomic import WINDOWS, part_beside

_LEFT_FREE = 10 * 2**30
"""Bytes of the disk that stay free: states and masks are still to be written."""


class Room:
    """Keeps tensors as long as there is room, which changes nothing but time."""

    def __init__(self, memory: int, folder: Path | None = None) -> None:
        """So many bytes of `memory`, then files in `folder`, if one is given."""
        self._memory, self._folder = memory, folder
        self._used = self._count = 0
        self._files: list[Path] = []

    def keep(self, name: str, given: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"] | None:
        """The same numbers where they may stay; None if there is no room."""
        if self._used + given.nbytes <= self._memory:
            self._used += given.nbytes
            return given
        if self._folder is None or not given.nbytes:
            return None
        try:
            return self._map(self._folder, name, given)
        except OSError:  # a full disk or a read-only one: the scan can be read again
            self._folder = None
            return None

    def close(self) -> None:
        """Remove the files, where that had to wait."""
        for path in self._files:
            with suppress(OSError):  # Windows: still mapped; the next run here removes it
                path.unlink(missing_ok=True)

    def _map(self, folder: Path, name: str, given: Tensor) -> Tensor | None:
        if shutil.disk_usage(folder).free < given.nbytes + _LEFT_FREE:
            return None
        self._count += 1
        path = part_beside(folder / f"{name}.placed", f"-{self._count}")
        try:
            given.contiguous().numpy().tofile(path)
            # Private: nothing that is done to it could reach the file.
            mapped = torch.from_file(
                os.fspath(path), shared=False, size=given.numel(), dtype=given.dtype
            )
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        if WINDOWS:
            self._files.append(path)
        else:
            path.unlink()  # it stays mapped, and goes with the process however that ends
        return mapped.reshape(given.shape)
