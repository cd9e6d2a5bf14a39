"""Voxels that lie one after another in a file, wherever their header stands: sizes are checked
before anything is allocated, and the whole stream is read, so that damage anywhere is seen.
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from fewmask.core.errors import BadScan
from fewmask.io.header import Header
from fewmask.io.memory import check_room
from fewmask.io.stream import CHUNK, Packing, Stream, about, check_regular, opened

_COPY_AGAIN = "copy it again from its source, and compare size or hash with the original"


@dataclass(frozen=True, eq=False)
class Raster:
    """What a text header (NRRD, MetaImage) says, checked, and where the voxels lie."""

    header: Header
    """Its `offset` counts from `start`, and after unpacking."""
    data: Path
    """The file that holds the voxels: the header's own, or one beside it."""
    start: int
    """Where they begin in it; -1: they end where the file ends."""
    packing: Packing
    together: bool = False
    """All numbers of one voxel lie together (a NRRD axis `list` that comes first)."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """What else the header says, such as names of segments."""


def check_size(header: Header, stream: Stream) -> None:
    """Refuse from the header, before any allocation, what the file cannot hold."""
    wanted = header.offset + header.data_bytes
    if wanted <= stream.largest:
        return
    code = "N11" if wanted > 2**30 else "N02"
    where: tuple[str, ...] = ()
    if header.offset > stream.largest:
        code = "N14"
        where = (
            f"voxels begin at byte {header.offset} (vox_offset in NIfTI), beyond the file's end",
        )
    raise BadScan(
        f"header declares {wanted} bytes ({wanted / 1e9:.3g} GB), the file holds "
        f"{stream.file_size}",
        where=where,
        fix=_COPY_AGAIN,
        code=code,
    )


def take_voxels(stream: Stream, header: Header) -> Shaped[np.ndarray, " n"]:
    """The numbers of all volumes, in the order in which they are stored."""
    check_size(header, stream)
    check_room(header.data_bytes + 4 * math.prod(header.shape), "reading this image")
    buffer = np.empty(header.data_bytes, np.uint8)
    stream.skip(header.offset)
    found = stream.read_into(buffer.data)
    if found < header.data_bytes:
        raise BadScan(
            f"the image ends early: {header.data_bytes} bytes of voxels declared, {found} found",
            fix=_COPY_AGAIN,
            code="N02",
        )
    extra = stream.finish()
    if extra:
        number = f"{extra} extra bytes" if extra <= CHUNK else f"more than {CHUNK} extra bytes"
        raise BadScan(
            f"{number} follow the image",
            fix="export the image again; its header does not fit its data",
            code="N07",
        )
    return buffer.view(header.dtype)


def pick(
    numbers: Shaped[np.ndarray, " n"], header: Header, together: bool = False
) -> Shaped[np.ndarray, "i j k"]:
    """The chosen volume, a view."""
    chosen: Shaped[np.ndarray, "i j k"] = split(numbers, header, together)[header.volume]
    return chosen


def split(
    numbers: Shaped[np.ndarray, " n"], header: Header, together: bool = False
) -> Shaped[np.ndarray, "v i j k"]:
    """All volumes, a view."""
    if together:
        return numbers.reshape(header.volumes, *header.shape, order="F")
    stacked = numbers.reshape(*header.shape, header.volumes, order="F")
    return stacked.transpose(3, 0, 1, 2)


def check_raster(raster: Raster) -> None:
    """Refuse from the header alone what the file cannot hold. Raises `BadScan`, the file named."""
    with _opened(raster) as stream, about(raster.data):
        check_size(raster.header, stream)


def read_numbers(raster: Raster) -> Shaped[np.ndarray, " n"]:
    """The stored numbers of all volumes. Raises `BadScan` (N01 to N11, N46, N48), `NoRoom`."""
    with _opened(raster) as stream, about(raster.data):
        return take_voxels(stream, raster.header)


def beside(path: Path, name: str) -> Path:
    """The data file that a header names: a plain name of a file in the header's own folder.

    Raises `BadScan` (N46) for a path, a pattern, a list, or a link that leads out of the folder.
    """
    shown = name if name.isprintable() else ascii(name)
    plain = name not in ("", ".", "..") and not any(mark in name for mark in '/\\:%*?"<>|\0')
    if not plain or not name.isprintable():
        raise BadScan(
            f"the header names {shown!r} as its data file: only a file beside it is read",
            fix="put the data file into the folder of its header, and write its plain name there; "
            "or save the image as one file",
            code="N46",
        )
    data = path.with_name(name)
    if not data.exists() and not data.is_symlink():
        raise BadScan(
            f"its data file {shown} is missing", fix=f"copy {shown} beside it", code="N35"
        )
    inside = data.resolve().parent == path.parent.resolve()
    if data.is_symlink() and not inside and not path.is_symlink():
        raise BadScan(
            f"its data file {shown} is a link that leaves the folder",
            fix="copy the file it points to into the folder",
            code="N46",
        )
    with about(data):
        check_regular(data)
    return data


def _opened(raster: Raster) -> AbstractContextManager[Stream]:
    start = raster.start
    if start < 0:
        start = max(0, raster.data.stat().st_size - raster.header.data_bytes)
    return opened(raster.data, start, raster.packing)
