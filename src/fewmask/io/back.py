"""What was written is read back and compared before it takes its name."""

from pathlib import Path

import numpy as np

from fewmask.core.errors import NoRoom
from fewmask.core.volume import Grid


def check_back(path: Path, grid: Grid, back: Grid, same_voxels: bool) -> None:
    """Raise `NoRoom` (F09) unless a file reads back as it was meant."""
    limit = 1e-6 * max(1.0, float(np.abs(grid.affine).max()))
    moved = np.abs(back.affine - grid.affine).max() > limit
    if not same_voxels or back.shape != grid.shape or moved:
        raise NoRoom(
            f"{path.name} does not read back as written",
            where=f"file  {path}",
            fix="check the disk",
            code="F09",
        )
