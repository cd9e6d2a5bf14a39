"""MetaImage (`.mha`, `.mhd` with a data file beside it), as ITK writes it: one strict parse of the
header; what tools would read differently is refused.

The format: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

import math
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from fewmask.core.volume import Grid
from fewmask.io.axes import LPS, to_affine
from fewmask.io.fields import numbers, put, read_head, refuse, refuse_foreign
from fewmask.io.header import Header, ReadOptions, choose_volume
from fewmask.io.raster import Raster, beside
from fewmask.io.stream import about

_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip


def read_metaimage(path: Path, options: ReadOptions, every: bool = False) -> Raster:
    """The header of a MetaImage; `every`: all volumes are wanted, so none has to be chosen.

    Raises `BadScan` with the code that a NIfTI header of the same fault has.
    """
    with about(path):
        fields, length = _read_text(path)
        notes: list[str] = []
        sizes = _sizes(fields)
        volumes = math.prod(sizes[3:])
        volume = 0 if every else choose_volume(volumes, options)
        affine = _affine(fields, len(sizes), options, notes)
        dtype = _dtype(fields)
        packed = _yes(fields, "CompressedData")
        data, start = _place(path, fields, length, packed)
        i, j, k = sizes[:3]
        header = Header(
            (i, j, k), volumes, volume, dtype, 0, 1.0, 0.0, affine, data != path, tuple(notes)
        )
        return Raster(header, data, start, "zlib" if packed else "raw", texts=fields)


def _read_text(path: Path) -> tuple[dict[str, str], int]:
    """The fields up to `ElementDataFile`, which is the last one, and where they end."""
    head = read_head(path)
    fields: dict[str, str] = {}
    at = 0
    while "ElementDataFile" not in fields:
        end = head.find(b"\n", at)
        line = head[at : end if end >= 0 else len(head)].decode("utf-8", "replace")
        found = re.fullmatch(r"\s*(\w+)\s*=\s*(.*?)\s*", line)
        if not found or (end < 0 and found[1] != "ElementDataFile"):
            refuse_foreign(head, "not a MetaImage: no line ElementDataFile in its header")
        put(fields, found[1], found[2])
        at = end + 1 if end >= 0 else len(head)
    return fields, at


def _yes(fields: Mapping[str, str], *names: str) -> bool:
    return any(fields.get(name, "").lower() in ("true", "1", "yes") for name in names)


def _sizes(fields: Mapping[str, str]) -> list[int]:
    found = numbers(fields, "DimSize")
    sizes = [int(n) for n in found if n == int(n)]
    if fields.get("ObjectType", "Image").lower() != "image":
        refuse(f"ObjectType is {fields['ObjectType'][:60]!r}, not Image", "N15")
    if len(sizes) != len(found) or numbers(fields, "NDims") != [len(sizes)]:
        refuse(f"field NDims does not fit {len(sizes)} sizes", "N12")
    if len(sizes) not in (3, 4) or not all(1 <= n < 10**9 for n in sizes):
        code = "N26" if len(sizes) > 4 else "N12"
        refuse(f"sizes {sizes}: an image of three axes is needed", code)
    if numbers(fields, "ElementNumberOfChannels", default="1") != [1]:
        refuse("several numbers per voxel", "N27", "convert it to grey values")
    return sizes


def _dtype(fields: Mapping[str, str]) -> np.dtype[np.generic]:
    name = fields.get("ElementType", "").upper()
    if name not in _TYPES:
        refuse(f"field ElementType is {name[:60]!r}, which is no kind of grey value", "N13")
    if not _yes({"BinaryData": "True", **fields}, "BinaryData"):
        refuse("voxels written as text are not read", "N13", "save it again as binary")
    big = _yes(fields, "BinaryDataByteOrderMSB", "ElementByteOrderMSB")
    return np.dtype((">" if big else "<") + _TYPES[name])


def _affine(
    fields: Mapping[str, str], axes: int, options: ReadOptions, notes: list[str]
) -> Float[np.ndarray, "4 4"]:
    spacing = numbers(fields, "ElementSpacing", "ElementSize", default=" ".join("0" * axes))
    origin = numbers(fields, "Offset", "Position", "Origin", default=" ".join("0" * axes))
    if len(spacing) != axes or len(origin) != axes:
        refuse(f"spacing and origin are not {axes} numbers", "N16")
    names = ("TransformMatrix", "Rotation", "Orientation")
    if not any(name in fields for name in names):
        return to_affine(None, np.zeros(3), np.array(spacing[:3]), options, notes)
    turn = np.array(numbers(fields, *names))
    if len(turn) != axes * axes:
        refuse(f"field TransformMatrix is not {axes} x {axes} numbers", "N19")
    rows = turn.reshape(axes, axes)
    if axes == 4 and (rows[3, :3].any() or rows[:3, 3].any()):
        refuse("the axis of volumes is turned into space", "N19")
    if np.abs(rows).max() > 2 or np.abs(np.linalg.norm(rows[:3, :3], axis=1) - 1).max() > 1e-2:
        refuse("the directions (TransformMatrix) are not of length 1", "N20")
    # A row of the file is the direction of one axis of voxels, in LPS.
    columns = LPS[:, None] * rows[:3, :3].T
    lengths = np.array(spacing[:3])
    return to_affine(columns, LPS * np.array(origin[:3]), lengths, options, notes)


def _place(path: Path, fields: Mapping[str, str], length: int, packed: bool) -> tuple[Path, int]:
    """Data file, and where the voxels begin in it (-1: they are its end)."""
    name = fields["ElementDataFile"]
    local = name.upper() == "LOCAL"
    if name.upper() == "LIST":
        refuse("a list of data files is not read", "N46", "save the image as one .mha file")
    data = path if local else beside(path, name)
    (skip,) = (int(n) for n in numbers(fields, "HeaderSize", default="0")[:1])
    if local:
        return data, length
    if skip < -1 or (skip == -1 and packed):
        refuse(f"field HeaderSize is {skip}", "N14")
    return data, skip


# --- writing ---


def metaimage_pieces(grid: Grid, array: Integer[np.ndarray, "i j k"], mark: str) -> Iterator[bytes]:
    """The bytes of a `.mha` file in LPS, packed. One that ITK cannot hold (sheared axes) is refused
    with `BadScan` (N22).
    """
    spacing = np.array(grid.spacing_mm)
    rows = (LPS[:, None] * grid.affine[:3, :3] / spacing).T
    if np.abs(rows @ rows.T - np.eye(3)).max() > 1e-4:
        refuse("axes are sheared: MetaImage cannot hold them", "N22", "write nrrd instead")
    packer = zlib.compressobj(6)
    packed = [packer.compress(array[:, :, k].tobytes(order="F")) for k in range(array.shape[2])]
    packed.append(packer.flush())
    kind = next(name for name, code in _TYPES.items() if code == array.dtype.str[1:])
    lines = {
        "ObjectType": "Image",
        "NDims": "3",
        "Comment": mark.strip(),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(sum(map(len, packed))),
        "TransformMatrix": _line(rows.ravel()),
        "Offset": _line(LPS * grid.affine[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _line(spacing),
        "DimSize": " ".join(map(str, array.shape)),
        "ElementType": kind,
        "ElementDataFile": "LOCAL",
    }
    yield "".join(f"{name} = {text}\n" for name, text in lines.items()).encode()
    yield from packed


def _line(values: Float[np.ndarray, " n"]) -> str:
    return " ".join(repr(float(value) + 0.0) for value in values)
