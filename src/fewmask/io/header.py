"""NIfTI-1 and NIfTI-2 headers: one strict parse of the bytes that were read; what tools would read
differently is refused.
"""

import itertools
import math
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

import numpy as np
from jaxtyping import Float
from nibabel import nifti1, nifti2
from nibabel.quaternions import quat2mat

from fewmask.core.errors import BadScan
from fewmask.io.stream import foreign_kind

_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_NOT_GREY = {
    1: ("N13", "single bits", "save it as uint8"),
    128: ("N27", "RGB colours", "convert it to grey values"),
    2304: ("N27", "RGBA colours", "convert it to grey values"),
    32: ("N28", "complex numbers", "save the magnitude"),
    1792: ("N28", "complex numbers", "save the magnitude"),
    2048: ("N28", "complex numbers", "save the magnitude"),
    1536: ("N13", "128-bit floats", "save it as float32"),
}
_UNITS = {1: ("metres", 1000.0), 2: ("millimetres", 1.0), 3: ("micrometres", 0.001)}
_PLAUSIBLE_MM = (0.005, 100.0)
_FORM_CODES = range(6)
_LEAST_SLOPE = 2.0**-52
"""ITK reads voxels unscaled below it."""
_FAR = 1e7
"""Largest number in an affine, in whatever unit; beyond it arithmetic overflows before it means
anything.
"""
_MAGICS = {348: (b"n+1", b"ni1"), 540: (b"n+2", b"ni2")}
_LINE_ENDS = b"\r\n\x1a\n"
"""NIfTI-2 carries them to show a copy that changed line ends."""


@dataclass(frozen=True)
class ReadOptions:
    """What a person declares about files that do not speak for themselves."""

    trust: Literal["sform", "qform"] | None = None
    """Which of two geometries to take where they disagree or one is damaged (N19, N20); a file that
    has one has no choice.
    """
    assume_ras: bool = False
    """Take the axes of files without orientation to run to the right, front and top of the patient
    (N21).
    """
    volume: int | None = None
    """Which volume of a 4D file (N25), from 0."""
    fix_nonfinite: bool = False
    """Replace up to 0.1 % NaN or Inf voxels by the smallest finite one (N31)."""
    spacing_mm: tuple[float, float, float] | None = None
    """Voxel size along the file's axes i, j, k, instead of the header's (N16, N17)."""


AS_IS = ReadOptions()
"""Nothing declared: files must speak for themselves."""


@dataclass(frozen=True, eq=False)
class Header:
    """What a header says, checked."""

    shape: tuple[int, int, int]
    volumes: int
    volume: int
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float
    affine: Float[np.ndarray, "4 4"]
    paired: bool
    """The voxels lie in a separate .img file."""
    notes: tuple[str, ...] = field(default=())

    @property
    def data_bytes(self) -> int:
        """Bytes of all voxels as stored."""
        return math.prod(self.shape) * self.volumes * self.dtype.itemsize


def parse_header(head: bytes, options: ReadOptions) -> Header:
    """Read a header from the first 540 bytes of a file (348 do for NIfTI-1). Raises `BadScan`
    without the file's name.
    """
    record, size = _record(head)
    notes: list[str] = []
    paired = _check_magic(record, size)
    shape, volumes, volume = _shape(record, options, notes)
    dtype = _dtype(record)
    offset = _offset(record, size, paired)
    slope, inter = _scaling(record, notes)
    # NaN, and what overflows to Inf, is refused as such.
    with np.errstate(over="ignore", invalid="ignore"):
        affine = _affine(record, shape, options, notes)
    return Header(shape, volumes, volume, dtype, offset, slope, inter, affine, paired, tuple(notes))


def _refuse(what: str, code: str, fix: str, *where: str) -> NoReturn:
    raise BadScan(what, where=where, fix=fix, code=code)


