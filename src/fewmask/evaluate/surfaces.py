"""Surfaces of masks and the distances between them, in the unit of the voxel size (mm)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from fewmask.evaluate.nearest import nearest_mm


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances from every surface voxel of one mask to the nearest surface voxel of the other.

    Neither set is empty (`surface_distances` sees to that). Everything is in mm; made with a
    spacing of 1, it is in voxels.
    """

    pred_to_truth_mm: Float[np.ndarray, " n"]
    """From each surface voxel of the prediction."""
    truth_to_pred_mm: Float[np.ndarray, " m"]
    """From each surface voxel of the truth."""

    @property
    def hd_mm(self) -> float:
        """Hausdorff distance: the largest of all."""
        return float(max(self.pred_to_truth_mm.max(), self.truth_to_pred_mm.max()))

    @property
    def hd95_mm(self) -> float:
        """The larger of the two directed 95th percentiles (docs/metrics.md)."""
        directed = (self.pred_to_truth_mm, self.truth_to_pred_mm)
        return float(max(np.percentile(distances, 95) for distances in directed))

    @property
    def hd95_pooled_mm(self) -> float:
        """95th percentile of both sets together (MedPy, hence the left-atrium papers)."""
        return float(np.percentile(self._pooled, 95))

    @property
    def assd_mm(self) -> float:
        """Average symmetric surface distance: mean over both sets together."""
        return float(self._pooled.mean())

    @property
    def asd_mm(self) -> float:
        """Directed average distance, prediction to truth (MedPy's `asd`)."""
        return float(self.pred_to_truth_mm.mean())

    def nsd(self, tolerance_mm: float) -> float:
        """Normalised surface Dice, 0 to 1: part of both surfaces that lies within `tolerance_mm` of
        the other (voxels are counted, not areas).
        """
        return int((self._pooled <= tolerance_mm).sum()) / len(self._pooled)

    @property
    def _pooled(self) -> Float[np.ndarray, " n_plus_m"]:
        return np.concatenate([self.pred_to_truth_mm, self.truth_to_pred_mm])


def surface(mask: Bool[np.ndarray, "*grid"]) -> Bool[np.ndarray, "*grid"]:
    """Voxels of the mask with a face neighbour outside it; outside the array counts as outside the
    mask.
    """
    inner = mask.copy()
    for axis in range(mask.ndim):
        along, kept = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        kept[1:] &= along[:-1]
        kept[:-1] &= along[1:]
        kept[0] = kept[-1] = False
    inner ^= mask
    return inner


def surface_distances(
    pred: Bool[np.ndarray, "*grid"], truth: Bool[np.ndarray, "*grid"], spacing_mm: tuple[float, ...]
) -> SurfaceDistances:
    """Both directed sets of distances between the surfaces of two non-empty masks.

    `pred` and `truth` have the same shape, in 2D or 3D; `spacing_mm` is the voxel size along each
    of their axes. Raises `ValueError` if a mask is empty: what a missing surface costs is for the
    caller to say (`score_case` takes the image's diagonal).
    """
    empty = [name for name, mask in (("prediction", pred), ("truth", truth)) if not mask.any()]
    if empty:
        raise ValueError(
            "surface distances need two masks with at least one voxel each; empty: "
            + " and ".join(empty)
        )
    both = union_box(pred, truth)
    pred, truth = pred[both], truth[both]
    pred_points, truth_points = _places(surface(pred)), _places(surface(truth))
    return SurfaceDistances(
        nearest_mm(pred_points, truth_points, pred.shape, spacing_mm),
        nearest_mm(truth_points, pred_points, pred.shape, spacing_mm),
    )


def union_box(*arrays: Shaped[np.ndarray, "*grid"]) -> tuple[slice, ...]:
    """The tight box around all that is not 0 in any of them, one voxel wider on each side: cropping
    must not turn inner voxels into surface. Of nothing, an empty box.
    """
    box: tuple[slice, ...] = ()
    for axis in range(arrays[0].ndim):
        others = tuple(other for other in range(arrays[0].ndim) if other != axis)
        # Within what earlier axes left.
        held = np.any([array[box].any(axis=others) for array in arrays], axis=0)
        there = np.flatnonzero(held)
        if not len(there):
            return (slice(0),) * arrays[0].ndim
        first, last = there[0], there[-1]
        box = (*box, slice(max(0, int(first) - 1), int(last) + 2))
    return box


def _places(mask: Bool[np.ndarray, "*grid"]) -> Int[np.ndarray, "n axes"]:
    """`np.argwhere`, in a third of the time."""
    return np.stack(np.unravel_index(np.flatnonzero(mask), mask.shape), 1)


def box_edges(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "4"]:
    """The true box of a slice as (x0, y0, x1, y1) pixel edges, without jitter; NaN for an empty
    mask.
    """
    if not mask.any():
        return np.full(4, np.nan)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)
