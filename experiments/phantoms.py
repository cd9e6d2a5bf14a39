"""Are the demo's phantoms a toy? The best plain threshold, and a U-Net that saw five slices, on
phantoms of the demo.

    python experiments/phantoms.py --work runs/phantoms

Prints Dice per phantom and the means; the threshold is chosen on the truth itself, raw and after a
median filter, so it is an upper bound of what any threshold can do.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

from fewmask.benchmark.demo import FULL
from fewmask.core.budget import Split
from fewmask.io.nifti import read_labels, read_volume
from fewmask.io.prepared import write_split
from fewmask.synth.phantom import LABELS, write_phantoms


def best_window(scan: np.ndarray, truth: np.ndarray) -> float:
    """Dice of the best interval of HU on a grid of 5 HU."""
    best = 0.0
    for low in range(0, 140, 5):
        for high in range(low + 10, 200, 5):
            found = (scan >= low) & (scan <= high)
            best = max(best, float(2 * (found & truth).sum() / (found.sum() + truth.sum())))
    return best


def main() -> None:
    """Make phantoms, try thresholds, train a U-Net."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("runs/phantoms"))
    work = parser.parse_args().work
    cases = write_phantoms(work / "scans", FULL.train + FULL.test)
    scores: dict[str, list[float]] = {"threshold": [], "median filter, then threshold": []}
    for case in cases[FULL.train :]:
        scan = read_volume(work / "scans" / "images" / f"{case}.nii.gz").intensities()
        truth = read_labels(work / "scans" / "labels" / f"{case}.nii.gz").voxels == LABELS["liver"]
        scores["threshold"].append(best_window(scan, truth))
        scores["median filter, then threshold"].append(
            best_window(ndimage.median_filter(scan, 3), truth)
        )
    for name, values in scores.items():
        print(f"{name}: {' '.join(f'{value:.2f}' for value in values)}, mean {np.mean(values):.2f}")
    write_split(
        work / "split.toml", Split(tuple(cases[: FULL.train]), (), tuple(cases[FULL.train :]))
    )
    flags = [
        "--label",
        f"liver={LABELS['liver']}",
        "--recipe",
        "ct",
        "--masks",
        "complete",
        "--tags",
        "from-masks",
    ]
    prepared, run = work / "prepared", work / "unet-5"
    for words in (
        ["prepare", work / "scans", "--out", prepared, *flags, "--split", work / "split.toml"],
        ["train", prepared, "--method", "unet", "--slices", 5, "--steps", FULL.steps, "--out", run],
        ["predict", run, prepared],
        ["evaluate", run],
    ):
        subprocess.run([sys.executable, "-m", "fewmask", *map(str, words)], check=True)  # noqa: S603


if __name__ == "__main__":
    main()
