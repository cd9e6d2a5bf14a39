"""What lies between a run's automatic masks and its bound with true boxes: slices without a mask,
or masks that are worse.

    # needs the bound: `fewmask evaluate --oracle-box` or a sweep
    python experiments/gap.py runs/sam-mix-table/RUN/run

Dice over the slices of its test scans that hold the structure, on the paper's grid (256 x 256), as
`--protocol sam-mix` counts.
"""

import sys
from pathlib import Path

import numpy as np

from fewmask.benchmark.rows import ORACLE
from fewmask.core.placement import Placement
from fewmask.core.recipe import RECIPES
from fewmask.evaluate.protocols import score_sam_mix
from fewmask.io.nifti import read_labels
from fewmask.io.run import RunFolder


def main(path: Path) -> None:
    """Print one line per structure."""
    run = RunFolder.open(path)
    prepared = run.open_prepared()
    for index, name in enumerate(prepared.classes, 1):
        dice, silent = [], []
        for case in run.read_split().test:
            own, bound = (
                read_labels(folder / f"{case}.nii.gz")
                for folder in (run.predictions, run.path / ORACLE)
            )
            placement = Placement.of(own.shape, own.spacing_mm, RECIPES["sam-mix-paper"])
            with prepared.case(case) as file:
                truth = placement.place_mask(file.labels(range(file.shape[0])))
            masks = [placement.place_mask(found.voxels) for found in (own, bound)]
            for d in np.flatnonzero((truth == index).any((1, 2))):
                scores = [score_sam_mix(mask[d : d + 1], truth[d : d + 1], index) for mask in masks]
                dice.append([score.dice for score in scores])
                silent.append(scores[0].n_missed == 1)
        values, quiet = np.array(dice), np.array(silent)
        gap = values[:, 1] - values[:, 0]
        parts = [
            f"{gap[some].sum() / len(gap):.3f} on {some.sum()} slices {what} a mask"
            for some, what in ((quiet, "without"), (~quiet, "with"))
        ]
        print(
            f"{name}: {values[:, 0].mean():.3f} automatic, {values[:, 1].mean():.3f} bound; "
            f"{', '.join(parts)}"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
