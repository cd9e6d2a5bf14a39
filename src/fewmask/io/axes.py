"""Geometry as text headers have it, one direction per axis, to an affine in RAS mm: checked as a
NIfTI header is.
"""

from typing import NoReturn

import numpy as np
from jaxtyping import Float

from fewmask.core.errors import BadScan
from fewmask.io.header import ReadOptions

LPS = np.array([-1.0, -1.0, 1.0])
"""From the world of DICOM, ITK and Slicer files to RAS, and back."""
_PLAUSIBLE_MM = (0.005, 100.0)
FAR = 1e7
"""mm; beyond it lies no patient."""


def to_affine(
    columns: Float[np.ndarray, "3 3"] | None,
    origin: Float[np.ndarray, "3"],
    spacing: Float[np.ndarray, "3"],
    options: ReadOptions,
    notes: list[str],
) -> Float[np.ndarray, "4 4"]:
    """The affine of axes whose steps in RAS mm are `columns`; None: the header has no directions.

    Raises `BadScan`: unusable numbers (N16, N17, N19), no orientation and none assumed (N21).
    """
    if options.spacing_mm is not None:
        spacing = np.array(options.spacing_mm, float)
        notes.append(f"N16: spacing set to {_numbers(spacing)} mm as asked")
    if columns is None:
        columns = _assumed(options, notes)
        lengths = np.ones(3)
        origin = np.zeros(3)
    else:
        if not np.isfinite(columns).all() or np.abs(columns).max() > FAR:
            _refuse("the directions hold NaN, Inf or places no patient has", "N19")
        lengths = np.linalg.norm(columns, axis=0)
        if lengths.min() == 0 or abs(np.linalg.det(columns / lengths)) < 1e-3:
            _refuse("the directions are singular: the axes do not span space", "N19")
    if not np.isfinite(origin).all() or np.abs(origin).max() > FAR:
        _refuse("the origin holds NaN, Inf or a place no patient has", "N19")
    _check_spacing(spacing, notes)
    affine = np.eye(4)
    affine[:3, :3] = columns / lengths * spacing
    affine[:3, 3] = origin
    _note_shear(columns / lengths, notes)
    return affine


def _assumed(options: ReadOptions, notes: list[str]) -> Float[np.ndarray, "3 3"]:
    if not options.assume_ras:
        raise BadScan(
            "the header says nothing about orientation, left and right are unknown",
            fix="if the axes run to the right, front and top of the patient, say so with "
            "`assume_ras=True`",
            code="N21",
        )
    notes.append("N21: no orientation in the header, RAS was assumed as asked")
    return np.eye(3)


def _check_spacing(spacing: Float[np.ndarray, "3"], notes: list[str]) -> None:
    fix = "give it with `spacing_mm=(X,Y,Z)` (in mm, along the file's axes)"
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        _refuse(f"spacing is unusable: {_numbers(spacing)}", "N16", fix)
    low, high = _PLAUSIBLE_MM
    if spacing.min() < low or spacing.max() > high:
        _refuse(f"spacing of {_numbers(spacing)} mm is implausible", "N17", fix)
    if spacing.max() > 10 * spacing.min():
        notes.append(
            f"N18: voxels of {_numbers(spacing)} mm are more than 10 times longer than wide"
        )


def _note_shear(directions: Float[np.ndarray, "3 3"], notes: list[str]) -> None:
    i, j, k = directions.T
    shear = max(abs(float(i @ j)), abs(float(i @ k)), abs(float(j @ k)))
    if shear > 1e-3:
        notes.append(
            f"N22: axes are sheared (cosine {shear:.3f}): for 2D work only, 3D methods need a "
            "resampled copy"
        )


def _refuse(what: str, code: str, fix: str = "export the image again") -> NoReturn:
    raise BadScan(what, fix=fix, code=code)


def _numbers(values: Float[np.ndarray, " n"]) -> str:
    return " x ".join(f"{v:.6g}" for v in values)
