"""Heaps of an HDF5 file, where texts of variable length lie: the library walks them by the sizes
that stand in them, and never comes back from a damaged one.
"""

import mmap
from functools import lru_cache
from pathlib import Path

_SIGNATURE = b"GCOL"
_HEAD = 16
"""Bytes of the head of a heap, and of each object in it."""
_LEAST = 4096
"""Bytes of the smallest heap."""
_MOST = 100_000
"""Objects in all heaps; a prepared case of earlier versions has two texts."""


def heaps_end(path: Path) -> bool:
    """Does every heap of the file lead from object to object to its end?

    A file has to be searched whole for them (0.1 s a GiB once it is in memory), so an answer is
    kept as long as the file does not change.
    """
    status = path.stat()
    return _look(path, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _look(path: Path, _inode: int, _size: int, _time: int) -> bool:
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at, left = data.find(_SIGNATURE), _MOST
        while at >= 0 and left > 0:
            left -= _walk(data, at)
            at = data.find(_SIGNATURE, at + 1)
    return left > 0


def _walk(data: mmap.mmap, at: int) -> int:
    """How many objects a heap holds, `_MOST` where it leads nowhere; 0 for what the library takes
    for no heap: voxels may hold the same four bytes.
    """
    end = at + _number(data, at + 8, 8)
    if data[at + 4 : at + 5] != b"\x01" or not at + _LEAST <= end <= len(data):
        return 0
    place, count = at + _HEAD, 0
    while place + _HEAD <= end:
        index, size = _number(data, place, 2), _number(data, place + 8, 8)
        step = _HEAD + -(-size // 8) * 8 if index else size  # index 0: what is free, head included
        if not 0 < step <= end - place or count == _MOST:
            return _MOST
        place, count = place + step, count + 1
    return count


def _number(data: mmap.mmap, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")