def _record(head: bytes) -> tuple[np.void, int]:
    """The header's fields, and which of the two formats it is."""
    kind, fix = foreign_kind(head)
    if kind:
        _refuse(f"this is {kind}, not an image", "N10", fix)
    if len(head) < 348:
        _refuse(
            f"too short to be NIfTI: {len(head)} bytes, the header alone has 348",
            "N03",
            "copy it again from its source",
        )
    for size, dtype in ((348, nifti1.header_dtype), (540, nifti2.header_dtype)):
        for order in ("little", "big"):
            if int.from_bytes(head[:4], order) == size:
                if len(head) < size:
                    _refuse(
                        f"too short to be NIfTI-2: {len(head)} bytes",
                        "N03",
                        "copy it again from its source",
                    )
                return np.frombuffer(head, dtype.newbyteorder(order), count=1)[0], size
    _refuse(
        f"not a NIfTI file: sizeof_hdr is {int.from_bytes(head[:4], 'little')}, 348 or 540 is "
        "needed",
        "N15",
        "convert it to NIfTI with the tool that made it",
    )


def _check_magic(record: np.void, size: int) -> bool:
    magic = bytes(record["magic"])
    if size == 540 and record["eol_check"].tobytes() != _LINE_ENDS:
        _refuse(
            "the file was copied as text, its line ends were changed",
            "N15",
            "copy it again as binary",
        )
    if magic not in _MAGICS[size]:
        _refuse(
            f"field magic is {magic!r}: not NIfTI (Analyze has no orientation)",
            "N15",
            "convert it to NIfTI with the tool that made it",
        )
    return magic == _MAGICS[size][1]


def _shape(
    record: np.void, options: ReadOptions, notes: list[str]
) -> tuple[tuple[int, int, int], int, int]:
    dim = [int(n) for n in record["dim"]]
    fix = "export the image again; its header is damaged"
    if not 1 <= dim[0] <= 7:
        _refuse(f"field dim[0] (number of axes) is {dim[0]}, 2 to 4 are needed", "N12", fix)
    for axis in range(1, dim[0] + 1):
        if dim[axis] < 1:
            _refuse(f"field dim[{axis}] is {dim[axis]}", "N12", fix)
    sizes = dim[1 : dim[0] + 1]
    if len(sizes) < 2:
        _refuse(f"one axis of {sizes[0]} voxels is no image", "N12", fix)
    if any(n > 1 for n in sizes[4:]):
        _refuse(
            f"{len(sizes)}D image of {' x '.join(map(str, sizes))} (a vector per voxel?)",
            "N26",
            "export one scalar volume",
        )
    volumes = math.prod(sizes[3:])
    if len(sizes) > 3 and volumes == 1:
        notes.append(f"N26: {len(sizes)} axes, the single ones dropped")
    volume = choose_volume(volumes, options)
    i, j, k = (*sizes[:3], 1)[:3]
    return (i, j, k), volumes, volume


def choose_volume(volumes: int, options: ReadOptions) -> int:
    """Which volume of a file is read. Raises `BadScan` (N25) where that is open, or for one that is
    not there.
    """
    if volumes > 1 and options.volume is None:
        fix = f"choose one with `volume=0` (up to {volumes - 1})"
        _refuse(f"4D image of {volumes} volumes", "N25", fix)
    volume = options.volume or 0
    if not 0 <= volume < volumes:
        fix = f"choose one from `volume=0` to `volume={volumes - 1}`"
        _refuse(f"volume {volume} asked for, there are {volumes}", "N25", fix)
    return volume


def _dtype(record: np.void) -> np.dtype[Any]:
    code, bits = int(record["datatype"]), int(record["bitpix"])
    if code in _NOT_GREY:
        fault, name, fix = _NOT_GREY[code]
        _refuse(f"voxels are {name} (datatype {code})", fault, fix)
    if code not in _TYPES:
        _refuse(
            f"field datatype is {code}, which does not exist",
            "N13",
            "export the image again; its header is damaged",
        )
    order = ">" if record.dtype["dim"].base.byteorder == ">" else "<"
    dtype = np.dtype(order + _TYPES[code])
    if bits != 8 * dtype.itemsize:
        _refuse(
            f"field bitpix is {bits}, but datatype {code} has {8 * dtype.itemsize} bits",
            "N13",
            "export the image again",
        )
    return dtype


def _offset(record: np.void, size: int, paired: bool) -> int:
    offset = float(record["vox_offset"])
    least = 0 if paired else size + 4
    if not math.isfinite(offset) or offset < least or offset != int(offset):
        _refuse(
            f"field vox_offset is {offset}, a whole number of {least} or more is needed",
            "N14",
            "export the image again",
        )
    return int(offset)


