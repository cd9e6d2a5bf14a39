"""Warnings about what scans and masks show, as opposed to what their headers say. None of them
stops anything.
"""

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from fewmask.core.volume import Volume
from fewmask.prepare.intensity import intensity_ends, looks_like_ct


def scan_warnings(volume: Volume) -> list[str]:
    """N18 slices far apart or taken in another plane, N40 padding and metal."""
    warnings = _plane_warnings(volume)
    if looks_like_ct(volume):
        low, high = intensity_ends(volume)
        if low < -1500:
            warnings.append(
                f"N40: voxels at {low:g} HU look like padding outside the scanner's circle; the "
                "window clips them"
            )
        if high > 10000:
            warnings.append(f"N40: voxels up to {high:g} HU look like metal; the window clips them")
    return warnings


def _plane_warnings(volume: Volume) -> list[str]:
    warnings = []
    d, h, w = volume.spacing_mm
    if max(h, w) > 1.5 * d:
        plane = "coronal" if h > w else "sagittal"
        shown = f"voxels of {d:g} x {h:g} x {w:g} mm, head-feet first"
        warnings.append(
            f"N18: a {plane} scan? ({shown}) fewmask works on axial slices: outline those, "
            "tags count them"
        )
    if d / min(h, w) > 10:
        warnings.append(
            f"N18: slices are {d:g} mm apart, pixels {min(h, w):g} mm: only slice-wise methods "
            "will do"
        )
    return warnings


def mask_warnings(
    intensities: Float[np.ndarray, "d h w"], labels: UInt8[np.ndarray, "d h w"], ct: bool
) -> list[str]:
    """M04 mask mostly outside the body, M11 mask full of one label, M13 single voxels."""
    inside = labels > 0
    count = int(inside.sum())
    if not count:
        return []
    warnings = []
    if count > 0.95 * labels.size:
        warnings.append("M11: the mask covers the whole scan")
    body = intensities > (-300 if ct else float(np.percentile(intensities, 50)) * 0.5)
    overlap = float((body & inside).sum()) / count
    if overlap < 0.5:
        warnings.append(
            f"M04: only {overlap:.0%} of the mask lies on the body: is it flipped or of "
            "another scan?"
        )
    _, pieces = ndimage.label(inside)
    if count == 1 or (pieces > 50 and count / pieces < 10):
        warnings.append(f"M13: the mask is {count} voxels in {pieces} pieces: stray clicks?")
    return warnings
