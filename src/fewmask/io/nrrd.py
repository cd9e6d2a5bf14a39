"""NRRD (`.nrrd`, `.nhdr` with a data file beside it, `.seg.nrrd` of 3D Slicer): one strict parse of
the header; what tools would read differently is refused.

The format: https://teem.sourceforge.net/nrrd/format.html
"""

import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from fewmask.core.volume import Grid
from fewmask.io.axes import FAR, LPS, to_affine
from fewmask.io.fields import (
    AGAIN,
    MAX_HEADER,
    put,
    read_head,
    refuse,
    refuse_foreign,
    whole_numbers,
)
from fewmask.io.header import Header, ReadOptions, choose_volume
from fewmask.io.raster import Raster, beside
from fewmask.io.segments import Segment
from fewmask.io.stream import about

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long",
           "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}  # fmt: skip
_DTYPES = {name: code for code, names in _TYPES.items() for name in names}
_SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
"""Signs that bring a space's axes to RAS."""
_NO_SPACE = ("scanner-xyz", "3d-right-handed", "3d-left-handed", "")
_UNITS = {"mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "": 1.0, "um": 0.001, "cm": 10.0,
          "m": 1000.0}  # fmt: skip
_PACKINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}
_OURS = "fewmask"
"""The key of our mark."""
_SPATIAL = ("domain", "space")


@dataclass(frozen=True)
class _Text:
    """A header taken apart: fields by name (lower case), key/value pairs as they are."""

    fields: Mapping[str, str]
    pairs: Mapping[str, str]
    length: int


def read_nrrd(path: Path, options: ReadOptions, every: bool = False) -> Raster:
    """The header of a NRRD file; `every`: all volumes are wanted, so none has to be chosen.

    Raises `BadScan` with the code that a NIfTI header of the same fault has.
    """
    with about(path):
        text = _read_text(path)
        fields, notes = text.fields, list[str]()
        sizes = whole_numbers(fields, "sizes")
        if "dimension" not in fields or whole_numbers(fields, "dimension") != [len(sizes)]:
            refuse(f"field dimension does not fit {len(sizes)} sizes", "N12")
        axis = _list_axis(fields, sizes)
        shape = tuple(n for place, n in enumerate(sizes) if place != axis)
        if len(shape) != 3 or min(sizes) < 1:
            refuse(f"sizes {sizes}: an image of three axes is needed", "N12", AGAIN)
        volumes = 1 if axis is None else sizes[axis]
        volume = 0 if every else choose_volume(volumes, options)
        affine = _affine(fields, axis, options, notes)
        dtype = _dtype(fields)
        data, start, offset, packing = _place(path, text, math.prod(sizes) * dtype.itemsize)
        header = Header(
            shape, volumes, volume, dtype, offset, 1.0, 0.0, affine, data != path, tuple(notes)
        )
        return Raster(header, data, start, packing, axis == 0 and volumes > 1, text.pairs)  # type: ignore[arg-type]


def _read_text(path: Path) -> _Text:
    """The lines up to the empty one. Raises `BadScan` (N03, N10, N15)."""
    head = read_head(path)
    if not head.startswith(b"NRRD000"):
        refuse_foreign(head, "not a NRRD file: it does not begin with NRRD000")
    end = re.search(rb"\r?\n\r?\n", head)
    if end is None and len(head) == MAX_HEADER:
        refuse("the header does not end within 1 MiB", "N15")
    lines = head[: end.start() if end else len(head)].decode("utf-8", "replace").splitlines()
    fields: dict[str, str] = {}
    pairs: dict[str, str] = {}
    for line in lines[1:]:
        if line.startswith("#") or not line.strip():
            continue
        found = re.match(r"([^:]*?)\s*:(=|\s)\s*(.*)", line)
        if not found:
            refuse(f"a line of the header is no field: {line[:60]!r}", "N15")
        where = pairs if found[2] == "=" else fields
        key = (
            found[1]
            if found[2] == "="
            else found[1].strip().lower().replace("datafile", "data file")
        )
        put(where, key, found[3].strip())
    return _Text(fields, pairs, end.end() if end else len(head))


