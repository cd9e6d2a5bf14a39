"""Small scans for tests of several packages: a few phantoms, cut down in size, with complete or
partial masks.
"""

from pathlib import Path
from typing import Any

import numpy as np

from fewmask.core.budget import Split
from fewmask.core.volume import LabelMap, Volume
from fewmask.io.nifti import write_labels, write_volume
from fewmask.io.prepared import Prepared, write_split
from fewmask.prepare.build import prepare
from fewmask.prepare.options import PrepareOptions

AFFINE = np.array([[-3.0, 0, 0, 90], [0, -3.0, 0, 90], [0, 0, 5.0, -40], [0, 0, 0, 1]])
SHAPE = (32, 32, 8)
"""File order (i, j, k); with this affine k is the slice axis and d = k."""


def write_scans(folder: Path, count: int = 5) -> list[str]:
    """CT-like scans with a bright blob (label 6) in slices 2..5 that moves from case to case."""
    cases = [f"case_{index:02d}" for index in range(count)]
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index, case in enumerate(cases):
        rng = np.random.default_rng(index)
        image = rng.normal(0, 15, SHAPE)
        label = np.zeros(SHAPE, np.uint8)
        label[6 + index : 18 + index, 8:20, 2:6] = 6
        image[label > 0] += 120
        image[:2] = -1000
        write_volume(
            folder / "images" / f"{case}.nii.gz",
            Volume.from_file_order(np.round(image).astype(np.int16), AFFINE),
        )
        write_labels(folder / "labels" / f"{case}.nii.gz", LabelMap.from_file_order(label, AFFINE))
    return cases


def prepare_scans(folder: Path, count: int = 5, **options: Any) -> Prepared:
    """Scans and their prepared dataset: complete masks, tags from them, the last two cases for
    testing.
    """
    cases = write_scans(folder / "scans", count)
    write_split(folder / "split.toml", Split(tuple(cases[:-2]), (), tuple(cases[-2:])))
    chosen: dict[str, Any] = {
        "labels": {"liver": (6,)},
        "recipe": "ct",
        "masks": "complete",
        "tags": "from-masks",
        "split": folder / "split.toml",
        "jobs": 1,
        **options,
    }
    prepare(folder / "scans", folder / "prepared", PrepareOptions(**chosen))
    return Prepared.open(folder / "prepared")
