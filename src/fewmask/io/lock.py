"""One writer per folder: a lock file that names its holder, and is taken over when the holder is
dead.
"""

import errno
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from fewmask.core.errors import NoRoom
from fewmask.io.atomic import WINDOWS, is_alive, no_room, part_beside, sync

T = TypeVar("T")
LOCK = ".fewmask.lock"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_SPACE = Path("/proc/self/ns/pid")
_PROCESS = ("host", "boot", "pid", "pid_space", "process_start")
"""What tells a process from all others."""
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What a file system without hard links says (FAT, some network drives)."""
_NAME: ContextVar[str] = ContextVar("_NAME", default="")
"""On whose behalf locks are held, where that is more than this process."""
_BUSY: tuple[type[OSError], ...] = (PermissionError,) if WINDOWS else ()
"""What Windows raises for a file that another process reads or removes at this moment."""


@contextmanager
def folder_lock(folder: Path, purpose: str) -> Iterator[str]:
    """Hold `folder` (which must exist) for writing while the block runs; yields a line about a
    holder that died (F04), or an empty text.

    A second holder, in this or another process, raises `NoRoom` naming the first. A lock whose
    process is dead (same host and boot, or an earlier boot) is taken over. Nothing relies on flock,
    so it also works on network drives.
    """
    path = folder / LOCK
    record = _record(purpose)
    died = ""
    try:
        if not _create(path, record):
            died = _take_over(path, record)
    except OSError as error:
        raise no_room(error, path) from error
    try:
        yield died
    finally:
        if _read(path).get("token") == record["token"]:
            # Where it cannot be removed it is taken over once this process is gone.
            with suppress(OSError):
                _patiently(lambda: path.unlink(missing_ok=True))


@contextmanager
def in_name_of(name: str) -> Iterator[None]:
    """Locks that are taken in the block are held for `name`, a piece of work that one process does
    at a time: who goes on with it takes over what its dead predecessor held, on any machine.
    """
    before = _NAME.set(name)
    try:
        yield
    finally:
        _NAME.reset(before)


@contextmanager
def waiting_lock(folder: Path, purpose: str, seconds: float = 600.0) -> Iterator[None]:
    """`folder_lock`, but a living holder is waited for; `NoRoom` after `seconds`."""
    give_up = time.monotonic() + seconds
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(folder_lock(folder, purpose))
                break
            except NoRoom as error:
                if error.code != "F12" or time.monotonic() > give_up:
                    raise
                time.sleep(0.2)
        yield


def holder_of(folder: Path) -> int | None:
    """The process of this machine that holds `folder` for writing; None where nobody does."""
    record = _read(folder / LOCK)
    pid = record.get("pid")
    return pid if isinstance(pid, int) and not _is_dead(record) else None


def _whose() -> tuple[str, int | None]:
    """On whose behalf this process holds locks, and in which attempt, where that is known.

    Slurm requeues a task of an array when its machine is lost, and counts how often.
    """
    if name := _NAME.get():
        return name, None
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID")
    count = os.environ.get("SLURM_RESTART_COUNT") or "0"
    if not job or not count.isdecimal():
        return "", None
    return f"slurm {job} {os.environ.get('SLURM_ARRAY_TASK_ID', '')}", int(count)


def _record(purpose: str) -> dict[str, Any]:
    name, attempt = _whose()
    return {
        "purpose": purpose,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "boot": _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else "",
        "pid_space": str(_PID_SPACE.readlink()) if _PID_SPACE.is_symlink() else "",
        "process_start": _process_start(os.getpid()),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "token": secrets.token_hex(8),
        "name": name,
        "attempt": attempt,
    }


def _create(path: Path, record: dict[str, Any]) -> bool:
    """Give the lock its name once it is whole on the disk; False if there is one."""
    temp = _beside(path, record)
    try:
        temp.write_text(json.dumps(record), encoding="utf-8")
        sync(temp)
        return _patiently(lambda: _claim(temp, path))
    finally:
        with suppress(OSError):
            temp.unlink(missing_ok=True)


def _claim(temp: Path, path: Path) -> bool:
    """A second name for the file, which no other process can have given; a copy where the file
    system knows no second names.
    """
    try:
        os.link(temp, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _copy(temp, path)
    return True


def _copy(temp: Path, path: Path) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(temp.read_bytes())
            file.flush()
            os.fsync(file.fileno())
    except OSError:  # a full disk: half a lock would hold the folder for ever
        path.unlink(missing_ok=True)
        raise
    return True


def _beside(path: Path, record: dict[str, Any]) -> Path:
    """A temp file of ours, which `clean_parts` removes if this process dies."""
    return part_beside(path, f"-{record['token']}")


def _take_over(path: Path, record: dict[str, Any]) -> str:
    """A line about the dead holder."""
    holder = _read(path)
    if not _is_dead(holder):
        raise _held(path, holder)
    aside = _beside(path, record)
    try:
        _patiently(lambda: path.rename(aside))
    except FileNotFoundError:
        holder = {}
    else:
        # Somebody may have taken over between our look and our rename: then what we moved is a
        # living lock, and goes back.
        moved = _read(aside)
        if moved.get("token") != holder.get("token"):
            aside.rename(path)
            raise _held(path, moved)
        _patiently(aside.unlink)
    if not _create(path, record):
        raise _held(path, _read(path))
    if "started" not in holder:
        return ""
    return (
        f"the process that was at this since {holder['started']} ended without notice (killed, out "
        "of memory, or the machine stopped)"
    )


def _read(path: Path) -> dict[str, Any]:
    """The holder's record; empty when the file is gone or holds no record (retried: its writer may
    be at it right now, where a file system knows no hard links).
    """
    for pause in (0.02, 0.1, 0.3, 0.0):
        try:
            record = json.loads(_patiently(lambda: path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except ValueError:
            time.sleep(pause)
        else:
            return record if isinstance(record, dict) else {}
    return {}


def _patiently(action: Callable[[], T]) -> T:
    """Do it; on Windows again after a moment where another process has the file open."""
    for pause in (0.02, 0.1, 0.3):
        try:
            return action()
        except _BUSY:
            time.sleep(pause)
    return action()


def _is_dead(holder: dict[str, Any]) -> bool:
    if not holder:  # a lock has its name once it is whole: this was cut short by an older version
        return True
    pid, here = holder.get("pid"), _record("")
    if here["name"] and holder.get("name") == here["name"]:
        if here["attempt"] is None:
            return any(holder.get(key) != here[key] for key in _PROCESS)
        earlier = holder.get("attempt")
        if isinstance(earlier, int) and earlier < here["attempt"]:
            return True
    if not isinstance(pid, int) or holder.get("host") != here["host"]:
        return False
    if holder.get("boot") != here["boot"]:
        return True
    if holder.get("pid_space") != here["pid_space"]:
        return False
    start = _process_start(pid)
    return not is_alive(pid) or (start != "" and start != holder.get("process_start"))


def _process_start(pid: int) -> str:
    """Start of a process in clock ticks since boot: tells a process from a later one that got the
    same number.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def _held(path: Path, holder: dict[str, Any]) -> NoRoom:
    who = (
        f"process {holder.get('pid', '?')} on {holder.get('host', '?')}, since "
        f"{holder.get('started', '?')}"
    )
    return NoRoom(
        f"{path.parent.name or path.parent} is in use: {holder.get('purpose', 'unknown work')}",
        where=[f"folder  {path.parent}", f"held by {who}"],
        did="nothing was started",
        fix=f"wait for it to end; if that process no longer exists, remove {path}",
        code="F12",
    )
