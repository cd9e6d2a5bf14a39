"""How much of a 3D method's result hangs on what its batch norms have seen: statistics taken anew from all training scans.

    python experiments/batch_norm.py runs/mr-left-atrium/RUN/run ...

Weights stay as they are and no mask is looked at; only means and variances are those of the run's training scans, labelled or
not. Prints Dice over the test scans as the run left it and with the new statistics.
"""

import sys
from pathlib import Path

import numpy as np
from torch import nn

from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.predict import Predictor
from fewmask.predict.folder import load_prepared


def dices(predictor: Predictor, prepared: Prepared, cases: list[str]) -> list[float]:
    """Mean Dice over the structures, per scan."""
    found = []
    for case in cases:
        with prepared.case(case) as file:
            truth = file.labels(range(file.shape[0]))
        mask = predictor.volume(load_prepared(prepared, case)).label_map.voxels
        pairs = [(mask == k, truth == k) for k in range(1, predictor.task.k + 1)]
        found.append(float(np.mean([2 * np.sum(p & t) / (np.sum(p) + np.sum(t)) for p, t in pairs])))
    return found


def see(predictor: Predictor, prepared: Prepared, cases: list[str]) -> None:
    """Average the statistics of every window of these scans; dropout stays off, weights do not move."""
    norms = [part for part in predictor.method.modules() if isinstance(part, nn.BatchNorm3d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over windows
        norm.train()
    for case in cases:
        predictor.volume(load_prepared(prepared, case))
    for norm in norms:
        norm.eval()


def main(path: Path) -> None:
    """Print one line."""
    run = RunFolder.open(path)
    prepared = Prepared.open(Path(run.read_config()["prepared"]))
    split = run.read_split()
    predictor = Predictor.load(path)
    before = dices(predictor, prepared, list(split.test))
    see(predictor, prepared, list(split.train))
    after = dices(predictor, prepared, list(split.test))
    values = "; ".join(f"{a:.2f} -> {b:.2f}" for a, b in zip(before, after, strict=True))
    print(f"{path.parent.name}: Dice {np.mean(before):.3f} -> {np.mean(after):.3f} ({values})")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        main(Path(argument))
