"""Surfaces of masks and the distances between them, in the unit of the voxel size (mm)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial import cKDTree


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
    result: Bool[np.ndarray, "*grid"] = mask & ~ndimage.binary_erosion(mask)
    return result


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
    both = _union_box(pred | truth)
    scale = np.array(spacing_mm, float)
    pred_points = np.argwhere(surface(pred[both])) * scale
    truth_points = np.argwhere(surface(truth[both])) * scale
    return SurfaceDistances(
        cKDTree(truth_points).query(pred_points)[0], cKDTree(pred_points).query(truth_points)[0]
    )


def _union_box(mask: Bool[np.ndarray, "*grid"]) -> tuple[slice, ...]:
    """The tight box, one voxel wider on each side: cropping must not turn inner voxels into
    surface.
    """
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(slice(max(0, s.start - 1), s.stop + 1) for s in box)


def box_edges(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "4"]:
    """The true box of a slice as (x0, y0, x1, y1) pixel edges, without jitter; NaN for an empty
    mask.
    """
    if not mask.any():
        return np.full(4, np.nan)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)
