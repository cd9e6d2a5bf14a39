"""NIfTI files: scans and label maps in, label maps out on the same grid, under a fresh header."""

import gzip
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8
from nibabel import nifti1
from nibabel.quaternions import mat2quat

from fewmask.core.errors import BadConfig, BadScan, FewmaskError
from fewmask.core.volume import Grid, LabelMap, Volume
from fewmask.io.atomic import writing
from fewmask.io.back import check_back
from fewmask.io.header import AS_IS, Header, ReadOptions, parse_header
from fewmask.io.mark import MAKER, PREDICTED, mark_of
from fewmask.io.raster import Raster, check_size, pick, take_voxels
from fewmask.io.stream import Stream, about, check_regular, opened
from fewmask.io.voxels import as_labels, as_volume
from fewmask.version import __version__

__all__ = [
    "ReadOptions",
    "files_of",
    "is_prediction",
    "is_written_here",
    "read_grid",
    "read_labels",
    "read_volume",
    "write_labels",
    "write_volume",
]

_HEAD = 540
"""Bytes that hold either header."""
_CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "i1": 256, "u2": 512, "u4": 768}
_MILLIMETRES, _SCANNER = 2, 1
_DESCRIPTION = slice(148, 228)
"""Where NIfTI-1 has the field `descrip`."""


def is_prediction(path: Path) -> bool:
    """Did `write_labels` store these very voxels as what a model drew?

    Editors keep the header of a mask that a person corrects, so the voxels must fit it. False for a
    file that cannot be read.
    """
    try:
        with opened(path) as stream:
            text = bytes(stream.peek(_HEAD))[_DESCRIPTION].decode("latin-1")
        return text.startswith(PREDICTED) and text.startswith(mark_of(_read(path, AS_IS)[1]))
    except FewmaskError:
        return False


def is_written_here(path: Path) -> bool:
    """Does the header say that fewmask wrote the file? False for one that cannot be read."""
    try:
        with opened(path) as stream:
            text = bytes(stream.peek(_HEAD))[_DESCRIPTION].decode("latin-1")
        return text.startswith((MAKER, PREDICTED))
    except FewmaskError:
        return False


def files_of(path: Path) -> list[Path]:
    """The files that an image is stored in: one, or header and voxels of a pair. Raises `BadScan`
    if the other is missing.
    """
    return list(dict.fromkeys(_twins(path)))


def read_grid(path: Path, options: ReadOptions = AS_IS) -> Grid:
    """Shape and affine of a file, from its header alone. Raises as `read_volume`, for what a header
    can show.
    """
    header = _read_header(path, options)
    with about(path):
        return Grid(header.shape, header.affine)


def read_volume(path: Path, options: ReadOptions = AS_IS) -> Volume:
    """A scan with its stored voxels (float64 becomes float32, 64-bit integers 32-bit), slope,
    intercept and notes.

    Raises `BadScan` (rows N01-N37 and N46, N48 of the fault corpus: damaged, not an image, geometry
    unknown or contradictory, several volumes, non-finite or constant voxels) and `NoRoom` (not
    readable, not enough memory).
    """
    header, array = _read(path, options)
    with about(path):
        return as_volume(header, array, options)


def read_labels(path: Path, options: ReadOptions = AS_IS) -> LabelMap:
    """A label map as uint8, or uint16 or uint32 where labels need it; whole numbers within 1e-3 are
    taken as such.

    A label map of one volume belongs to every volume of its scan, whichever of them `options` asks
    for. Raises as `read_volume` for the file itself, and `BadScan` for values that are no labels
    (M05, M06, M08, M09, M14).
    """
    if options.volume and _read_header(path, replace(options, volume=0)).volumes == 1:
        options = replace(options, volume=0)
    header, array = _read(path, options)
    with about(path):
        return as_labels(header, array)


def read_raster(path: Path, options: ReadOptions) -> Raster:
    """Header and place of the voxels, for all volumes. Raises as `read_volume`, for what a header
    can show.
    """
    return Raster(_read_header(path, options), _twins(path)[1], 0, "guess")


