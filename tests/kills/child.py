"""Work in a child process that may be killed at any moment.

The child is a fork, so that torch is imported once for hundreds of them. The process that forks
must not have computed anything itself: threads do not survive a fork.
"""

import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILE_EVENTS = ("open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.truncate")


def in_child(work: Callable[[], object], *, seconds: float = 0.0) -> int:
    """Do it in a fork: 0, 1 where it raised, or minus the signal that ended it. With `seconds` it
    is killed after them, if it still runs.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    timer = threading.Timer(seconds, os.kill, (pid, signal.SIGKILL)) if seconds else None
    if timer is not None:
        timer.start()
    try:
        _, status = os.waitpid(pid, 0)
    finally:
        if timer is not None:
            timer.cancel()
            timer.join()
    return os.waitstatus_to_exitcode(status)


def must(work: Callable[[], object]) -> None:
    """The same, and it must work."""
    code = in_child(work)
    assert code == 0, f"ended with {code}"


def die() -> None:
    """As the machine does it: nothing is flushed, nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def watch_files(folder: Path, see: Callable[[int], None]) -> None:
    """In a child: `see` the number (from 1) of every file operation below `folder`, before it is
    done.
    """
    count = 0

    def watch(event: str, words: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in FILE_EVENTS or not isinstance(words[0], str | bytes):
            return
        if str(folder) in os.fsdecode(words[0]):
            count += 1
            see(count)

    sys.addaudithook(watch)
