"""Writes that are whole or absent: temp file, fsync, read back, rename (docs/decisions.md,
"Writes").
"""

import errno
import hashlib
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fewmask.core.errors import BadConfig, NoRoom

WINDOWS = os.name == "nt"
_HERE = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]
"""This machine: on a shared drive the process numbers of others say nothing here."""
_PART = re.compile(r"^\..+\.(?:([0-9a-f]{6})-)?(\d+)\.part$")

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be too large for this disk or its limit (`ulimit -f`)",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "no permission to write there",
    errno.EPERM: "no permission to write there",
    errno.ENOENT: "the folder does not exist",
    errno.ENOTDIR: "the folder is not a folder",
    errno.EISDIR: "a folder of that name is in the way",
    errno.ENAMETOOLONG: "the file name is too long for this file system",
}
_FIXES = {
    errno.ENOSPC: "free some space, or write to another disk with `out`",
    errno.EDQUOT: "free some space, or write to another disk with `out`",
    errno.EFBIG: "raise the limit (`ulimit -f unlimited`), or write to another disk with `out`",
    errno.ENOENT: "make the folder, or write elsewhere with `out`",
    errno.ENAMETOOLONG: "use a shorter case id or folder name",
}


@contextmanager
def writing(
    path: Path, *, verify: Callable[[Path], None] | None = None, needed: int | None = None
) -> Iterator[Path]:
    """Yield a temp path beside `path`; on leaving, it is flushed to disk, verified and renamed to
    `path`.

    `verify` gets the temp path after fsync and raises if what it reads back is not what was meant.
    `needed` is the size in bytes, if known, for the message. When anything fails the temp file is
    removed and `path` is as it was. A disk that is full, read-only or closed to us raises `NoRoom`.
    """
    temp = part_beside(path)
    try:
        yield temp
        sync(temp)
        if verify is not None:
            verify(temp)
        temp.replace(path)
        sync(path.parent)
    except OSError as error:
        raise no_room(error, path, needed=needed, written=_size(temp)) from error
    finally:
        with suppress(OSError):  # the trouble to report is the one above
            temp.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data`, whole or not at all, and read it back."""
    with writing(
        path, verify=lambda temp: _verify_bytes(temp, data, path), needed=len(data)
    ) as temp:
        temp.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with the line ends as given, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def make_folder(path: Path) -> list[str]:
    """Make a folder for what a verb writes, and those above it; temp files that dead processes left
    in it are removed, and their names returned.

    Raises `NoRoom` (F09, F10) where the disk is full, read-only or closed to us, and `BadConfig`
    (F11) where a file is in the way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise BadConfig(
            "the output is not a folder",
            where=str(path),
            did="nothing was written",
            fix="choose another folder with `out`",
            code="F11",
        ) from error
    except OSError as error:
        raise no_room(error, path) from error
    return clean_parts(path)


def clean_parts(folder: Path) -> list[str]:
    """Remove temp files that dead processes of this machine left in `folder` (not below it);
    returns their names, to be said to the user.
    """
    removed = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if is_leftover(path):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise no_room(error, path) from error
            removed.append(path.name)
    return removed


def part_beside(path: Path, mark: str = "") -> Path:
    """A temp file of this process beside `path`; `mark` tells several apart, threads are told apart
    anyway: two windows of a server may write the same file at the same moment.
    """
    if threading.current_thread() is not threading.main_thread():
        mark += f"-{threading.get_native_id()}"
    return path.parent / f".{path.name}{mark}.{_HERE}-{os.getpid()}.part"


def usual_mode() -> int:
    """Who may read and write a new file here, as the umask says."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    said = next((line.split()[1] for line in lines if line.startswith("Umask:")), None)
    if said is not None:
        return 0o666 & ~int(said, 8)
    mask = os.umask(0o077)  # it can only be read by setting it
    os.umask(mask)
    return 0o666 & ~mask


def is_part(path: Path) -> bool:
    """Is this a temp file of ours?"""
    return _PART.match(path.name) is not None


def is_leftover(path: Path) -> bool:
    """Is this a temp file that a dead process of this machine left?"""
    match = _PART.match(path.name)
    return match is not None and match[1] in (None, _HERE) and not is_alive(int(match[2]))


def is_alive(pid: int) -> bool:
    """Whether a process of this number runs on this machine."""
    if WINDOWS:
        return _is_listed(pid)
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def no_room(error: OSError, path: Path, *, needed: int | None = None, written: int = 0) -> NoRoom:
    """The same trouble as a `NoRoom` that names the file, the bytes and the way out."""
    code = error.errno or 0
    size = f"{needed} bytes needed" if needed is not None else f"{written} bytes written so far"
    return NoRoom(
        f"cannot write {path.name}: {_REASONS.get(code, error.strerror or str(error))}",
        where=[f"file  {path}", f"{size}, {_free(path)} bytes free"],
        did="what was there before is intact, nothing new was left under this name",
        fix=_FIXES.get(code, "choose a folder you may write to with `out`"),
        code="F09" if code == errno.ENOSPC else "F10",
    )


def sync(path: Path) -> None:
    """Flush a file or folder to the disk.

    Windows opens no folders (it writes their entries by itself) and flushes only what is open for
    writing.
    """
    if WINDOWS and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if WINDOWS else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_listed(pid: int) -> bool:
    """Is it in Windows' list of processes (there signal 0 is Ctrl-C)? Yes if in doubt."""
    command = ["tasklist", "/FI", f"PID eq {pid}", "/FO", "CSV", "/NH"]
    try:
        done = subprocess.run(  # noqa: S603  a fixed program and a number
            command, capture_output=True, text=True, check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return True
    return done.returncode != 0 or f'"{pid}"' in done.stdout


def _verify_bytes(temp: Path, data: bytes, path: Path) -> None:
    if temp.read_bytes() != data:
        raise NoRoom(
            f"{path.name} does not read back as written",
            where=f"file  {path}",
            fix="check the disk",
            code="F09",
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _free(path: Path) -> int:
    folder = next(
        (p for p in (path.parent, *path.parent.resolve().parents) if p.is_dir()), Path("/")
    )
    return shutil.disk_usage(folder).free
