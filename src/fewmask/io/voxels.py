"""From the numbers a file stores to voxels that can be used: grey values without NaN, labels that
are whole numbers.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Shaped

from fewmask.core.errors import BadScan
from fewmask.core.volume import Grid
from fewmask.io.header import Header, ReadOptions

MAX_NONFINITE = 0.001
"""Share of NaN or Inf voxels that `fix_nonfinite` may replace."""


def native(array: Shaped[np.ndarray, "i j k"], header: Header) -> Shaped[np.ndarray, "i j k"]:
    """Stored voxels in this machine's byte order, in a type of at most 32 bits that holds them
    (floats may be rounded).
    """
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
    raise BadScan(
        f"64-bit voxels from {low} to {high} do not fit 32 bits",
        fix="save the image as float32",
        code="N39",
    )


def finite(
    array: Shaped[np.ndarray, "i j k"], options: ReadOptions
) -> tuple[Shaped[np.ndarray, "i j k"], tuple[str, ...]]:
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
            fix="replace them by the smallest value with `fix_nonfinite=True`"
            if mendable
            else "export the image again",
            code="N31",
        )
    background = array[good].min()
    return np.where(good, array, background), (
        f"N31: {bad} NaN or Inf voxels replaced by {background:g}",
    )


def whole(
    array: Shaped[np.ndarray, "i j k"], header: Header
) -> tuple[Shaped[np.ndarray, "i j k"], tuple[str, ...]]:
    """Labels in the smallest unsigned type, or `BadScan`. Numbers are looked at slice by slice: no
    second copy in float64.
    """
    notes: tuple[str, ...] = ()
    exact = array.dtype.kind != "f" and (header.slope, header.inter) == (1.0, 0.0)

    def values(k: int) -> Shaped[np.ndarray, "i j"]:
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # what overflows becomes infinite, and is refused as such
            return (
                array[:, :, k]
                if exact
                else array[:, :, k].astype(np.float64) * header.slope + header.inter
            )

    def marked(test: Callable[[np.ndarray], np.ndarray]) -> Bool[np.ndarray, "i j k"]:
        return np.stack([test(values(k)) for k in range(array.shape[2])], axis=2)

    if not exact:
        if not all(np.isfinite(values(k)).all() for k in range(array.shape[2])):
            bad = marked(lambda one: ~np.isfinite(one))
            raise _label_trouble(
                "NaN or Inf", bad, header, "M09", "save the labels as whole numbers"
            )
        worst = max(float(_off(values(k)).max()) for k in range(array.shape[2]))
        if worst > 1e-3:
            fix = "resample label maps with nearest neighbour, not with interpolation"
            some = next(
                one[_off(one) > 1e-3].flat[0]
                for k in range(array.shape[2])
                if (_off(one := values(k)) > 1e-3).any()
            )
            bad = marked(lambda one: _off(one) > 1e-3)
            raise _label_trouble(
                f"values between labels, such as {some:g} (interpolated?)", bad, header, "M06", fix
            )
        if worst > 1e-5:  # less is the rounding of the scaling itself
            count = sum(
                int(np.count_nonzero(_off(values(k)) > 1e-5)) for k in range(array.shape[2])
            )
            notes = (f"M05: {count} values within 0.001 of a whole number were rounded",)
    low = min(int(np.rint(values(k).min())) for k in range(array.shape[2]))
    high = max(int(np.rint(values(k).max())) for k in range(array.shape[2]))
    if low < 0:
        bad = marked(lambda one: np.rint(one) < 0)
        raise _label_trouble(
            f"negative labels, down to {low}",
            bad,
            header,
            "M08",
            "give every structure a positive number",
        )
    if high > np.iinfo(np.uint32).max:
        bad = marked(lambda one: np.rint(one) > np.iinfo(np.uint32).max)
        raise _label_trouble(f"labels up to {high}", bad, header, "M08", "use smaller numbers")
    labels = np.empty(array.shape, np.min_scalar_type(high), order="F")
    for k in range(array.shape[2]):
        labels[:, :, k] = values(k) if exact else np.rint(values(k))
    return labels, notes


def _off(values: Shaped[np.ndarray, "i j"]) -> Float[np.ndarray, "i j"]:
    """Distance to the nearest whole number."""
    result: Float[np.ndarray, "i j"] = np.abs(values - np.rint(values))
    return result


def _label_trouble(
    what: str, bad: Shaped[np.ndarray, "i j k"], header: Header, code: str, fix: str
) -> BadScan:
    axis = Grid(header.shape, header.affine).orientation.axes[0]
    slices = np.flatnonzero(bad.any(axis=tuple(a for a in range(3) if a != axis)))
    shown = ", ".join(map(str, slices[:5])) + (" ..." if len(slices) > 5 else "")
    where = (
        f"{int(np.count_nonzero(bad))} voxels, in slices {shown} (from 0, along axis {'ijk'[axis]})"
    )
    return BadScan(f"label map holds {what}", where=where, fix=fix, code=code)
