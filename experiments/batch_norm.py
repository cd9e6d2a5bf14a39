"""How much of a 3D method's result hangs on what its batch norms have seen: statistics taken anew
from all training scans.

    python experiments/batch_norm.py runs/mr-left-atrium/RUN/run ...

For runs with `norm=batch`. What `--set renew_norms=true` does at the end of training: weights stay
as they are and no mask is looked at. Prints Dice over the test scans as the run left it and with
the new statistics.
"""

import sys
from pathlib import Path

import numpy as np

from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.predict import Predictor
from fewmask.predict.work import load_prepared
from fewmask.training.batch_norm import renew_norms


def dices(predictor: Predictor, prepared: Prepared, cases: list[str]) -> list[float]:
    """Mean Dice over the structures, per scan."""
    found = []
    for case in cases:
        with prepared.case(case) as file:
            truth = file.labels(range(file.shape[0]))
        mask = predictor.volume(load_prepared(prepared, case)).label_map.voxels
        pairs = [(mask == k, truth == k) for k in range(1, predictor.task.k + 1)]
        found.append(
            float(np.mean([2 * np.sum(p & t) / (np.sum(p) + np.sum(t)) for p, t in pairs]))
        )
    return found


def main(path: Path) -> None:
    """Print one line."""
    run = RunFolder.open(path)
    prepared = run.open_prepared()
    split = run.read_split()
    predictor = Predictor.load(path)
    before = dices(predictor, prepared, list(split.test))
    renew_norms(predictor, (load_prepared(prepared, case) for case in split.train))
    after = dices(predictor, prepared, list(split.test))
    values = "; ".join(f"{a:.2f} -> {b:.2f}" for a, b in zip(before, after, strict=True))
    print(f"{path.parent.name}: Dice {np.mean(before):.3f} -> {np.mean(after):.3f} ({values})")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        main(Path(argument))