def _list_axis(fields: Mapping[str, str], sizes: list[int]) -> int | None:
    """Which axis runs over volumes: the one without direction, first or last of four."""
    if len(sizes) == 3:
        kinds = fields.get("kinds", "").lower().split()
        if any(kind not in (*_SPATIAL, "???", "none") for kind in kinds):
            refuse(f"axes are {kinds}: three axes of space are needed", "N26", "export one volume")
        return None
    if len(sizes) != 4:
        refuse(f"{len(sizes)} axes: 3 or 4 are needed", "N12" if len(sizes) < 4 else "N26")
    kinds = fields.get("kinds", "").lower().split()
    vectors = _vectors(fields.get("space directions", ""))
    odd = [n for n, vector in enumerate(vectors) if vector is None]
    if not odd:
        odd = [n for n, kind in enumerate(kinds) if kind not in _SPATIAL]
    if len(odd) != 1 or odd[0] not in (0, 3):
        refuse(
            "4 axes, and it is not clear which one runs over volumes", "N26", "export one volume"
        )
    kind = kinds[odd[0]] if len(kinds) == 4 else "list"
    if sizes[odd[0]] > 1 and ("color" in kind or "matrix" in kind):
        refuse(f"voxels are {kind}", "N27", "convert it to grey values")
    return odd[0]


def _dtype(fields: Mapping[str, str]) -> np.dtype[np.generic]:
    name = fields.get("type", "").lower()
    if name not in _DTYPES:
        refuse(f"field type is {name!r}, which is no kind of grey value", "N13")
    dtype: np.dtype[np.generic] = np.dtype(_DTYPES[name])
    if dtype.itemsize == 1:
        return dtype
    endian = fields.get("endian", "").lower()
    if endian not in ("little", "big"):
        refuse(f"field endian is {endian!r}, little or big is needed", "N13")
    return dtype.newbyteorder("<" if endian == "little" else ">")


def _affine(
    fields: Mapping[str, str], axis: int | None, options: ReadOptions, notes: list[str]
) -> Float[np.ndarray, "4 4"]:
    space = fields.get("space", "").lower()
    if space not in _SPACES and space not in _NO_SPACE:
        refuse(f"field space is {space!r}: RAS, LAS or LPS is needed", "N19")
    vectors = [v for n, v in enumerate(_vectors(fields.get("space directions", ""))) if n != axis]
    if not vectors:
        return to_affine(None, np.zeros(3), _spacings(fields, axis), options, notes)
    if len(vectors) != 3 or any(vector is None or len(vector) != 3 for vector in vectors):
        refuse("space directions are not one vector of three numbers per axis", "N19")
    if space in _NO_SPACE:
        return to_affine(None, np.zeros(3), _lengths(vectors), options, notes)
    factor = _factor(fields, notes)
    signs = np.array(_SPACES[space], float)[:, None]
    columns = signs * np.array(vectors, float).T * factor
    origins = _vectors(fields.get("space origin", "(0,0,0)"))
    if len(origins) != 1 or origins[0] is None or len(origins[0]) != 3:
        refuse("space origin is not three numbers", "N19")
    if "space origin" not in fields:
        notes.append("N19: no space origin in the header, taken as 0")
    origin = signs[:, 0] * np.array(origins[0]) * factor
    return to_affine(columns, origin, np.linalg.norm(columns, axis=0), options, notes)


def _vectors(text: str) -> list[list[float] | None]:
    """`none (0.7,0,0) (0,0.7,0) (0,0,1)`."""
    words = re.findall(r"\([^)]*\)|\S+", text)
    return [None if word.lower() == "none" else _vector(word) for word in words]


def _vector(word: str) -> list[float]:
    try:
        found = [float(number) for number in word.strip("()").split(",")]
    except ValueError:
        refuse(f"{word[:60]!r} is no vector", "N19")
    if max(map(abs, found)) > FAR:  # NaN is told by what reads it
        refuse(f"{word[:60]!r} leads to places no patient has", "N19")
    return found


def _lengths(vectors: list[list[float] | None]) -> Float[np.ndarray, "3"]:
    return np.array([np.linalg.norm(vector or [np.nan]) for vector in vectors])


def _spacings(fields: Mapping[str, str], axis: int | None) -> Float[np.ndarray, "3"]:
    """Lengths without directions; a wrong number of them is no length."""
    words = fields.get("spacings", "nan nan nan" if axis is None else "nan nan nan nan").split()
    words = [word for n, word in enumerate(words) if n != axis]
    try:
        found = np.array([float(word) for word in words])
    except ValueError:
        refuse(f"field spacings is {fields['spacings'][:60]!r}", "N16")
    if len(found) != 3:
        refuse(f"field spacings is {fields['spacings'][:60]!r}", "N16")
    return found


