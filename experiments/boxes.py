"""How well a run's own boxes agree with the true ones: mean IoU over the slices of its test scans
that hold the structure.

    # needs `fewmask evaluate` or a sweep to have predicted
    python experiments/boxes.py runs/ct-liver-dev/RUN/run

Slices without a box of the model's own are counted beside, not averaged, with how far they lie from
an end of the structure; so are slices that do not hold the structure and got a box.
"""

import sys
from pathlib import Path

import numpy as np

from fewmask.evaluate.surfaces import box_edges
from fewmask.io.run import RunFolder
from fewmask.io.text import read_json


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of two boxes (x0, y0, x1, y1)."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(sides.clip(0)))
    return shared / (float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared)


def main(path: Path) -> None:
    """Print one line per structure."""
    run = RunFolder.open(path)
    prepared = run.open_prepared()
    for index, name in enumerate(prepared.classes):
        found, missing, called, empty = [], [], 0, 0
        for case in run.read_split().test:
            with prepared.case(case) as file:
                truth = file.labels(range(file.shape[0])) == index + 1
            there = np.flatnonzero(truth.any((1, 2)))
            for line in read_json(run.predictions / f"{case}.prompts.json", max_bytes=2**28)[
                "slices"
            ]:
                own, mask = line["boxes_raw"][index], truth[line["d"]]
                if mask.any() and own is None:
                    missing.append(min(line["d"] - there[0], there[-1] - line["d"]))
                elif mask.any():
                    found.append(iou(np.array(own), box_edges(mask)))
                else:
                    called, empty = called + (own is not None), empty + 1
        silent = (
            f"{len(missing)} without a box, at most {max(missing, default=0)} slices from an end"
        )
        print(
            f"{name}: IoU {np.mean(found):.3f} over {len(found)} slices, {silent}; {called} of "
            f"{empty} others have one"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
