"""From the numbers a file stores to voxels that can be used: grey values without NaN, labels that are whole numbers."""

import numpy as np
from jaxtyping import Shaped

from fewmask.core.errors import BadScan
from fewmask.core.volume import Grid
from fewmask.io.header import Header, ReadOptions

MAX_NONFINITE = 0.001
"""Share of NaN or Inf voxels that `--fix-nonfinite` may replace."""


def native(array: Shaped[np.ndarray, "i j k"], header: Header) -> Shaped[np.ndarray, "i j k"]:
    """Stored voxels in this machine's byte order, in a type of at most 32 bits that holds them (floats may be rounded)."""
    dtype = header.dtype.newbyteorder("=")
    if dtype.itemsize < 8:
        return array.astype(dtype, copy=False)
    if dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            return array.astype(np.float32)
    low, high = int(array.min()), int(array.max())
    for smaller in (np.dtype(np.int32), np.dtype(np.uint32)):
        if np.iinfo(smaller).min <= low and high <= np.iinfo(smaller).max:
            return array.astype(smaller)
    raise BadScan(f"64-bit voxels from {low} to {high} do not fit 32 bits", fix="save the image as float32", row="N39")


def finite(array: Shaped[np.ndarray, "i j k"], options: ReadOptions) -> tuple[Shaped[np.ndarray, "i j k"], tuple[str, ...]]:
    """The array without NaN and Inf, if it has none or the user lets us replace a few."""
    if array.dtype.kind != "f":
        return array, ()
    good = np.isfinite(array)
    bad = int(array.size - np.count_nonzero(good))
    if not bad:
        return array, ()
    share = bad / array.size
    mendable = share <= MAX_NONFINITE
    if not (mendable and options.fix_nonfinite):
        first = tuple(int(n) for n in np.argwhere(~good)[0])
        raise BadScan(
            f"{bad} voxels ({share:.3%}) are NaN or Inf, the first at (i, j, k) = {first}",
            fix="replace them by the smallest value with --fix-nonfinite" if mendable else "export the image again",
            row="N31",
        )
    background = array[good].min()
    return np.where(good, array, background), (f"N31: {bad} NaN or Inf voxels replaced by {background:g}",)


def whole(array: Shaped[np.ndarray, "i j k"], header: Header) -> tuple[Shaped[np.ndarray, "i j k"], tuple[str, ...]]:
    """Labels in the smallest unsigned type, or `BadScan`."""
    notes: tuple[str, ...] = ()
    scaled = (header.slope, header.inter) != (1.0, 0.0)
    if array.dtype.kind == "f" or scaled:
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows becomes infinite, and is refused as such
            values = array.astype(np.float64) * header.slope + header.inter
        if not np.isfinite(values).all():
            raise _label_trouble("NaN or Inf", ~np.isfinite(values), header, "M09", "save the labels as whole numbers")
        array = np.rint(values)
        off = np.abs(values - array)
        if off.max() > 1e-3:
            fix = "resample label maps with nearest neighbour, not with interpolation"
            some = values[off > 1e-3].flat[0]
            raise _label_trouble(f"values between labels, such as {some:g} (interpolated?)", off > 1e-3, header, "M06", fix)
        if off.max() > 1e-5:  # less is the rounding of the scaling itself
            notes = (f"M05: {int(np.count_nonzero(off > 1e-5))} values within 0.001 of a whole number were rounded",)
    low, high = int(array.min()), int(array.max())
    if low < 0:
        raise _label_trouble(
            f"negative labels, down to {low}", array < 0, header, "M08", "give every structure a positive number"
        )
    if high > np.iinfo(np.uint32).max:
        raise _label_trouble(f"labels up to {high}", array > np.iinfo(np.uint32).max, header, "M08", "use smaller numbers")
    return array.astype(np.min_scalar_type(high)), notes


def _label_trouble(what: str, bad: Shaped[np.ndarray, "i j k"], header: Header, row: str, fix: str) -> BadScan:
    axis = Grid(header.shape, header.affine).orientation.axes[0]
    slices = np.flatnonzero(bad.any(axis=tuple(a for a in range(3) if a != axis)))
    shown = ", ".join(map(str, slices[:5])) + (" ..." if len(slices) > 5 else "")
    where = f"{int(np.count_nonzero(bad))} voxels, in slices {shown} (from 0, along axis {'ijk'[axis]})"
    return BadScan(f"label map holds {what}", where=where, fix=fix, row=row)
