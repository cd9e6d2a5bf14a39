"""Whatever a person has for a scan (a path, an image of nibabel, an array), as a `Volume`."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from nibabel.spatialimages import SpatialImage

from fewmask.core.errors import BadConfig, BadScan
from fewmask.core.volume import Volume
from fewmask.predict.folder import open_scans
from fewmask.prepare.intensity import declare
from fewmask.prepare.options import ScanOptions

_NOTHING = "nothing was predicted"


def as_volume(scan: Any, affine: Any, options: ScanOptions) -> Volume:
    """The scan on its own grid. `affine`, or voxel sizes among the `options`, are what an array
    lacks.

    Raises `BadScan` for what cannot be read or is no scan, `BadConfig` for a folder of several
    scans, and for an array of which nobody says how large its voxels are.
    """
    if isinstance(scan, str | os.PathLike):
        _refuse(affine, "a file has its own affine", "leave affine out")
        return _only_scan(Path(scan), options)
    if isinstance(scan, Volume):
        volume = scan
    elif isinstance(scan, SpatialImage):
        _refuse(affine, "an image has its own affine", "give the array instead")
        volume = _from_image(scan)
    else:
        volume = _from_array(np.asarray(scan), _affine_of(affine, options.read.spacing_mm))
    return declare(volume, options.intensity, "the array")


def _only_scan(path: Path, options: ScanOptions) -> Volume:
    scans = open_scans(path, options=options)
    if scans.problems:
        raise scans.problems[0]
    if len(scans.found) != 1:
        raise BadConfig(
            f"{len(scans.found)} scans in {path}",
            did=_NOTHING,
            fix="give one scan, or use predict_folder",
            code="C02",
        )
    (load,) = scans.found.values()
    return load()


def _from_image(image: SpatialImage) -> Volume:
    header = image.header
    codes = [int(header[name]) for name in ("qform_code", "sform_code") if name in header]
    if image.affine is None or (codes and not any(codes)):
        raise BadScan(
            "the image does not say how it lies in the patient (qform and sform code 0)",
            did=_NOTHING,
            fix="give the array and affine=, or spacing_mm= if its axes run to the right, front "
            "and top",
            code="N21",
        )
    unit = header.get_xyzt_units()[0] if hasattr(header, "get_xyzt_units") else "mm"
    if unit not in ("mm", "unknown"):
        raise BadScan(
            f"the image counts in {unit}, not in mm",
            did=_NOTHING,
            fix="give the file's path, or the array and an affine in mm",
            code="N16",
        )
    return _from_array(np.asanyarray(image.dataobj), np.asarray(image.affine, float))


def _affine_of(affine: Any, spacing_mm: tuple[float, float, float] | None) -> np.ndarray:
    if (affine is None) == (spacing_mm is None):
        raise BadConfig(
            "an array does not say how large its voxels are and where they lie",
            did=_NOTHING,
            fix="give affine= (4 x 4, to RAS mm) or spacing_mm= if its axes i, j, k run to the "
            "patient's right, front and top; not both",
            code="C02",
        )
    if spacing_mm is not None:
        return np.diag([*spacing_mm, 1.0])
    matrix = np.asarray(affine, float)
    if matrix.shape != (4, 4):
        raise BadScan(
            f"the affine is of shape {matrix.shape}, not 4 x 4",
            did=_NOTHING,
            fix="give the matrix from voxel (i, j, k, 1) to RAS millimetres",
            code="N19",
        )
    return matrix


def _from_array(array: np.ndarray, affine: np.ndarray) -> Volume:
    if array.ndim != 3:
        raise BadScan(
            f"an array of shape {array.shape}: one volume with axes i, j, k is needed",
            did=_NOTHING,
            fix="give one volume of it, such as array[..., 0]",
            code="N25" if array.ndim == 4 else "N12",
        )
    if array.dtype.kind == "f" or (array.dtype.kind in "iu" and array.dtype.itemsize > 4):
        with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused as such
            array = array.astype(np.float32)
    volume = Volume.from_file_order(array, affine)
    _check_contrast(array)
    return volume


def _check_contrast(array: Shaped[np.ndarray, "i j k"]) -> None:
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise BadScan(
            "some voxels are NaN or Inf, or beyond float32",
            did=_NOTHING,
            fix="replace them, such as by numpy.nan_to_num",
            code="N31",
        )
    if low == high:
        raise BadScan(
            f"no contrast: every voxel is {low:g}",
            did=_NOTHING,
            fix="give the grey values of a scan, not a mask or an empty array",
            code="N33",
        )


def _refuse(affine: Any, why: str, fix: str) -> None:
    if affine is not None:
        raise BadConfig(why, did=_NOTHING, fix=fix, code="C02")
