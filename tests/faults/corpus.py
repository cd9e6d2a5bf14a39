"""Every bad image file, built from nothing: row id, maker, how it is read, and what must come of
it.

One table for the tests of `io`, for those of the command line, and for the page that lists errors.
"""

import gzip
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np

from fewmask.core.errors import BadScan, FewmaskError
from fewmask.io.nifti import ReadOptions

SHAPE = (6, 5, 4)
AFFINE = np.array([[-1.5, 0, 0, 4], [0, 1.5, 0, -7], [0, 0, 3, 10], [0, 0, 0, 1.0]])
VOXELS = np.arange(120, dtype=np.int16).reshape(SHAPE) - 60
LABELS = (np.arange(120).reshape(SHAPE) % 4).astype(np.uint8)
EXTRA = ReadOptions()


@dataclass(frozen=True)
class Row:
    """One fault: `make(folder)` writes the file(s) and returns the path to read."""

    id: str
    title: str
    make: Callable[[Path], Path]
    reads: Literal["volume", "labels", "pair"] = "volume"
    error: type[FewmaskError] | None = BadScan
    """None = accepted, and `words` must stand in the notes."""
    words: tuple[str, ...] = ()
    options: ReadOptions = EXTRA
    says: str = ""
    """Row id in the message, where a fault shows as another one."""


def nifti_bytes(
    array: np.ndarray,
    affine: np.ndarray = AFFINE,
    *,
    fields: dict[str, object] | None = None,
    two: bool = False,
    big: bool = False,
) -> bytes:
    """A whole single-file image, made by nibabel; `fields` are then overwritten in the header."""
    kind = nib.Nifti2Header if two else nib.Nifti1Header
    header = kind(endianness=">" if big else "<")
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    header.set_xyzt_units("mm")
    header["vox_offset"] = 544 if two else 352
    header["scl_slope"], header["scl_inter"] = 1, 0
    for name, value in (fields or {}).items():
        header.structarr[name] = value
    stored = array.astype(array.dtype.newbyteorder(">" if big else "<"))
    return bytes(header.structarr.tobytes()) + b"\0\0\0\0" + stored.tobytes(order="F")


def pack(data: bytes) -> bytes:
    """The same, compressed, without time or name."""
    return gzip.compress(data, mtime=0)


def _file(data: bytes, name: str = "case.nii") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(data)
        return path

    return make


def _header(
    array: np.ndarray = VOXELS, affine: np.ndarray = AFFINE, **fields: object
) -> Callable[[Path], Path]:
    return _file(nifti_bytes(array, affine, fields=fields))


def _gz(data: bytes) -> Callable[[Path], Path]:
    return _file(data, "case.nii.gz")


def _flip(data: bytes, index: int, mask: int = 0x10) -> bytes:
    return data[:index] + bytes([data[index] ^ mask]) + data[index + 1 :]


def _pixdim(*spacing: float) -> list[float]:
    return [-1.0, *spacing, 0, 0, 0, 0]


def _dim(*sizes: int) -> list[int]:
    return [len(sizes), *sizes, *([1] * (7 - len(sizes)))]


