"""Probabilities of every structure as 8-bit images on the scan's grid, `probabilities/
CASE.1-STRUCTURE.nii.gz`: what the network said, before clean-up.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fewmask.core.volume import Grid
from fewmask.io.atomic import make_folder
from fewmask.io.nifti import write_map

FOLDER = "probabilities"


def map_paths(out: Path, case: str, classes: Sequence[str]) -> list[Path]:
    """Where the maps of a case go, one per structure: `CASE.1-liver.nii.gz`. The number tells names
    apart that are alike once only letters, digits and - are left of them.
    """
    plain = [re.sub(r"[^\w-]+", "-", name)[:40] for name in classes]
    return [out / FOLDER / f"{case}.{n}-{name}.nii.gz" for n, name in enumerate(plain, 1)]


def write_maps(
    out: Path,
    case: str,
    classes: Sequence[str],
    probabilities: Float[np.ndarray, "c d h w"],
    grid: Grid,
) -> None:
    """Write one file per structure (background has none), 0 to 255 with a slope of 1/255, so that
    programs show 0 to 1.
    """
    paths = map_paths(out, case, classes)
    make_folder(out / FOLDER)
    for n, path in enumerate(paths, 1):
        voxels = np.zeros(probabilities.shape[1:], np.uint8)
        for d, plane in enumerate(probabilities[n]):  # the whole in floating point may be large
            voxels[d] = np.round(255 * plane.clip(0, 1))
        write_map(path, voxels, grid)
