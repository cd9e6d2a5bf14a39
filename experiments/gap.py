"""What lies between a run's automatic masks and its bound with true boxes: slices without a mask,
or masks that are worse.

    # needs the bound: `fewmask evaluate --oracle-box` or a sweep
    python experiments/gap.py runs/sam-mix-table/RUN/run

Dice over the slices of its test scans that hold the structure, on the paper's grid (256 x 256), as
`--protocol sam-mix` counts. `--rows FILE.csv` adds a line per run, scan and structure.
"""

from pathlib import Path

import numpy as np
from quantities import RUN, add, arguments, named

from fewmask.benchmark.rows import ORACLE
from fewmask.core.placement import Placement
from fewmask.core.recipe import RECIPES
from fewmask.evaluate.protocols import score_sam_mix
from fewmask.io.nifti import read_labels
from fewmask.io.run import RunFolder


def slice_dice(run: RunFolder, case: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Dice of structure `index` on every slice that holds it, (slices, 2), automatic and bound; and
    which of them have no automatic mask, (slices,).
    """
    own, bound = (
        read_labels(folder / f"{case}.nii.gz") for folder in (run.predictions, run.path / ORACLE)
    )
    placement = Placement.of(own.shape, own.spacing_mm, RECIPES["sam-mix-paper"])
    with run.open_prepared().case(case) as file:
        truth = placement.place_mask(file.labels(range(file.shape[0])))
    masks = [placement.place_mask(found.voxels) for found in (own, bound)]
    dice, silent = [], []
    for d in np.flatnonzero((truth == index).any((1, 2))):
        scores = [score_sam_mix(mask[d : d + 1], truth[d : d + 1], index) for mask in masks]
        dice.append([score.dice for score in scores])
        silent.append(scores[0].n_missed == 1)
    return np.array(dice, float).reshape(-1, 2), np.array(silent, bool)


def main(path: Path, rows: Path | None = None) -> None:
    """Print one line per structure."""
    run = RunFolder.open(path)
    for index, name in enumerate(run.open_prepared().classes, 1):
        found = {case: slice_dice(run, case, index) for case in run.read_split().test}
        values, quiet = (np.concatenate(part) for part in zip(*found.values(), strict=True))
        gap = values[:, 1] - values[:, 0]
        parts = [
            f"{gap[some].sum() / len(gap):.3f} on {some.sum()} slices {what} a mask"
            for some, what in ((quiet, "without"), (~quiet, "with"))
        ]
        print(
            f"{name}: {values[:, 0].mean():.3f} automatic, {values[:, 1].mean():.3f} bound; "
            f"{', '.join(parts)}"
        )
        lines = [
            named(path)
            | {
                "case": case,
                "class": name,
                "slices_with_it": len(dice),
                "dice": float(dice[:, 0].mean()),
                "bound": float(dice[:, 1].mean()),
                "silent": int(silent.sum()),
                "bound_where_silent": float(dice[silent, 1].mean()) if silent.any() else None,
            }
            for case, (dice, silent) in found.items()
            if len(dice)
        ]
        add(rows, [*RUN, "case", "class"], lines)


if __name__ == "__main__":
    folders, file = arguments(__doc__)
    for folder in folders:
        main(folder, file)
