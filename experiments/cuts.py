"""What a cut of the activation is worth where it alone gives the box: `sam_pp` from tags, on its
test scans.

    fewmask sweep experiments/ct-liver-dev.toml ...
    python experiments/cuts.py runs/ct-liver-dev/sam_pp-coarse=cam-0s-draw0-seed0-370steps/run

Per part of the peak that is kept: Dice over all slices, mean over scans, and the mean overlap of
its boxes with true ones on slices that hold the structure. Nothing is trained again. One structure.
`--rows FILE.csv` adds a line per run, scan and cut.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from boxes import iou
from quantities import RUN, add, arguments, named

from fewmask.evaluate.scores import score_case
from fewmask.evaluate.surfaces import box_edges
from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.predict import Predictor
from fewmask.predict.work import load_prepared

CUTS = (50 / 255, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def measure(predictor: Predictor, prepared: Prepared, case: str) -> tuple[list[float], list[float]]:
    """Dice of every structure of a scan, and overlaps of the first one's boxes with true ones."""
    with prepared.case(case) as file:
        truth, spacing = file.labels(range(file.shape[0])), file.spacing_mm
    prediction = predictor.volume(load_prepared(prepared, case))
    scores = score_case(case, prediction.label_map.voxels, truth, spacing, prepared.classes)
    overlaps = []
    for line in (prediction.prompts or {"slices": []})["slices"]:
        own, mask = line["boxes_raw"][0], truth[line["d"]] == 1
        if mask.any() and own is not None:
            overlaps.append(iou(np.array(own), box_edges(mask)))
    return [score.dice for score in scores], overlaps


def main(path: Path, rows: Path | None = None) -> None:
    """Print one line per cut."""
    run, predictor = RunFolder.open(path), Predictor.load(path)
    prepared = run.open_prepared()
    for cut in CUTS:
        config: Any = predictor.method.config
        predictor.method.config = replace(config, cam_cut=cut)
        found = {case: measure(predictor, prepared, case) for case in run.read_split().test}
        dice = [value for values, _ in found.values() for value in values]
        overlaps = [value for _, values in found.values() for value in values]
        print(
            f"cut {cut:.2f}: Dice {np.mean(dice):.3f}, IoU of boxes {np.mean(overlaps):.3f} "
            f"over {len(overlaps)} slices",
            flush=True,
        )
        lines = [
            named(path)
            | {
                "case": case,
                "cut": cut,
                "dice": float(np.mean(of_case)),
                "boxes": len(boxes),
                "iou": float(np.mean(boxes)) if boxes else None,
            }
            for case, (of_case, boxes) in found.items()
        ]
        add(rows, [*RUN, "case", "cut"], lines)


if __name__ == "__main__":
    folders, file = arguments(__doc__)
    for folder in folders:
        main(folder, file)
