"""The surface of a structure as points with normals, for a simple view in three dimensions."""

import numpy as np
from jaxtyping import Int8, Int16, UInt8
from scipy import ndimage

MOST = 60_000
"""More points than this only make a picture slower."""
QUARTERS = 4
"""Positions are in quarters of a millimetre."""
_BLUR = 1.0


def find_surface(
    labels: UInt8[np.ndarray, "d h w"], number: int, spacing_mm: tuple[float, float, float]
) -> tuple[Int16[np.ndarray, "n 3"], Int8[np.ndarray, "n 3"]]:
    """Positions (x, y, z along w, h, d; quarters of a mm from the scan's middle) and outward
    normals (times 127) of the voxels of a structure that have one of six neighbours outside it.

    At most 60,000, drawn evenly; an absent structure gives none.
    """
    inside = labels == number
    found = ndimage.find_objects(inside.view(np.uint8))
    if not found:
        return np.zeros((0, 3), np.int16), np.zeros((0, 3), np.int8)
    part = np.pad(inside[found[0]], 1)
    border = part & ~ndimage.binary_erosion(part)
    at = np.argwhere(border)
    if len(at) > MOST:
        at = at[np.linspace(0, len(at) - 1, MOST).astype(int)]
    smooth = ndimage.gaussian_filter(part.astype(np.float32), _BLUR)
    slopes = np.gradient(smooth, *spacing_mm)
    normals = -np.stack([slope[tuple(at.T)] for slope in slopes], 1)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = normals / np.maximum(lengths, 1e-12)
    corner = np.array([side.start for side in found[0]]) - 1
    middle = (np.array(labels.shape) - 1) / 2
    places = np.round((at + corner - middle) * np.array(spacing_mm) * QUARTERS)
    limits = np.iinfo(np.int16)
    return (
        np.clip(places, limits.min, limits.max)[:, ::-1].astype(np.int16),
        np.round(normals * 127)[:, ::-1].astype(np.int8),
    )