def _scaling(record: np.void, notes: list[str]) -> tuple[float, float]:
    slope, inter = float(record["scl_slope"]), float(record["scl_inter"])
    if slope == 0 or math.isnan(slope):
        notes.append(f"N37: scl_slope is {slope}: voxels are taken unscaled")
        return 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(inter)):
        _refuse(
            f"scl_slope is {slope}, scl_inter is {inter}",
            "N37",
            "export the image again with finite scaling",
        )
    if abs(slope) < _LEAST_SLOPE:
        _refuse(
            f"scl_slope is {slope}, so small that some programs take it for none",
            "N37",
            "export the image again with its true scaling",
        )
    return slope, inter


def _affine(
    record: np.void, shape: tuple[int, int, int], options: ReadOptions, notes: list[str]
) -> Float[np.ndarray, "4 4"]:
    spacing, factor = _spacing(record, options, notes)
    codes = {name: int(record[f"{name}_code"]) for name in ("sform", "qform")}
    present = [name for name, code in codes.items() if code != 0]
    wanted = [options.trust] if options.trust in present else present
    for name in wanted:
        if codes[name] not in _FORM_CODES:
            _refuse(
                f"field {name}_code is {codes[name]}, 0 to {_FORM_CODES[-1]} exist: some programs "
                f"take the {name}, others none",
                "N21",
                "export the image again, or say which is right: `trust=sform` or `trust=qform`",
            )
    forms = {}
    if "sform" in wanted:
        forms["sform"] = _sform(record, spacing, factor, options)
    if "qform" in wanted:
        forms["qform"] = _qform(record, spacing, factor)
    if not forms:
        if not options.assume_ras:
            _refuse(
                "the header says nothing about orientation (sform_code and qform_code are 0), "
                "left and right are unknown",
                "N21",
                "if the axes run to the right, front and top of the patient, say so with "
                "`assume_ras=True`",
            )
        notes.append("N21: no orientation in the header, RAS was assumed as asked")
        return np.diag([*spacing, 1.0])
    affine = next(iter(forms.values()))
    if options.trust not in present:
        slack = _quaternion_slack(record) if "qform" in forms else 0.0
        _check_agreement(forms, affine, spacing, shape, slack)
    _note_shape(affine, notes)
    return affine


def _spacing(
    record: np.void, options: ReadOptions, notes: list[str]
) -> tuple[Float[np.ndarray, "3"], float]:
    """Voxel size in mm as the header's pixdim (or the user) has it, and the factor from header
    units to mm.
    """
    units, factor = _UNITS.get(int(record["xyzt_units"]) & 7, ("unknown units", 1.0))
    low, high = _PLAUSIBLE_MM
    fix = "give it with `spacing_mm=(X,Y,Z)` (in mm, along the file's axes)"
    if options.spacing_mm is not None:
        spacing = np.array(options.spacing_mm, float)
        if not (np.isfinite(spacing).all() and (spacing >= low).all() and (spacing <= high).all()):
            _refuse(f"`spacing_mm` {options.spacing_mm} is implausible", "N17", fix)
        notes.append(f"N16: spacing set to {_numbers(spacing)} mm as asked")
        return spacing, factor
    spacing = np.array(record["pixdim"][1:4], float)
    if int(record["dim"][0]) == 2 and not spacing[2] > 0:
        spacing[2] = 1.0 / factor
        notes.append("N29: 2D image, taken as one slice of 1 mm")
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        _refuse(f"spacing is unusable: pixdim is {_numbers(spacing)}", "N16", fix)
    if factor != 1.0:
        notes.append(f"N17: units are {units}, converted to mm")
    spacing = spacing * factor
    if spacing.min() < low or spacing.max() > high:
        _refuse(
            f"spacing of {_numbers(spacing)} mm is implausible (header says {units})", "N17", fix
        )
    if spacing.max() > 10 * spacing.min():
        notes.append(
            f"N18: voxels of {_numbers(spacing)} mm are more than 10 times longer than wide"
        )
    return spacing, factor


