"""Warnings about what scans and masks show, as opposed to what their headers say. None of them
stops anything.
"""

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from fewmask.core.volume import Volume

_LOOK = 4096
_FEW_VALUES, _LARGEST_LABEL = 32, 255
"""What a label map holds at most that goes by the name of a scan. Scans hold hundreds of values,
and those of 8 bits, scaled to show something, more than 32.
"""


def looks_like_ct(intensities: Float[np.ndarray, "d h w"]) -> bool:
    """Air or fat far below zero: only Hounsfield units do that."""
    return bool(
        intensities.min() <= -100
        and np.percentile(intensities[:: max(1, intensities.shape[0] // 16)], 1) < -90
    )


def label_values(volume: Volume) -> tuple[int, ...]:
    """The values of a file that is no scan but a label map: whole numbers from 0, few of them.
    Empty for anything else.
    """
    stored = volume.voxels
    if volume.slope != 1 or volume.inter != 0:
        return ()
    # Nearly every scan is told by a few thousand voxels.
    if np.unique(stored.ravel()[:: max(1, stored.size // _LOOK)]).size > _FEW_VALUES:
        return ()
    values = np.unique(stored)
    if values.size > _FEW_VALUES or values[0] != 0 or not (values == np.rint(values)).all():
        return ()
    return tuple(int(value) for value in values) if values[-1] <= _LARGEST_LABEL else ()


def scan_warnings(volume: Volume, intensities: Float[np.ndarray, "d h w"], ct: bool) -> list[str]:
    """N18 slices far apart or taken in another plane, N38 unusual HU range, N40 padding
    and metal.
    """
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
    low, high = float(intensities.min()), float(intensities.max())
    if ct and low < -1500:
        warnings.append(
            f"N40: voxels at {low:g} HU look like padding outside the scanner's circle; the "
            "window clips them"
        )
    if ct and high > 10000:
        warnings.append(f"N40: voxels up to {high:g} HU look like metal; the window clips them")
    if not ct and low >= 0 and 3500 <= high <= 4200 and float(np.median(intensities)) < 200:
        warnings.append(
            f"N38: values {low:g}..{high:g} could be CT stored without its intercept; say "
            "with `recipe` what it is"
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
