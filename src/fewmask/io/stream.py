"""The bytes of one image file, guarded: only regular files, whole gzip streams, no bombs, unchanged
while read.
"""

import errno
import hashlib
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from fewmask.core.errors import BadScan, NoRoom

_unpacker: Callable[[int], Any]
_DAMAGED: tuple[type[Exception], ...]
# The same bytes and the same checksums, in a third of the time (`fewmask[fast]`).
try:
    from isal import isal_zlib
except ImportError:
    _unpacker, _DAMAGED = zlib.decompressobj, (zlib.error,)
else:
    _unpacker = isal_zlib.decompressobj
    _DAMAGED = (zlib.error, cast("type[Exception]", isal_zlib.error))

CHUNK = 2**20
_PIECE = 2**18
"""Read and unpacked at once: what is unpacked still lies in the processor's cache when it is put in
its place.
"""
MAX_RATIO = 1032
"""Deflate cannot shrink data more than this."""
Packing = Literal["guess", "raw", "gzip", "zlib"]
"""How bytes are packed; `guess` tells gzip by its first bytes."""
_GZIP = b"\x1f\x8b"
_WBITS = {"gzip": 31, "zlib": 15}
_COPY_AGAIN = "copy it again from its source, and compare size or hash with the original"
_KINDS = (
    (b"<", "a web page (HTML or XML)"),
    (b"{", "a JSON text"),
    (b"[", "a JSON text"),
    (b"PK\x03\x04", "a zip archive"),
)


class Stream:
    """Sequential reader of plain or packed bytes; checksums are checked as they are read."""

    def __init__(self, file: BinaryIO, size: int, packing: Packing = "guess") -> None:
        self.file_size = size
        self._file = file
        self._first = file.read(_PIECE)
        if packing == "guess":
            packing = "gzip" if self._first.startswith(_GZIP) else "raw"
        self.compressed = packing != "raw"
        self._inflate = _unpacker(_WBITS[packing]) if self.compressed else None
        self._peeked = b""

    @property
    def largest(self) -> int:
        """No more bytes than this can come out of the file."""
        return self.file_size * MAX_RATIO if self.compressed else self.file_size

    def read_into(self, buffer: memoryview) -> int:
        """Fill `buffer` from the stream; returns how many bytes there were (fewer at the end)."""
        done = 0
        while done < len(buffer):
            piece = self._next(min(_PIECE, len(buffer) - done))
            if not piece:
                break
            buffer[done : done + len(piece)] = piece
            done += len(piece)
        return done

    def peek(self, count: int) -> bytes:
        """The next `count` bytes (fewer at the end), which will be read again."""
        buffer = bytearray(count)
        self._peeked = bytes(buffer[: self.read_into(memoryview(buffer))])
        return self._peeked

    def skip(self, count: int) -> None:
        """Read past `count` bytes."""
        while count > 0 and (piece := self._next(min(_PIECE, count))):
            count -= len(piece)

    def finish(self) -> int:
        """Read on to the end, so that the last checksum is checked; returns the bytes found, giving
        up beyond 1 MiB.
        """
        found = 0
        while found <= CHUNK and (piece := self._next(_PIECE)):
            found += len(piece)
        return found

    def _next(self, limit: int) -> bytes:
        """1 to `limit` bytes, or none at the end."""
        if self._peeked:
            data, self._peeked = self._peeked[:limit], self._peeked[limit:]
            return data
        if self._inflate is None:
            data = self._take() if self._first else self._file.read(limit)
            self._first = data[limit:]
            return data[:limit]
        while True:
            if self._inflate.eof:
                rest = self._inflate.unused_data or self._take()
                rest += self._file.read(1) if len(rest) == 1 else b""
                if not rest:
                    return b""
                if not rest.startswith(_GZIP):
                    raise BadScan(
                        "extra bytes follow the compressed image", fix=_COPY_AGAIN, code="N07"
                    )
                self._inflate, self._first = _unpacker(_WBITS["gzip"]), rest
            data = self._take()
            try:
                out: bytes = self._inflate.decompress(data, limit)
            except _DAMAGED as error:
                what = f"compressed data is damaged, checksum (CRC) or code wrong: {error}"
                raise BadScan(what, fix=_COPY_AGAIN, code="N05") from error
            self._first = self._inflate.unconsumed_tail
            if out:
                return out
            if not data and not self._inflate.eof:
                raise BadScan(
                    f"compressed stream ends early, at byte {self.file_size} of the file",
                    fix=_COPY_AGAIN,
                    code="N01",
                )

    def _take(self) -> bytes:
        data, self._first = self._first or self._file.read(_PIECE), b""
        return data


