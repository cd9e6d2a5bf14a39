"""Label descriptions of ITK-SNAP: a text table of values, colours and names."""

import re
from collections.abc import Sequence
from pathlib import Path

from fewmask.core.errors import BadDataset
from fewmask.io.segments import Segment

_ENDINGS = (".txt", ".label", ".lbl")
_MAX_BYTES = 2**20
_LINE = re.compile(
    r"\s*(\d{1,5})\s+(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})\s+[\d.]+\s+[01]\s+[01]\s+\"(.*)\"\s*"
)
_HEAD = """################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
################################################
"""


def is_snap(path: Path) -> bool:
    """Does the file begin as ITK-SNAP writes label descriptions?"""
    if not path.name.lower().endswith(_ENDINGS):
        return False
    try:
        with path.open("rb") as file:
            return b"ITK-SnAP Label Description" in file.read(200)
    except OSError:
        return False


def read_snap(path: Path) -> tuple[Segment, ...]:
    """Values, colours and names of the file, without value 0. Raises `BadDataset` (M08) for a line
    that is none of them.
    """
    with path.open("rb") as file:
        text = file.read(_MAX_BYTES + 1)
    lines = text[:_MAX_BYTES].decode("utf-8", "replace").splitlines()
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None or len(text) > _MAX_BYTES:
            raise BadDataset(
                "label description is not as ITK-SNAP writes it",
                where=f"{path}, line {number}",
                fix="export it again from ITK-SNAP, or remove it",
                code="M08",
            )
        value, red, green, blue = (int(match[n]) for n in range(1, 5))
        if value:
            name = match[5]
            found.append(Segment(name, value, (red & 255, green & 255, blue & 255), 0, value))
    return tuple(found)


def snap_text(segments: Sequence[Segment]) -> str:
    """The file for these segments."""
    lines = [(0, (0, 0, 0), "0  0  0", "Clear Label")]
    lines += [(s.value, s.colour or (128, 174, 128), "1  1  1", s.name) for s in segments]
    return _HEAD + "".join(
        f'{value:5d}  {red:3d}  {green:3d}  {blue:3d}  {shown}    "{name}"\n'
        for value, (red, green, blue), shown, name in lines
    )


def slicer_text(segments: Sequence[Segment]) -> str:
    """A colour table for 3D Slicer (`.ctbl`); names in it have no blanks."""
    lines = ["# Color table file", f"# {len(segments) + 1} values", "0 Background 0 0 0 0"]
    for segment in segments:
        red, green, blue = segment.colour or (128, 174, 128)
        lines.append(f"{segment.value} {'_'.join(segment.name.split())} {red} {green} {blue} 255")
    return "\n".join(lines) + "\n"
