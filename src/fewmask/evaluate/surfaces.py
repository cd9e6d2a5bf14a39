"""Surfaces of masks and the distances between them, in mm."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial import cKDTree


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances from every surface voxel of one mask to the nearest surface voxel of the other;
    neither is empty.
    """

    to_truth: Float[np.ndarray, " n"]
    """From the prediction's surface."""
    to_pred: Float[np.ndarray, " m"]
    """From the truth's surface."""

    @property
    def hd(self) -> float:
        """Hausdorff distance: the largest of all."""
        return float(max(self.to_truth.max(), self.to_pred.max()))

    @property
    def hd95(self) -> float:
        """The larger of the two directed 95th percentiles (docs/metrics.md)."""
        return float(max(np.percentile(self.to_truth, 95), np.percentile(self.to_pred, 95)))

    @property
    def hd95_pooled(self) -> float:
        """95th percentile of both sets together (MedPy, hence the left-atrium papers)."""
        return float(np.percentile(np.concatenate([self.to_truth, self.to_pred]), 95))

    @property
    def assd(self) -> float:
        """Average symmetric surface distance: mean over both sets together."""
        return float(np.concatenate([self.to_truth, self.to_pred]).mean())

    @property
    def asd(self) -> float:
        """Directed average distance, prediction to truth (MedPy's `asd`)."""
        return float(self.to_truth.mean())

    def nsd(self, tolerance: float) -> float:
        """Normalised surface Dice: part of both surfaces that lies within `tolerance` of the other
        (voxel-counted).
        """
        near = int((self.to_truth <= tolerance).sum()) + int((self.to_pred <= tolerance).sum())
        return near / (len(self.to_truth) + len(self.to_pred))


def surface(mask: Bool[np.ndarray, "*grid"]) -> Bool[np.ndarray, "*grid"]:
    """Voxels of the mask with a face neighbour outside it; outside the array counts as outside the
    mask.
    """
    result: Bool[np.ndarray, "*grid"] = mask & ~ndimage.binary_erosion(mask)
    return result


def surface_distances(
    pred: Bool[np.ndarray, "*grid"], truth: Bool[np.ndarray, "*grid"], spacing_mm: tuple[float, ...]
) -> SurfaceDistances:
    """Both directed sets of distances between the surfaces of two non-empty masks of the same
    shape.
    """
    both = _union_box(pred | truth)
    scale = np.array(spacing_mm, float)
    a, b = (np.argwhere(surface(mask[both])) * scale for mask in (pred, truth))
    return SurfaceDistances(cKDTree(b).query(a)[0], cKDTree(a).query(b)[0])


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
