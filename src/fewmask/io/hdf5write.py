"""HDF5 files that are whole or absent, on any disk.

The HDF5 library does not survive a write that fails: it keeps what it could not write, and the
process ends in a segmentation fault as the next file is closed. So it never learns of one.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from fewmask.io.atomic import writing


class _Steady(io.FileIO):
    """A file that takes everything; the first trouble is kept, and nothing is written after it."""

    trouble: OSError | None = None

    def write(self, data: Any) -> int:
        view, done = memoryview(data).cast("B"), 0
        while self.trouble is None and done < len(view):
            done += self._try(lambda: super(_Steady, self).write(view[done:]) or 0)  # noqa: B023
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self._try(lambda: super(_Steady, self).truncate(size))
        return self.tell() if size is None else size

    def _try(self, action: Callable[[], int]) -> int:
        try:
            return action() if self.trouble is None else 0
        except OSError as error:
            self.trouble = error
            return 0


@contextmanager
def writing_hdf5(path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file, which gets its name when the block is left; as `io.atomic.writing`.

    Raises `NoRoom` (F09, F10) where the disk is full, read-only or closed to us.
    """
    with writing(path) as part, _Steady(part, "w+") as stream:
        try:
            with h5py.File(stream, "w", track_order=True) as file:
                yield file
        except Exception as error:
            if stream.trouble is not None:  # it may have read what was never written
                raise stream.trouble from error
            raise
        if stream.trouble is not None:
            raise stream.trouble
