"""Open, read, check and place a compressed scan of 512 x 512 x 300 voxels."""

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

import nibabel
import numpy as np
from scipy import ndimage

from fewmask.core.volume import Volume
from fewmask.io.nifti import read_volume, write_volume
from peers_parts.turns import Match, Skipped, growth_mib, here

WORK = "reading"


def scan(depth: int = 300, side: int = 512) -> Volume:
    """Smooth tissue with noise in an ellipse of air: packs to half its size, as CT does."""
    rng = np.random.default_rng(0)
    coarse = rng.standard_normal((depth // 15, side // 32, side // 32)).astype(np.float32)
    voxels = ndimage.zoom(coarse, (15, 32, 32), order=1) * 300
    voxels += rng.normal(0, 15, voxels.shape)
    across = np.linspace(-1, 1, side)
    voxels[:, across[:, None] ** 2 + (0.8 * across) ** 2 > 0.8] = -1024
    stored = np.asfortranarray(np.clip(voxels, -1024, 3000).astype(np.int16).transpose(2, 1, 0))
    return Volume.from_file_order(stored, np.diag([-0.75, -0.75, 1.5, 1.0]))


def matches(side: int = 512) -> Iterator[Match | Skipped]:
    """Against nibabel, which does not read to the end of the file unless it must, and SimpleITK."""
    path = Path(mkdtemp(prefix="peers-")) / "scan.nii.gz"
    write_volume(path, scan(side * 300 // 512 // 15 * 15, side))
    ours = partial(read_volume, path)
    for peer, package, theirs in (
        ("nibabel", "nibabel", lambda: np.asanyarray(nibabel.load(path).dataobj)),
        ("SimpleITK", "SimpleITK", lambda: _by_simpleitk(path)),
    ):
        if not find_spec(package):
            yield Skipped(WORK, peer, f"{package} is not installed")
            continue
        note = f"a file of {path.stat().st_size / 1e6:.0f} MB"
        mib = growth_mib(ours), growth_mib(theirs)
        yield Match(WORK, peer, here(ours), here(theirs), note, mib)


def _by_simpleitk(path: Path) -> object:
    import SimpleITK

    return SimpleITK.ReadImage(str(path))