def _bomb() -> bytes:
    """A good image with 64 MiB of zeros behind it, packed to some 70 kB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = [packer.compress(nifti_bytes(VOXELS))] + [
        packer.compress(bytes(2**20)) for _ in range(64)
    ]
    return b"".join(body) + packer.flush()


def _with(value: float, count: int, shape: tuple[int, int, int] = (20, 20, 10)) -> np.ndarray:
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    array.flat[100 : 100 + count] = value
    return array


def _tilted(angle: float) -> np.ndarray:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    tilted: np.ndarray = turn @ AFFINE
    return tilted


def _sheared(amount: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[1, 2] = 3 * amount
    return affine


def _srow(affine: np.ndarray) -> dict[str, Any]:
    return {f"srow_{axis}": affine[row] for row, axis in enumerate("xyz")}


def _symlink(target: str, name: str = "case.nii.gz") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).symlink_to(target)
        return folder / name

    return make


def _directory(folder: Path) -> Path:
    (folder / "case.nii").mkdir()
    return folder / "case.nii"


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "case.nii")
    return folder / "case.nii"


def _pair_of_files(*, image: bool) -> Callable[[Path], Path]:
    data = nifti_bytes(VOXELS, fields={"magic": b"ni1", "vox_offset": 0})

    def make(folder: Path) -> Path:
        (folder / "case.hdr").write_bytes(data[:348])
        if image:
            (folder / "case.img").write_bytes(data[352:])
        return folder / "case.hdr"

    return make


def _scan_and_mask(
    affine: np.ndarray, shape: tuple[int, int, int] = SHAPE
) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "mask.nii").write_bytes(nifti_bytes(np.zeros(shape, np.uint8), affine))
        return _header()(folder)

    return make


def _moved(axis: int, by: float, scale: float = 1.0) -> np.ndarray:
    affine = AFFINE.copy()
    affine[axis, 3] = affine[axis, 3] * scale + by
    return affine


_GOOD = nifti_bytes(VOXELS)
_LARGER = nifti_bytes(np.random.default_rng(0).integers(0, 99, (20, 20, 9)).astype(np.int16))
_PACKED = pack(_LARGER)
_NAN, _INF = float("nan"), float("inf")
_FIX = ReadOptions(fix_nonfinite=True)

SCANS: tuple[Row, ...] = (
    Row(
        "N01",
        ".nii.gz cut in half",
        _gz(_PACKED[: len(_PACKED) // 2]),
        words=("ends early", "byte", "copy it again"),
    ),
    Row(
        "N01b",
        ".nii.gz without its last 4 bytes",
        _gz(_PACKED[:-4]),
        words=("ends early",),
        says="N01",
    ),
    Row(
        "N02",
        ".nii cut in half",
        _file(_LARGER[: len(_LARGER) // 2]),
        words=("7552", "3776", "copy it again"),
    ),
    Row("N03", "200 bytes of header", _file(_GOOD[:200]), words=("too short to be NIfTI", "200")),
    Row("N04", "0 bytes", _file(b""), words=("empty file",)),
    Row(
        "N05",
        "gzip, one bit flipped",
        _gz(_flip(_PACKED, len(_PACKED) // 2)),
        words=("CRC", "copy it again"),
    ),
    Row(
        "N06",
        "gzip, checksum wrong",
        _gz(_flip(_PACKED, len(_PACKED) - 6)),
        words=("CRC",),
        says="N05",
    ),
    Row(
        "N07",
        "64 MiB of zeros behind the image",
        _gz(_bomb()),
        words=("more than 1048576 extra bytes",),
    ),
    Row(
        "N07b",
        "a second gzip member",
        _gz(pack(_GOOD) + pack(b"x" * 100)),
        words=("100 extra bytes",),
        says="N07",
    ),
    Row(
        "N07c",
        "bytes behind a plain image",
        _file(_GOOD + b"xyz"),
        words=("3 extra bytes",),
        says="N07",
    ),
    Row(
        "N07d",
        "text behind the gzip stream",
        _gz(pack(_GOOD) + b"hello"),
        words=("extra bytes",),
        says="N07",
    ),
    Row(
        "N07e",
        "image in several gzip members",
        _gz(pack(_GOOD[:400]) + pack(_GOOD[400:])),
        error=None,
    ),
    Row(
        "N08", "plain image named .nii.gz", _gz(_GOOD), error=None, words=("N08", "not compressed")
    ),
    Row("N09", "gzip named .nii", _file(pack(_GOOD)), error=None, words=("N09", "compressed")),
    Row(
        "N10",
        "web page",
        _gz(b"<!DOCTYPE html><title>Log in</title>"),
        words=("web page", "download"),
    ),
    Row(
        "N10b",
        "LFS pointer",
        _gz(b"version https://git-lfs.github.com/spec/v1\n"),
        words=("Git LFS", "git lfs pull"),
        says="N10",
    ),
    Row("N10c", "JSON", _gz(b'{"error": "not found"}'), words=("JSON",), says="N10"),
    Row(
        "N11",
        "32767 cubed in 592 bytes",
        _header(dim=_dim(32767, 32767, 32767)),
        words=("declares", "GB", "592"),
    ),
    Row(
        "N11b",
        "4000 cubed, packed",
        _gz(pack(nifti_bytes(VOXELS, fields={"dim": _dim(4000, 4000, 4000)}))),
        says="N11",
    ),
    Row("N12", "an axis of 0", _header(dim=_dim(6, 0, 4)), words=("dim[2]",)),
    Row("N12b", "an axis of -4", _header(dim=_dim(6, 5, -4)), words=("dim[3]",), says="N12"),
    Row("N12c", "no axes", _header(dim=[0, 6, 5, 4, 1, 1, 1, 1]), words=("dim[0]",), says="N12"),
    Row("N12d", "nine axes", _header(dim=[9, 6, 5, 4, 1, 1, 1, 1]), words=("dim[0]",), says="N12"),
    Row("N13", "datatype 999", _header(datatype=999), words=("datatype", "999")),
    Row("N13b", "bitpix 8 for int16", _header(bitpix=8), words=("bitpix",), says="N13"),
    Row("N14", "vox_offset -1", _header(vox_offset=-1), words=("vox_offset",)),
    Row(
        "N14b",
        "vox_offset beyond the end",
        _header(vox_offset=1e6),
        words=("vox_offset",),
        says="N14",
    ),
    Row("N14c", "vox_offset NaN", _header(vox_offset=_NAN), words=("vox_offset",), says="N14"),
    Row("N15", "magic wrong (Analyze)", _header(magic=b""), words=("magic",)),
    Row("N15b", "sizeof_hdr 999", _header(sizeof_hdr=999), words=("sizeof_hdr", "999"), says="N15"),
    Row("N16", "spacing 0", _header(pixdim=_pixdim(1.5, 0, 3)), words=("spacing", "spacing_mm")),
    Row(
        "N16b",
        "spacing negative",
        _header(pixdim=_pixdim(1.5, -1.5, 3)),
        words=("spacing",),
        says="N16",
    ),
    Row(
        "N16c",
        "spacing NaN",
        _header(pixdim=_pixdim(1.5, 1.5, _NAN)),
        words=("spacing",),
        says="N16",
    ),
    Row(
        "N16d", "spacing Inf", _header(pixdim=_pixdim(_INF, 1.5, 3)), words=("spacing",), says="N16"
    ),
    Row(
        "N17",
        "spacing 0.0001 mm",
        _header(affine=np.diag([1e-4, 1e-4, 1e-4, 1])),
        words=("implausible", "spacing_mm"),
    ),
    Row(
        "N17b",
        "spacing 1000 mm",
        _header(affine=np.diag([1e3, 1e3, 1e3, 1])),
        words=("implausible",),
        says="N17",
    ),
    Row(
        "N17c",
        "metres",
        _header(affine=np.diag([2e-3, 2e-3, 3e-3, 1]), xyzt_units=1),
        error=None,
        words=("metres", "N17"),
    ),
    Row(
        "N18",
        "0.5 x 0.5 x 25 mm",
        _header(affine=np.diag([0.5, 0.5, 25, 1])),
        error=None,
        words=("N18",),
    ),
    Row("N19", "sform row NaN", _header(srow_y=[_NAN] * 4), words=("sform",)),
    Row(
        "N19b",
        "sform all zero",
        _header(srow_x=[0] * 4, srow_y=[0] * 4, srow_z=[0] * 4),
        words=("singular",),
        says="N19",
    ),
    Row(
        "N20",
        "sform and qform disagree",
        _header(**_srow(_tilted(0.2))),
        words=("sform", "qform", "trust=sform"),
    ),
    Row(
        "N20b",
        "the same, sform trusted",
        _header(**_srow(_tilted(0.2))),
        error=None,
        options=ReadOptions(trust="sform"),
    ),
    Row(
        "N20c",
        "sform only, pixdim differs",
        _header(qform_code=0, pixdim=_pixdim(1, 1, 1)),
        words=("pixdim",),
        says="N20",
    ),
    Row(
        "N21",
        "no orientation",
        _header(sform_code=0, qform_code=0),
        words=("orientation", "assume_ras=True"),
    ),
    Row(
        "N21b",
        "the same, RAS assumed",
        _header(sform_code=0, qform_code=0),
        error=None,
        words=("N21",),
        options=ReadOptions(assume_ras=True),
    ),
    Row(
        "N21c",
        "sform_code 99",
        _header(sform_code=99),
        words=("sform_code is 99", "trust=qform"),
        says="N21",
    ),
    Row(
        "N21d",
        "the same, the qform is trusted",
        _header(sform_code=99),
        error=None,
        options=ReadOptions(trust="qform"),
    ),
    Row(
        "N22",
        "shear 0.4",
        _header(affine=_sheared(0.4), qform_code=0, pixdim=_pixdim(1.5, 1.5, 3 * 1.16**0.5)),
        error=None,
        words=("N22", "sheared"),
    ),
    Row("N23", "shear from rounding", _header(affine=_sheared(1e-5)), error=None),
    Row(
        "N25",
        "three volumes",
        _header(np.stack([VOXELS] * 3, -1)),
        words=("3 volumes", "volume=0"),
    ),
    Row(
        "N25b",
        "three volumes, one chosen",
        _header(np.stack([VOXELS] * 3, -1)),
        error=None,
        options=ReadOptions(volume=2),
    ),
    Row(
        "N25c",
        "three volumes, the ninth chosen",
        _header(np.stack([VOXELS] * 3, -1)),
        options=ReadOptions(volume=8),
        says="N25",
    ),
    Row("N26", "4D with one volume", _header(VOXELS[..., None]), error=None, words=("N26",)),
    Row(
        "N26b",
        "5D vectors",
        _header(np.zeros((6, 5, 4, 1, 3), np.float32)),
        words=("5D",),
        says="N26",
    ),
    Row("N27", "RGB", _header(datatype=128, bitpix=24), words=("RGB", "grey")),
    Row("N28", "complex", _header(datatype=32, bitpix=64), words=("complex", "magnitude")),
    Row("N29", "2D image", _header(VOXELS[:, :, 0]), error=None),
    Row(
        "N31",
        "one NaN of 4000",
        _header(_with(_NAN, 1)),
        words=("1 voxel ", "(0, 10, 0)", "fix_nonfinite=True"),
        says="N31",
    ),
    Row(
        "N31b",
        "one NaN, mended",
        _header(_with(_NAN, 1)),
        error=None,
        options=_FIX,
        words=("N31", "1 NaN"),
    ),
    Row("N31c", "5 % NaN", _header(_with(_NAN, 200)), options=_FIX, words=("5.000%",), says="N31"),
    Row("N31d", "all NaN", _header(np.full(SHAPE, _NAN, np.float32)), options=_FIX, says="N31"),
    Row(
        "N32", "one Inf", _header(_with(-_INF, 1)), words=("Inf", "fix_nonfinite=True"), says="N31"
    ),
    Row("N33", "constant", _header(np.full(SHAPE, 7, np.int16)), words=("no contrast", "7")),
    Row("N34", "big-endian", _file(nifti_bytes(VOXELS, big=True)), error=None),
    Row("N35", "NIfTI-2", _file(nifti_bytes(VOXELS, two=True)), error=None),
    Row(
        "N35d",
        "NIfTI-2, nonsense in a quaternion that is not used",
        _file(nifti_bytes(VOXELS, two=True, fields={"qform_code": 0, "quatern_b": 1e300})),
        error=None,
    ),
    Row("N35b", ".hdr/.img", _pair_of_files(image=True), error=None),
    Row(
        "N35c",
        ".img missing",
        _pair_of_files(image=False),
        words=("case.img", "missing"),
        says="N35",
    ),
    Row("N36", "slope 0.5, inter -1024", _header(scl_slope=0.5, scl_inter=-1024), error=None),
    Row("N37", "slope 0", _header(scl_slope=0), error=None, words=("N37",)),
    Row("N37b", "slope NaN", _header(scl_slope=_NAN), error=None, words=("N37",)),
    Row("N37e", "slope 1e-40", _header(scl_slope=1e-40), words=("scl_slope",), says="N37"),
    Row("N37c", "slope Inf", _header(scl_slope=_INF), words=("scl_slope",), says="N37"),
    Row("N37d", "inter NaN", _header(scl_inter=_NAN), words=("scl_inter",), says="N37"),
    Row(
        "N39",
        "int64 beyond 32 bits",
        _header(VOXELS.astype(np.int64) * 2**40),
        words=("32 bits", "float32"),
    ),
    Row("N46", "dangling symlink", _symlink("nowhere.nii.gz"), words=("dangling symlink",)),
    Row("N46b", "symlink loop", _symlink("case.nii.gz"), words=("symlink loop",), says="N46"),
    Row("N46c", "directory", _directory, words=("directory",), says="N46"),
    Row("N46d", "FIFO", _fifo, words=("FIFO",), says="N46"),
)

MASKS: tuple[Row, ...] = (
    Row(
        "M01",
        "shape differs",
        _scan_and_mask(AFFINE, (6, 5, 3)),
        "pair",
        words=("shape", "6 x 5 x 3", "6 x 5 x 4", "mask.nii"),
    ),
    Row(
        "M01b",
        "axes permuted",
        _scan_and_mask(AFFINE, (4, 6, 5)),
        "pair",
        words=("k, i, j",),
        says="M01",
    ),
    Row(
        "M02",
        "spacing differs",
        _scan_and_mask(AFFINE @ np.diag([1, 1, 0.8, 1])),
        "pair",
        words=("spacing", "2.4", "mask.nii"),
    ),
    Row(
        "M03",
        "origin moved by 2 mm",
        _scan_and_mask(_moved(0, 2)),
        "pair",
        words=("same grid", "1.3 voxels"),
    ),
    Row(
        "M03b",
        "sign of z lost",
        _scan_and_mask(_moved(2, 0, -1)),
        "pair",
        words=("only the sign of z",),
        says="M03",
    ),
    Row(
        "M03c",
        "axis backwards",
        _scan_and_mask(AFFINE @ np.diag([-1, 1, 1, 1])),
        "pair",
        words=("axis i",),
        says="M03",
    ),
    Row("M03d", "moved by 0.001 voxel", _scan_and_mask(_moved(0, 0.0015)), "pair", error=None),
    Row(
        "M05",
        "labels 0.9999 and 1.0001",
        _header(LABELS + np.float32(1e-4)),
        "labels",
        error=None,
        words=("M05", "120"),
    ),
    Row(
        "M06",
        "labels 0.5",
        _header(LABELS * np.float32(0.5)),
        "labels",
        words=("0.5", "interpolat", "nearest"),
    ),
    Row(
        "M08",
        "negative label",
        _header(-LABELS.astype(np.int16)),
        "labels",
        words=("negative", "90 voxels", "slices 1, 2, 3"),
    ),
    Row(
        "M09",
        "NaN in a mask",
        _header(np.where(LABELS == 3, np.float32(_NAN), LABELS)),
        "labels",
        words=("NaN", "30 voxels"),
    ),
    Row(
        "M14",
        "scaled labels",
        _header(LABELS * np.uint8(85), scl_slope=np.float32(1 / 85)),
        "labels",
        error=None,
    ),
    Row(
        "M14b",
        "scaled labels, not whole",
        _header(LABELS, scl_slope=0.4588),
        "labels",
        words=("0.4588",),
        says="M06",
    ),
)

ROWS = SCANS + MASKS