def write_labels(path: Path, label_map: LabelMap, *, predicted: bool = False) -> None:
    """Write a label map on its own grid (`.nii`, `.nii.gz`), atomically, and read it back; no
    source header is copied.

    `predicted`: a model drew it and can draw it again, see `is_prediction`.
    """
    stored = label_map.voxels.astype(np.min_scalar_type(int(label_map.voxels.max())))

    def verify(temp: Path) -> None:
        back = read_labels(temp)
        same = np.array_equal(back.to_file_order(), label_map.to_file_order())
        check_back(path, label_map.grid, back.grid, same)

    with writing(path, verify=verify) as temp:
        array = label_map.grid.orientation.undo(stored)
        mark = mark_of(array) if predicted else MAKER
        _write(temp, path, label_map.grid, array, 1.0, 0.0, mark)


def write_volume(path: Path, volume: Volume) -> None:
    """Write a scan on its own grid with its stored voxels and scaling, as `write_labels` does."""

    def verify(temp: Path) -> None:
        back = read_volume(temp)
        same_scaling = np.allclose([back.slope, back.inter], [volume.slope, volume.inter])
        same = same_scaling and np.array_equal(back.to_file_order(), volume.to_file_order())
        check_back(path, volume.grid, back.grid, same)

    with writing(path, verify=verify) as temp:
        array = volume.grid.orientation.undo(volume.voxels)
        _write(temp, path, volume.grid, array, volume.slope, volume.inter)


def write_map(path: Path, voxels: UInt8[np.ndarray, "d h w"], grid: Grid) -> None:
    """Write numbers from 0 to 255 that programs show as 0 to 1 (slope 1/255), as `write_labels`
    does. A map may be the same everywhere, which a scan may not.
    """
    array = grid.orientation.undo(voxels)

    def verify(temp: Path) -> None:
        header, stored = _read(temp, AS_IS)
        found = Grid(header.shape, header.affine, grid.plane)
        check_back(path, grid, found, np.array_equal(stored, array))

    with writing(path, verify=verify) as temp:
        _write(temp, path, grid, array, 1 / 255, 0.0)


# --- reading ---


def _read_header(path: Path, options: ReadOptions) -> Header:
    head_path, data_path = _twins(path)
    with opened(head_path) as stream:
        header = _header_from(stream, head_path, options)
        if data_path == head_path:
            check_size(header, stream)
        return header


def _read(path: Path, options: ReadOptions) -> tuple[Header, Shaped[np.ndarray, "i j k"]]:
    """Header and stored voxels of the chosen volume, in file order."""
    head_path, data_path = _twins(path)
    with opened(head_path) as stream:
        header = _header_from(stream, head_path, options)
        if data_path == head_path:
            return header, pick(take_voxels(stream, header), header)
    with opened(data_path) as stream:
        return header, pick(take_voxels(stream, header), header)


def _twins(path: Path) -> tuple[Path, Path]:
    """Where the header lies and where the voxels lie: the same file, but for `.hdr/.img` pairs."""
    match = re.fullmatch(
        r"(?P<stem>.+)\.(?P<kind>hdr|img)(\.gz)?", path.name, re.IGNORECASE | re.DOTALL
    )
    if not match:
        return path, path
    kind = match["kind"].lower()
    twin = {"hdr": "img", "img": "hdr"}[kind]
    endings = (twin, f"{twin}.gz", twin.upper(), f"{twin.upper()}.gz")
    candidates = [path.with_name(f"{match['stem']}.{ending}") for ending in endings]
    found = next((candidate for candidate in candidates if candidate.exists()), None)
    if found is None:
        with about(path):
            check_regular(path)
            raise BadScan(
                f"its twin {candidates[0].name} is missing",
                fix=f"copy {candidates[0].name} beside it",
                code="N35",
            )
    return (path, found) if kind == "hdr" else (found, path)


