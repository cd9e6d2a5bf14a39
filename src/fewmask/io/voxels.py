"""From the numbers a file stores to voxels that can be used: grey values without NaN, labels that
are whole numbers.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Shaped

from fewmask.core.errors import BadScan
from fewmask.core.volume import Grid, LabelMap, Volume
from fewmask.core.words import count
from fewmask.io.contrast import check_contrast
from fewmask.io.header import Header, ReadOptions

MAX_NONFINITE = 0.001
"""Share of NaN or Inf voxels that `fix_nonfinite` may replace."""
_MAX_OFF = 1e-3
"""How far from a whole number a label may be."""
_SCALING_OFF = 1e-5
"""Less than this is the rounding of the scaling itself."""


def as_volume(header: Header, array: Shaped[np.ndarray, "i j k"], options: ReadOptions) -> Volume:
    """A scan from stored voxels in file order. Raises `BadScan`: NaN or Inf (N31), no contrast
    (N33), beyond float32 (N37), 64-bit numbers that do not fit (N39).
    """
    array, notes = finite(native(array, header), options)
    check_contrast(array, header.slope, header.inter)
    return Volume.from_file_order(
        array, header.affine, header.slope, header.inter, (*header.notes, *notes)
    )


def as_labels(header: Header, array: Shaped[np.ndarray, "i j k"]) -> LabelMap:
    """A label map from stored voxels in file order. Raises as `whole`."""
    labels, notes = whole(array, header)
    label_map = LabelMap.from_file_order(labels, header.affine)
    return replace(label_map, notes=(*header.notes, *notes))


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
        fix = "export the image again"
        if mendable:
            fix = "replace them by the smallest value with `fix_nonfinite=True`"
        raise BadScan(
            f"{count(bad, 'voxel')} ({share:.3%}) {'is' if bad == 1 else 'are'} NaN or Inf, the "
            f"first at (i, j, k) = {first}",
            fix=fix,
            code="N31",
        )
    background = array[good].min()
    note = f"N31: {bad} NaN or Inf voxels replaced by {background:g}"
    return np.where(good, array, background), (note,)


def whole(
    array: Shaped[np.ndarray, "i j k"], header: Header
) -> tuple[Shaped[np.ndarray, "i j k"], tuple[str, ...]]:
    """Labels in the smallest unsigned type, or `BadScan`. Numbers are looked at slice by slice: no
    second copy in float64.
    """
    values = _Values(array, header)
    notes = () if values.exact else _check_whole(values)
    low = min(int(np.rint(plane.min())) for plane in values)
    high = max(int(np.rint(plane.max())) for plane in values)
    if low < 0:
        bad = values.where(lambda plane: np.rint(plane) < 0)
        fix = "give every structure a positive number"
        raise _label_trouble(f"negative labels, down to {low}", bad, header, "M08", fix)
    largest = np.iinfo(np.uint32).max
    if high > largest:
        bad = values.where(lambda plane: np.rint(plane) > largest)
        raise _label_trouble(f"labels up to {high}", bad, header, "M08", "use smaller numbers")
    labels = np.empty(array.shape, np.min_scalar_type(high), order="F")
    for k, plane in enumerate(values):
        labels[:, :, k] = plane if values.exact else np.rint(plane)
    return labels, notes


class _Values:
    """A label map's scaled values, one plane (i, j) at a time."""

    def __init__(self, array: Shaped[np.ndarray, "i j k"], header: Header) -> None:
        self.header = header
        self.exact = array.dtype.kind != "f" and (header.slope, header.inter) == (1.0, 0.0)
        """Stored as whole numbers that mean themselves."""
        self._array = array

    def __iter__(self) -> Iterator[Shaped[np.ndarray, "i j"]]:
        for k in range(self._array.shape[2]):
            plane = self._array[:, :, k]
            if self.exact:
                yield plane
                continue
            # What overflows becomes infinite, and is refused as such.
            with np.errstate(over="ignore", invalid="ignore"):
                scaled = plane.astype(np.float64) * self.header.slope + self.header.inter
            yield scaled

    def where(self, test: Callable[[np.ndarray], np.ndarray]) -> Bool[np.ndarray, "i j k"]:
        """Voxels that a test finds, for a message."""
        return np.stack([test(plane) for plane in self], axis=2)


def _check_whole(values: _Values) -> tuple[str, ...]:
    """Refuse NaN, Inf and values between labels; a note where rounding errors are mended."""
    header = values.header
    if not all(np.isfinite(plane).all() for plane in values):
        bad = values.where(lambda plane: ~np.isfinite(plane))
        raise _label_trouble("NaN or Inf", bad, header, "M09", "save the labels as whole numbers")
    worst = max(float(_off(plane).max()) for plane in values)
    if worst > _MAX_OFF:
        bad = values.where(lambda plane: _off(plane) > _MAX_OFF)
        first = next(off[0] for plane in values if (off := plane[_off(plane) > _MAX_OFF]).size)
        what = f"values between labels, such as {first:g} (interpolated?)"
        fix = "resample label maps with nearest neighbour, not with interpolation"
        raise _label_trouble(what, bad, header, "M06", fix)
    if worst > _SCALING_OFF:
        number = sum(int(np.count_nonzero(_off(plane) > _SCALING_OFF)) for plane in values)
        return (
            f"M05: {count(number, 'value was', 'values were')} rounded to the nearest whole number",
        )
    return ()


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
    voxels = count(int(np.count_nonzero(bad)), "voxel")
    where = f"{voxels}, in slices {shown} (from 0, along axis {'ijk'[axis]})"
    return BadScan(f"label map holds {what}", where=where, fix=fix, code=code)