@contextmanager
def opened(path: Path, offset: int = 0, packing: Packing = "guess") -> Iterator[Stream]:
    """A guarded stream over `path`, from byte `offset` on. Raises `BadScan` (the file named) for
    what is no image, `NoRoom` if it may not be read.
    """
    with about(path):
        before = check_regular(path)
        if before.st_size == 0:
            raise BadScan(
                "empty file (failed download, or the disk was full?)", fix=_COPY_AGAIN, code="N04"
            )
        with path.open("rb") as file:
            file.seek(offset)
            stream = Stream(file, max(0, before.st_size - offset), packing)
            yield stream
            after = os.fstat(file.fileno())
        if _identity(before) != _identity(after):
            raise BadScan(
                "the file changed during reading",
                fix="wait until the program that writes it is done",
                code="N48",
            )


def _identity(found: os.stat_result) -> tuple[int, int, int]:
    """What changes when a file is written to or replaced."""
    return found.st_size, found.st_mtime_ns, found.st_ino


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Whatever is refused inside is said to be about this file."""
    try:
        yield
    except BadScan as error:
        line = f"file  {path}"
        if line in error.where:
            raise
        raise BadScan(
            error.what, where=(line, *error.where), did=error.did, fix=error.fix, code=error.code
        ) from error
    except OSError as error:
        raise NoRoom(
            f"cannot read {path.name}: {error.strerror or error}",
            where=f"file  {path}",
            fix="check who may read the file, and that its drive is still there",
            code="N47",
        ) from error


def check_regular(path: Path) -> os.stat_result:
    """The file's stat; raises `BadScan` for anything but a regular file, without opening it (a FIFO
    would hang).
    """
    try:
        found = path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BadScan(
                "symlink loop", fix="remove the link, or let it point to a file", code="N46"
            ) from error
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            what, fix = "no such file", "check the path"
            if path.is_symlink():
                what = "dangling symlink: its target does not exist"
                fix = "remove or mend the link"
            raise BadScan(what, fix=fix, code="N46") from error
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL):
            raise BadScan("no file can have this name", fix="check the path", code="N45") from error
        raise
    if stat.S_ISDIR(found.st_mode):
        raise BadScan("this is a directory, not a file", fix="rename the directory", code="N46")
    if not stat.S_ISREG(found.st_mode):
        raise BadScan(
            "this is a FIFO, socket or device, not a regular file",
            fix="remove it from the folder",
            code="N46",
        )
    return found


def foreign_kind(head: bytes) -> tuple[str, str]:
    """(what the file is instead of an image, fix), told from its first bytes."""
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer", "run `git lfs pull` where the data came from"
    if head[128:132] == b"DICM":
        return "a DICOM file", "give the folder of the series instead"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    kind = next((name for magic, name in _KINDS if text.startswith(magic)), "")
    return kind, "download the image itself; a login page or pointer was saved in its place"


def sha256(path: Path) -> str:
    """SHA-256 of the file as it lies on the disk, in hex."""
    digest = hashlib.sha256()
    with about(path):
        check_regular(path)
        with path.open("rb") as file:
            while piece := file.read(CHUNK):
                digest.update(piece)
    return digest.hexdigest()
