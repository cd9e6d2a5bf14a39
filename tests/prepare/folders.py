"""Data folders for tests: empty files where names are enough, small images where contents tell."""

from pathlib import Path

import numpy as np

from fewmask.core.volume import LabelMap, Volume
from fewmask.io.nifti import write_labels, write_volume
from fewmask.prepare.discover import Layout

AFFINE = np.diag([-3.0, -3.0, 5.0, 1.0])
SCAN = np.arange(6 * 6 * 4, dtype=np.int16).reshape(6, 6, 4) * 7 - 300
MASK = np.zeros((6, 6, 4), np.uint8)
MASK[2:4, 2:4, 1:3] = 1


def lay(root: Path, *names: str) -> Path:
    """Empty files."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def draw(root: Path, *names: str, voxels: np.ndarray = MASK) -> Path:
    """Small images: scans if they are called so in `SCAN`'s type, label maps otherwise."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if voxels.dtype == np.uint8:
            write_labels(path, LabelMap.from_file_order(voxels, AFFINE))
        else:
            write_volume(path, Volume.from_file_order(voxels, AFFINE))
    return root


def pairs(layout: Layout) -> dict[str, str | None]:
    """Case -> its mask."""
    return {pair.case: pair.mask.name if pair.mask else None for pair in layout.pairs}


def uses(layout: Layout, root: Path) -> dict[str, str]:
    """File -> what becomes of it."""
    return {str(seen.path.relative_to(root)): seen.use for seen in layout.files}
