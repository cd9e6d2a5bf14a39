"""Headers that are lines of text, as NRRD and MetaImage have them: how they are begun, how a field
is taken, and how one is refused.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from fewmask.core.errors import BadScan
from fewmask.io.stream import check_regular, foreign_kind

AGAIN = "export the image again; its header is damaged"
MAX_HEADER = 2**20
_SHOWN = 60


def refuse(what: str, code: str, fix: str = AGAIN) -> NoReturn:
    """Raise the `BadScan` of a header."""
    raise BadScan(what, fix=fix, code=code)


def read_head(path: Path) -> bytes:
    """The first MiB of a file. Raises `BadScan`: no plain file (N46), empty (N04)."""
    check_regular(path)
    with path.open("rb") as file:
        head = file.read(MAX_HEADER)
    if not head:
        refuse("empty file (failed download, or the disk was full?)", "N04")
    return head


def refuse_foreign(head: bytes, what: str) -> NoReturn:
    """Raise `BadScan`: another kind of file that is known (N10), or `what` it is not (N15)."""
    kind, fix = foreign_kind(head)
    if kind:
        refuse(f"this is {kind}, not an image", "N10", fix)
    refuse(what, "N15")


def put(fields: dict[str, str], name: str, text: str) -> None:
    """Add a field; one that stands twice may be read either way and is refused (N15)."""
    if name in fields:
        refuse(f"field {name[:_SHOWN]!r} stands twice", "N15")
    fields[name] = text


def numbers(fields: Mapping[str, str], *names: str, default: str = "") -> list[float]:
    """The field of the first of these names that is there, as finite numbers, at least one. Raises
    `BadScan` (N12) for anything else.
    """
    name = next((name for name in names if name in fields), names[0])
    try:
        found = [float(word) for word in fields.get(name, default).split()]
    except ValueError:
        found = []
    if not found or not all(map(math.isfinite, found)):
        refuse(f"field {name} is {fields.get(name, 'missing')[:_SHOWN]!r}", "N12")
    return found


def whole_numbers(
    fields: Mapping[str, str], name: str, default: str = "", code: str = "N12"
) -> list[int]:
    """A field as whole numbers, at least one, of at most twelve digits. Raises `BadScan` with
    `code`.
    """
    words = fields.get(name, default).split()
    if not words or not all(re.fullmatch(r"-?\d{1,12}", word) for word in words):
        refuse(f"field {name} is {fields.get(name, 'missing')[:_SHOWN]!r}", code)
    return [int(word) for word in words]
