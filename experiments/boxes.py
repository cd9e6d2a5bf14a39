"""How well a run's own boxes agree with the true ones: mean IoU over the slices of its test scans
that hold the structure.

    # needs `fewmask evaluate` or a sweep to have predicted
    python experiments/boxes.py runs/ct-liver-dev/RUN/run

Slices without a box of the model's own are counted beside, not averaged, with how far they lie from
an end of the structure; so are slices that do not hold the structure and got a box. `--rows
FILE.csv` adds a line per run, scan and structure.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from quantities import RUN, add, arguments, named

from fewmask.evaluate.surfaces import box_edges
from fewmask.io.run import RunFolder
from fewmask.io.text import read_json


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of two boxes (x0, y0, x1, y1)."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(sides.clip(0)))
    return shared / (float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared)


@dataclass(frozen=True)
class Boxes:
    """Of one structure in one scan."""

    overlaps: tuple[float, ...]
    """With the true box, of slices that hold it and got a box."""
    silent: tuple[int, ...]
    """Slices that hold it and got none: how far from its nearer end."""
    others: int
    """Slices that do not hold it."""
    called: int
    """Those of them with a box."""


def boxes(run: RunFolder, case: str, index: int) -> Boxes:
    """What a run's prompts say of structure `index` in a scan."""
    with run.open_prepared().case(case) as file:
        truth = file.labels(range(file.shape[0])) == index + 1
    there = np.flatnonzero(truth.any((1, 2)))
    overlaps, silent, others, called = [], [], 0, 0
    for line in read_json(run.predictions / f"{case}.prompts.json", max_bytes=2**28)["slices"]:
        own, mask = line["boxes_raw"][index], truth[line["d"]]
        if mask.any() and own is None:
            silent.append(int(min(line["d"] - there[0], there[-1] - line["d"])))
        elif mask.any():
            overlaps.append(iou(np.array(own), box_edges(mask)))
        else:
            called, others = called + (own is not None), others + 1
    return Boxes(tuple(overlaps), tuple(silent), others, called)


def main(path: Path, rows: Path | None = None) -> None:
    """Print one line per structure."""
    run = RunFolder.open(path)
    for index, name in enumerate(run.open_prepared().classes):
        found = {case: boxes(run, case, index) for case in run.read_split().test}
        overlaps = [overlap for one in found.values() for overlap in one.overlaps]
        silent = [distance for one in found.values() for distance in one.silent]
        called, others = (
            sum(one.called for one in found.values()),
            sum(one.others for one in found.values()),
        )
        print(
            f"{name}: IoU {np.mean(overlaps):.3f} over {len(overlaps)} slices, {len(silent)} "
            f"without a box, at most {max(silent, default=0)} slices from an end; {called} of "
            f"{others} others have one"
        )
        lines = [
            named(path)
            | {
                "case": case,
                "class": name,
                "boxes": len(one.overlaps),
                "iou": float(np.mean(one.overlaps)) if one.overlaps else None,
                "silent": len(one.silent),
                "farthest": max(one.silent, default=None),
                "others": one.others,
                "called": one.called,
            }
            for case, one in found.items()
        ]
        add(rows, [*RUN, "case", "class"], lines)


if __name__ == "__main__":
    folders, file = arguments(__doc__)
    for folder in folders:
        main(folder, file)