def _header_from(stream: Stream, path: Path, options: ReadOptions) -> Header:
    header = parse_header(stream.peek(_HEAD), options)
    in_pair = bool(re.search(r"\.(hdr|img)(\.gz)?$", path.name, re.IGNORECASE))
    if header.paired != in_pair:
        kinds = ("a single file", "half of a .hdr/.img pair")
        what = f"field magic says this is {kinds[header.paired]}, the name says {kinds[in_pair]}"
        raise BadScan(
            what, fix="convert it to one .nii.gz file with the tool that made it", code="N15"
        )
    note = ""
    if path.suffix.lower() == ".gz" and not stream.compressed:
        note = "N08: named .gz but not compressed; read as it is"
    if path.suffix.lower() in (".nii", ".hdr") and stream.compressed:
        note = "N09: compressed though not named .gz; read as it is"
    return replace(header, notes=(*header.notes, note)) if note else header


# --- writing ---


def _write(
    temp: Path,
    path: Path,
    grid: Grid,
    array: Shaped[np.ndarray, "i j k"],
    slope: float,
    inter: float,
    mark: str = MAKER,
) -> None:
    name = path.name.lower()
    if not name.endswith((".nii", ".nii.gz")):
        raise BadConfig(
            f"{path.name}: the name must end in .nii or .nii.gz",
            fix=f"write to {path.stem}.nii.gz",
            code="N45",
        )
    head = _fresh_header(grid, array.dtype, slope, inter, mark)
    with temp.open("wb") as file:
        if not name.endswith(".gz"):
            file.writelines(_pieces(head, array))
            return
        # No name and no time in the gzip header: the same mask gives the same bytes.
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed:
            packed.writelines(_pieces(head, array))


def _pieces(head: bytes, array: Shaped[np.ndarray, "i j k"]) -> Iterator[bytes]:
    """Header, an empty list of extensions, and the voxels slice by slice (never a second copy of
    the whole).
    """
    yield head + b"\0\0\0\0"
    for k in range(array.shape[2]):
        yield array[:, :, k].tobytes(order="F")


def _fresh_header(grid: Grid, dtype: np.dtype[Any], slope: float, inter: float, mark: str) -> bytes:
    if max(grid.shape) > np.iinfo(np.int16).max:
        raise BadScan(
            f"shape {grid.shape}: NIfTI-1 ends at 32767 voxels an axis",
            fix="crop the image",
            code="N30",
        )
    header = np.zeros((), nifti1.header_dtype.newbyteorder("<"))
    header["sizeof_hdr"], header["magic"], header["vox_offset"] = 348, b"n+1", 352
    header["dim"] = [3, *grid.shape, 1, 1, 1, 1]
    header["datatype"], header["bitpix"] = _CODES[dtype.str[1:]], 8 * dtype.itemsize
    header["scl_slope"], header["scl_inter"] = slope, inter
    header["xyzt_units"] = _MILLIMETRES
    header["descrip"] = (mark + __version__).encode()
    header["sform_code"] = _SCANNER
    header["srow_x"], header["srow_y"], header["srow_z"] = grid.affine[:3]
    header["pixdim"] = [1, *grid.spacing_mm, 0, 0, 0, 0]
    _add_qform(header, grid)
    return header.tobytes()


def _add_qform(header: np.ndarray, grid: Grid) -> None:
    """The same geometry as a rotation; left out where axes are sheared or float32 cannot hold the
    rotation (near half turns).
    """
    directions = grid.affine[:3, :3] / grid.spacing_mm
    turn = -1.0 if np.linalg.det(directions) < 0 else 1.0
    directions[:, 2] *= turn
    if np.abs(directions.T @ directions - np.eye(3)).max() > 1e-6:
        return
    quaternion = mat2quat(directions)
    stored = quaternion[1:].astype(np.float32)
    recovered = math.sqrt(max(0.0, 1.0 - float(np.square(stored, dtype=float).sum())))
    if abs(recovered - quaternion[0]) > 1e-5:
        return
    header["pixdim"][0] = turn
    header["qform_code"] = _SCANNER
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = quaternion[1:]
    header["qoffset_x"], header["qoffset_y"], header["qoffset_z"] = grid.affine[:3, 3]
