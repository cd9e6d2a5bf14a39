"""The only door to the network: fetch a file, resume where it stopped, check it, and only then give
it its name.
"""

import errno
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from fewmask.core.errors import BadCheckpoint
from fewmask.io.atomic import make_folder, no_room, sync
from fewmask.io.ledger import Weights
from fewmask.io.stream import sha256

_CHUNK = 1 << 20
_TIMEOUT_S = 30


def fetch(
    wanted: Weights, folder: Path, say: Callable[[int, int], None] = lambda done, total: None
) -> Path:
    """Fetch `wanted.file` into `folder` and return its path; a file that is there and checks out is
    not fetched again.

    What was fetched before an interruption stands under `<file>.partial`, from where it resumes.
    `say(done, total)` counts bytes. Raises `BadCheckpoint` offline (with the way to copy the file
    by hand) and when size or hash differ (W07).
    """
    target = folder / wanted.file
    if target.exists():
        check(target, wanted)
        return target
    make_folder(folder)
    partial = folder / f"{wanted.file}.partial"
    try:
        _receive(wanted, partial, say)
    except urllib.error.URLError as error:
        raise _offline(wanted, str(error.reason)) from error
    except (http.client.HTTPException, ValueError) as error:  # no HTTP, or half of it
        raise _offline(wanted, f"{type(error).__name__}: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise no_room(error, partial, needed=wanted.bytes) from error
        raise _offline(wanted, str(error)) from error
    sync(partial)
    try:
        check(partial, wanted)
    except BadCheckpoint:
        partial.unlink()  # going on with it could never end well
        raise
    partial.replace(target)
    return target


def check(path: Path, wanted: Weights) -> None:
    """Size and hash are what the publisher states. Raises `BadCheckpoint` (W07)."""
    found = path.stat().st_size
    problems = [] if found == wanted.bytes else [f"size    {found} bytes, {wanted.bytes} wanted"]
    if not problems and (digest := sha256(path)) != wanted.sha256:
        problems.append(f"SHA-256 {digest}, {wanted.sha256} wanted")
    if problems:
        raise BadCheckpoint(
            f"{wanted.file} is not what its publisher states",
            where=[str(path), *problems],
            did="it was not used",
            fix="remove it and fetch it again; behind a proxy, see whether it is a login page",
            code="W07",
        )


def _receive(wanted: Weights, partial: Path, say: Callable[[int, int], None]) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    if have >= wanted.bytes:
        return
    request = urllib.request.Request(  # noqa: S310
        wanted.address, headers={"Range": f"bytes={have}-"} if have else {}
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
        goes_on = have > 0 and answer.status == 206
        done = have if goes_on else 0
        announced = answer.headers.get("Content-Length")
        if announced is not None and done + int(announced) != wanted.bytes:
            raise OSError(
                errno.EPROTO,
                f"the server offers {done + int(announced)} bytes, {wanted.bytes} are wanted",
            )
        with partial.open("ab" if goes_on else "wb") as file:
            while data := answer.read(_CHUNK):
                done += len(data)
                if done > wanted.bytes:
                    raise OSError(errno.EFBIG, f"the server sends more than {wanted.bytes} bytes")
                file.write(data)
                say(done, wanted.bytes)
    if done < wanted.bytes:
        raise OSError(
            errno.ECONNRESET, f"the connection ended after {done} of {wanted.bytes} bytes"
        )


def _offline(wanted: Weights, why: str) -> BadCheckpoint:
    return BadCheckpoint(
        f"could not fetch {wanted.file}: {why}",
        where=wanted.address,
        did="what arrived is kept; the next try resumes there",
        fix=(
            f"get the file on another machine and run `fewmask weights import {wanted.file}` with "
            f"`name={wanted.name}`"
        ),
        code="W07",
    )
