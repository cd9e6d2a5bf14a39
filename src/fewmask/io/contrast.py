"""What every reader asks of a scan's numbers before it gives them out, whatever the file's form."""

import math

import numpy as np
from jaxtyping import Shaped

from fewmask.core.errors import BadScan


def check_contrast(
    voxels: Shaped[np.ndarray, "*any"], slope: float, inter: float, where: str = ""
) -> None:
    """Raise `BadScan` for voxels that are all the same (N33), and for a scaling that is none or
    leads beyond float32 (N37); `where` names the file.
    """
    lines = (where,) if where else ()
    if slope == 0 or not (math.isfinite(slope) and math.isfinite(inter)):
        raise BadScan(
            f"scaling slope {slope:g}, inter {inter:g} cannot be applied",
            where=lines,
            fix="export the image again with the scaling of the scanner",
            code="N37",
        )
    low, high = float(voxels.min()), float(voxels.max())
    if low == high:
        raise BadScan(
            f"no contrast: every voxel is {low:g}",
            where=lines,
            fix="export the image again",
            code="N33",
        )
    with np.errstate(over="ignore"):
        scaled = np.array([low, high]) * slope + inter
    if np.abs(scaled).max() > np.finfo(np.float32).max:
        raise BadScan(
            f"scaled intensities reach {scaled}, beyond float32",
            where=lines,
            fix="export the image again",
            code="N37",
        )
