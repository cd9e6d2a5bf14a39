"""How well a run tells slices that hold the structure from those that do not: P(present) over the slices of its test scans.

    python experiments/presence.py RUN [RUN ...]        # needs `fewmask evaluate` or a sweep to have predicted

AUC (the chance that a slice with it gets the higher P), and the 5th, 50th and 95th percentile of P with and without it: an AUC
near 1 beside a median without it of 0.5 is a head that ranks well and says yes to everything.
"""

import sys
from pathlib import Path

import numpy as np
from scipy.stats import mannwhitneyu

from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.io.text import read_json


def main(path: Path) -> None:
    """Print one line per structure."""
    run = RunFolder.open(path)
    prepared = Prepared.open(Path(run.read_config()["prepared"]))
    for index, name in enumerate(prepared.classes):
        probs: dict[bool, list[float]] = {True: [], False: []}
        for case in run.read_split().test:
            with prepared.case(case) as file:
                there = (file.labels(range(file.shape[0])) == index + 1).any((1, 2))
            for line in read_json(run.predictions / f"{case}.prompts.json", max_bytes=2**28)["slices"]:
                probs[bool(there[line["d"]])].append(line["present"][index])
        auc = mannwhitneyu(probs[True], probs[False]).statistic / (len(probs[True]) * len(probs[False]))
        told = ", ".join(
            f"{'with' if kind else 'without'} it {' '.join(f'{p:.2f}' for p in np.percentile(probs[kind], [5, 50, 95]))}"
            for kind in (True, False)
        )
        print(f"{path.parent.name}: {name}: AUC {auc:.3f}, P {told}")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        main(Path(argument))