def _factor(fields: Mapping[str, str], notes: list[str]) -> float:
    """From the header's units to mm."""
    units = {
        unit.strip().lower() for unit in re.findall(r'"([^"]*)"', fields.get("space units", ""))
    }
    if not units:
        return 1.0
    if len(units) > 1 or not units <= set(_UNITS):
        refuse(f"space units are {sorted(units)}", "N17", "export the image again in mm")
    factor = _UNITS[units.pop()]
    if factor != 1.0:
        notes.append("N17: units are not mm, converted to mm")
    return factor


def _place(path: Path, text: _Text, size: int) -> tuple[Path, int, int, str]:
    """Data file, where the voxels begin in it, bytes to skip after unpacking, packing."""
    fields = text.fields
    encoding = fields.get("encoding", "").lower()
    if encoding not in _PACKINGS:
        fix = "save it again with encoding gzip or raw"
        refuse(f"encoding {encoding!r} is not read", "N13", fix)
    packing = _PACKINGS[encoding]
    if _number(fields, "line skip") != 0:
        refuse("line skip is not read", "N14", "save it again as one .nrrd file")
    skip = _number(fields, "byte skip")
    if skip < -1 or (skip == -1 and packing != "raw"):
        refuse(f"byte skip is {skip}", "N14")
    if "data file" in fields:
        data, start = beside(path, fields["data file"]), 0
    elif path.suffix.lower() == ".nhdr":
        refuse("field data file is missing", "N35", "save it again as one .nrrd file")
    else:
        data, start = path, text.length
    held = data.stat().st_size - start
    if skip == -1 and held < size:
        fix = "copy it again from its source"
        refuse(f"the image ends early: {size} bytes of voxels declared, {held} found", "N02", fix)
    return (data, -1, 0, packing) if skip == -1 else (data, start, skip, packing)


def _number(fields: Mapping[str, str], name: str) -> int:
    """A field that is 0 where it is absent, and may be written in one word."""
    written = name if name in fields else name.replace(" ", "")
    (*_, number) = whole_numbers(fields, written, "0", "N14")
    return number


# --- writing ---


def nrrd_pieces(
    grid: Grid,
    array: Integer[np.ndarray, "i j k"],
    mark: str,
    segments: Sequence[Segment] = (),
) -> Iterator[bytes]:
    """The bytes of a `.nrrd` file in LPS, gzip; with `segments` of a `.seg.nrrd` of one layer, as
    3D Slicer writes it.
    """
    columns = LPS[:, None] * grid.affine[:3, :3]
    lines = [
        "NRRD0004",
        f"type: {_TYPES[array.dtype.str[1:]][0]}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, array.shape))}",
        f"space directions: {' '.join(_triple(columns[:, axis]) for axis in range(3))}",
        "kinds: domain domain domain",
        *(["endian: little"] if array.dtype.itemsize > 1 else []),
        "encoding: gzip",
        f"space origin: {_triple(LPS * grid.affine[:3, 3])}",
        f"{_OURS}:={mark.strip()}",
    ]
    if segments:
        lines += _segment_lines(array, segments)
    yield ("\n".join(lines) + "\n\n").encode()
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    little = array.dtype.newbyteorder("<")
    for k in range(array.shape[2]):
        yield packer.compress(array[:, :, k].astype(little).tobytes(order="F"))
    yield packer.flush()


def _triple(values: Float[np.ndarray, "3"]) -> str:
    return "(" + ",".join(repr(float(value) + 0.0) for value in values) + ")"


def _segment_lines(
    array: Integer[np.ndarray, "i j k"], segments: Sequence[Segment]
) -> Iterator[str]:
    for number, segment in enumerate(segments):
        spot = np.argwhere(array == segment.value)
        ends = (spot.min(0), spot.max(0)) if len(spot) else (np.zeros(3, int), -np.ones(3, int))
        extent = " ".join(f"{low} {high}" for low, high in zip(*ends, strict=True))
        colour = " ".join(f"{part / 255:.6f}" for part in segment.colour or (128, 174, 128))
        own = {
            "ID": f"Segment_{segment.value}",
            "Name": segment.name,
            "NameAutoGenerated": "0",
            "Color": colour,
            "ColorAutoGenerated": "0",
            "Extent": extent,
            "LabelValue": str(segment.value),
            "Layer": "0",
            "Tags": "",
        }
        yield from (f"Segment{number}_{key}:={text}" for key, text in own.items())
    yield "Segmentation_ContainedRepresentationNames:=Binary labelmap|"
    yield "Segmentation_MasterRepresentation:=Binary labelmap"
    yield "Segmentation_ReferenceImageExtentOffset:=0 0 0"