def _sform(
    record: np.void, spacing: np.ndarray, factor: float, options: ReadOptions
) -> Float[np.ndarray, "4 4"]:
    affine = np.eye(4)
    affine[:3] = [record[f"srow_{axis}"] for axis in "xyz"]
    if not np.isfinite(affine).all() or np.abs(affine).max() > _FAR:
        _refuse(
            "sform holds NaN, Inf or places no patient has",
            "N19",
            "export the image again, or use `trust=qform` if the header has one",
        )
    affine[:3] *= factor
    columns = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :3] / np.where(columns > 0, columns, 1)
    if columns.min() == 0 or abs(np.linalg.det(directions)) < 1e-3:
        _refuse("sform is singular: its axes do not span space", "N19", "export the image again")
    if options.spacing_mm is not None:
        affine[:3, :3] = directions * spacing
    return affine


def _qform(record: np.void, spacing: np.ndarray, factor: float) -> Float[np.ndarray, "4 4"]:
    bcd = np.array([record[f"quatern_{part}"] for part in "bcd"], float)
    shift = np.array([record[f"qoffset_{axis}"] for axis in "xyz"], float) * factor
    turn = float(record["pixdim"][0])
    usable = np.isfinite([*bcd, *shift]).all() and np.abs([*bcd, *shift]).max() <= _FAR
    if not usable or turn not in (-1.0, 0.0, 1.0):
        _refuse(
            f"qform is unusable: quaternion {_numbers(bcd)}, offset {_numbers(shift)}, "
            f"pixdim[0] {turn}",
            "N19",
            "export the image again",
        )
    rest = 1.0 - float(bcd @ bcd)
    if rest < -1e-4:
        _refuse(
            f"qform is unusable: quaternion {_numbers(bcd)} is longer than 1",
            "N19",
            "export the image again",
        )
    affine = np.eye(4)
    affine[:3, :3] = quat2mat([math.sqrt(max(0.0, rest)), *bcd]) * spacing
    affine[:3, 2] *= -1.0 if turn < 0 else 1.0
    affine[:3, 3] = shift
    return affine


def _quaternion_slack(record: np.void) -> float:
    """Angle in radians that a qform may be off because its fourth number is computed from three
    float32 (worst at half turns).
    """
    rest = max(0.0, 1.0 - sum(float(record[f"quatern_{part}"]) ** 2 for part in "bcd"))
    rounding = 2.4e-7
    return 2 * (math.sqrt(rest + rounding) - math.sqrt(rest))


def _check_agreement(
    forms: dict[str, Float[np.ndarray, "4 4"]],
    affine: np.ndarray,
    spacing: np.ndarray,
    shape: tuple[int, int, int],
    slack: float,
) -> None:
    """Compare sform and qform at every corner; without a qform, sform and pixdim in voxel size
    (tools take one or the other).
    """
    corners = {name: _corners(form, shape) for name, form in forms.items()}
    if len(forms) == 2:
        apart = float(np.abs(corners["sform"] - corners["qform"]).max())
        if apart > 0.1 + slack * float(np.linalg.norm(spacing * shape)):
            shown = [
                f"{name}  corners {_point(c[0])} .. {_point(c[-1])}" for name, c in corners.items()
            ]
            _refuse(
                f"sform and qform disagree by {apart:.2f} mm at a corner",
                "N20",
                "say which is right: `trust=sform` or `trust=qform`",
                *shown,
            )
        return
    columns = np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(columns / spacing - 1).max() > 0.01:
        _refuse(
            f"sform has voxels of {_numbers(columns)} mm, pixdim of {_numbers(spacing)} mm",
            "N20",
            "if the sform is right, say `trust=sform`; else give `spacing_mm=(X,Y,Z)`",
        )


def _note_shape(affine: np.ndarray, notes: list[str]) -> None:
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    i, j, k = directions.T
    shear = max(abs(float(i @ j)), abs(float(i @ k)), abs(float(j @ k)))
    if shear > 1e-3:
        notes.append(
            f"N22: axes are sheared (cosine {shear:.3f}): for 2D work only, 3D methods need a "
            "resampled copy"
        )


def _corners(affine: np.ndarray, shape: tuple[int, int, int]) -> Float[np.ndarray, "8 3"]:
    i, j, k = ((0, n - 1) for n in shape)
    index = np.array(list(itertools.product(i, j, k, (1,))), float)
    corners: Float[np.ndarray, "8 3"] = (index @ affine.T)[:, :3]
    return corners


def _numbers(values: np.ndarray) -> str:
    return " x ".join(f"{v:.6g}" for v in values)


def _point(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{v:.1f}" for v in values) + ")"
