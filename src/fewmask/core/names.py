"""Names that somebody else wrote: what may become a file name of ours, and how a foreign text may
stand on a terminal.

A case, a data set of a sweep, a run or weights are called what a file name, a table or a settings
file says. All of these pass here before a path is made of one.
"""

import re
from pathlib import PurePath, PureWindowsPath
from typing import Any

from fewmask.core.errors import BadConfig, FewmaskError

MAX_BYTES = 220
"""'.' + name + '.nii.gz.' + machine and process + '.part' must stay below 255 bytes."""
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)


def unusable(name: str) -> str:
    """Why this name cannot be that of a file of ours, or an empty string."""
    if not name.strip(". "):
        return "nothing is left of the name without its extension"
    if not name.isprintable() or "/" in name or "\\" in name:
        return "the name holds control characters, undecodable bytes or slashes"
    if name != name.strip():
        return "the name begins or ends with a blank"
    if len(name.encode()) > MAX_BYTES:
        return f"the name is longer than {MAX_BYTES} bytes"
    if _RESERVED.match(name):
        return "the name is reserved on Windows"
    return ""


def check_name(
    name: object, what: str, where: str, *, kind: type[FewmaskError] = BadConfig
) -> None:
    """Raise `kind` (N45) unless `name` can be that of a file or folder of ours.

    `what` it names stands in the message (`a case`), `where` it was written too.
    """
    why = unusable(name) if isinstance(name, str) else "it is no text"
    if why:
        raise kind(
            f"{printable(name)!r} cannot be the name of {what}: {why}",
            where=where,
            fix="use letters, digits, - and _",
            code="N45",
        )


def printable(text: object) -> str:
    """A name as it can stand in a message: escaped where it holds control characters, line ends or
    undecodable bytes.
    """
    shown = str(text)
    return shown if shown.isprintable() else ascii(shown)[1:-1]


def harmless(text: str) -> str:
    """Lines for a terminal: whatever could move its cursor, colour it or turn the direction of
    writing is escaped; line ends and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1]
        for letter in text
    )


def without_paths(value: Any) -> Any:
    """Plain data to be published: of every text that is a path its file's name, others as they
    are.
    """
    if isinstance(value, dict):
        return {key: without_paths(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(without_paths(one) for one in value)
    if not isinstance(value, str):
        return value
    absolute = PurePath(value).is_absolute() or PureWindowsPath(value).is_absolute()
    return PureWindowsPath(value).name if absolute or "/" in value or "\\" in value else value
