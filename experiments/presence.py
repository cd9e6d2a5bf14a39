"""How well a run tells slices that hold the structure from those that do not: P(present) over the
slices of its test scans.

    # needs `fewmask evaluate` or a sweep to have predicted
    python experiments/presence.py RUN [RUN ...]

AUC (the chance that a slice with it gets the higher P), and the 5th, 50th and 95th percentile of P
with and without it: an AUC near 1 beside a median without it of 0.5 is a head that ranks well and
says yes to everything. Then mistakes at P = 0.5, and at the P that a slope and an offset of the
logit say, fitted to the tags of the training scans. One structure.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import logit
from scipy.stats import mannwhitneyu

from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.io.text import read_json
from fewmask.predict import load_predictor
from fewmask.predict.folder import load_prepared


def there(prepared: Prepared, case: str) -> np.ndarray:
    """Slices that hold it: of a training scan, its tags."""
    with prepared.case(case) as file:
        return np.array([mask.any() for mask in file.labels(range(file.shape[0]))])


def fitted(logits: np.ndarray, truth: np.ndarray) -> float:
    """The logit at which a logistic curve through these answers is 1/2."""

    def loss(weights: np.ndarray) -> float:
        z = weights[0] * logits + weights[1]
        return float(np.mean(np.logaddexp(0, z) - truth * z))

    slope, offset = minimize(loss, [1.0, 0.0]).x
    return float(-offset / slope)


def main(path: Path) -> None:
    """Print what the test scans say, and the mistakes before and after the fit."""
    run = RunFolder.open(path)
    prepared = run.open_prepared()
    predictor = load_predictor(path)

    def learned(case: str) -> list[dict[str, Any]]:
        prompts = predictor.volume(load_prepared(prepared, case)).prompts
        if prompts is None:
            raise SystemExit(f"{path}: its method asks for no prompts")
        return list(prompts["slices"])

    def tested(case: str) -> list[dict[str, Any]]:
        file = run.predictions / f"{case}.prompts.json"
        return list(read_json(file, max_bytes=2**28)["slices"])

    def gather(
        cases: tuple[str, ...], ask: Callable[[str], list[dict[str, Any]]]
    ) -> tuple[np.ndarray, np.ndarray]:
        lines = [
            (line["present"][0], truth[line["d"]])
            for case in cases
            for truth in [there(prepared, case)]
            for line in ask(case)
        ]
        probs, truths = (np.array(part) for part in zip(*lines, strict=True))
        return logit(probs.astype(float).clip(1e-6, 1 - 1e-6)), truths

    seen, held = gather(run.read_split().test, tested)
    auc = mannwhitneyu(seen[held], seen[~held]).statistic / (held.sum() * (~held).sum())
    for some, what in ((held, "with"), (~held, "without")):
        quantiles = np.percentile(1 / (1 + np.exp(-seen[some])), [5, 50, 95])
        print(
            f"{path.parent.name}: AUC {auc:.3f}, P {what} it "
            + " ".join(f"{p:.2f}" for p in quantiles)
        )
    for name, cut in (("0.5", 0.0), ("tags", fitted(*gather(run.read_split().train, learned)))):
        called, missed = (seen[~held] >= cut).sum(), (seen[held] < cut).sum()
        wrong = (
            f"{called} of {(~held).sum()} slices without it called, {missed} of {held.sum()} missed"
        )
        print(f"  cut by {name}, P = {1 / (1 + np.exp(-cut)):.2f}: {wrong}")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        main(Path(argument))
