"""How well a run tells slices that hold the structure from those that do not: P(present) over the
slices of its test scans.

    # needs `fewmask evaluate` or a sweep to have predicted
    python experiments/presence.py RUN [RUN ...]

AUC (the chance that a slice with it gets the higher P), and the 5th, 50th and 95th percentile of P
with and without it: an AUC near 1 beside a median without it of 0.5 is a head that ranks well and
says yes to everything. Then mistakes at P = 0.5, and at the P that a slope and an offset of the
logit say, fitted to the tags of the training scans. One structure. `--rows FILE.csv` adds a line
per run and scan.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from quantities import RUN, add, arguments, named
from scipy.optimize import minimize
from scipy.special import logit
from scipy.stats import mannwhitneyu

from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.io.text import read_json
from fewmask.predict import load_predictor
from fewmask.predict.work import load_prepared


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


def asked(
    prepared: Prepared, case: str, ask: Callable[[str], list[dict[str, Any]]]
) -> tuple[np.ndarray, np.ndarray]:
    """Logit of P(present) of each slice that `ask` speaks of, and whether it holds it."""
    truth = there(prepared, case)
    lines = [(line["present"][0], truth[line["d"]]) for line in ask(case)]
    probs, truths = (np.array(part) for part in zip(*lines, strict=True))
    return logit(probs.astype(float).clip(1e-6, 1 - 1e-6)), truths


def area(logits: np.ndarray, held: np.ndarray) -> float:
    """Chance that a slice with it gets the higher P; NaN where there is only one kind."""
    if held.all() or not held.any():
        return float("nan")
    statistic = mannwhitneyu(logits[held], logits[~held]).statistic
    return float(statistic / (held.sum() * (~held).sum()))


def main(path: Path, rows: Path | None = None) -> None:
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

    split = run.read_split()
    found = {case: asked(prepared, case, tested) for case in split.test}
    taught = [asked(prepared, case, learned) for case in split.train]
    seen, held = (np.concatenate(part) for part in zip(*found.values(), strict=True))
    fit = fitted(*(np.concatenate(part) for part in zip(*taught, strict=True)))
    for some, what in ((held, "with"), (~held, "without")):
        quantiles = np.percentile(1 / (1 + np.exp(-seen[some])), [5, 50, 95])
        print(
            f"{path.parent.name}: AUC {area(seen, held):.3f}, P {what} it "
            + " ".join(f"{p:.2f}" for p in quantiles)
        )
    for name, cut in (("0.5", 0.0), ("tags", fit)):
        called, missed = (seen[~held] >= cut).sum(), (seen[held] < cut).sum()
        wrong = (
            f"{called} of {(~held).sum()} slices without it called, {missed} of {held.sum()} missed"
        )
        print(f"  cut by {name}, P = {1 / (1 + np.exp(-cut)):.2f}: {wrong}")
    lines = [
        named(path) | {"case": case} | mistakes(logits, truth, fit)
        for case, (logits, truth) in found.items()
    ]
    add(rows, [*RUN, "case"], lines)


def mistakes(logits: np.ndarray, held: np.ndarray, fit: float) -> dict[str, object]:
    """Columns of one scan."""
    columns: dict[str, object] = {
        "with_it": int(held.sum()),
        "without_it": int((~held).sum()),
        "auc": area(logits, held),
        "p_of_fit": float(1 / (1 + np.exp(-fit))),
    }
    for name, cut in (("half", 0.0), ("fit", fit)):
        columns[f"called_{name}"] = int((logits[~held] >= cut).sum())
        columns[f"missed_{name}"] = int((logits[held] < cut).sum())
    return columns


if __name__ == "__main__":
    folders, file = arguments(__doc__)
    for folder in folders:
        main(folder, file)
