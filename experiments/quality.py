"""Quality without truth: how well the signs of a mask say its Dice.

    python experiments/quality.py measure SET RUN DATA [RUN DATA ...]   # rows, appended
    python experiments/quality.py fit                                   # table and numbers

`measure` predicts the scans that RUN kept aside (test part of its split) and scores them against
DATA/labels; SET is the name of the data set. `fit` prints the table of docs/quality.md, where every
row was predicted by a mapping that saw no scan of the row's set, and the numbers of the shipped
mapping (src/fewmask/quality/prior.py), fitted to all rows.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from fewmask.core.volume import LabelMap
from fewmask.io.image import read_labels, read_volume
from fewmask.io.run import RunFolder
from fewmask.io.tables import append_csv, read_csv
from fewmask.predict import Predictor, open_cleanup
from fewmask.predict.quality import look_at
from fewmask.quality.estimate import (
    NAMES,
    Prior,
    Sample,
    doubt_scores,
    expect,
    features_of,
    fit_prior,
    volume_scores,
)
from fewmask.quality.signs import Signs

ROWS = Path(__file__).parent / "rows" / "quality.csv"
COLUMNS = ("set", "method", "budget", "draw", "case", "structure", "signs", "dice")


def dice_of(mask: np.ndarray, truth: np.ndarray) -> float | None:
    """None where the scan lacks the structure."""
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum())) if truth.any() else None


def measure(name: str, run: Path, data: Path, kept_aside: tuple[str, ...] = ()) -> None:
    """Append a row per kept-aside scan and structure."""
    record, folder = RunFolder.open(run).read_record(), RunFolder.open(run)
    predictor, cleanup = Predictor.load(run), open_cleanup(run)
    predictor.with_confidence = True
    for case in kept_aside or folder.read_split().test:
        volume = read_volume(data / "images" / f"{case}.nii.gz")
        truth = read_labels(data / "labels" / f"{case}.nii.gz").voxels
        drawn = predictor.volume(volume)
        signs = look_at(drawn, cleanup.apply(drawn), volume, record.task.k)
        mask: LabelMap = cleanup.apply(drawn).label_map
        rows = []
        for number, (structure, value) in enumerate(record.labels or [], 1):
            wanted = truth == int(value)
            rows.append(
                {
                    "set": name,
                    "method": record.method,
                    "budget": record.provided.labelled_slices,
                    "draw": run.parent.name if run.name == "run" else run.name,
                    "case": case,
                    "structure": structure,
                    "signs": json.dumps(signs[number - 1].as_dict()),
                    "dice": dice_of(mask.voxels == number, wanted),
                }
            )
        append_csv(ROWS, COLUMNS, rows)
        print(name, run, case, rows[0]["dice"], signs[0].expected, flush=True)


@dataclass(frozen=True)
class Row:
    """A mask with its signs and true Dice; the folder it would be in is its run."""

    group: str
    """The data set."""
    run: str
    case: str
    signs: Signs
    score: float
    dice: float
    doubt: float = 0.0
    """Beside the other masks of its run."""

    @property
    def family(self) -> str:
        """Sets that share scans or networks: they are left out together."""
        return "ct" if self.group.startswith("ct-") else self.group.removesuffix("-more")


def read_rows() -> list[Row]:
    """Masks of structures that are there. Volumes are compared within a run."""
    lines = read_csv(ROWS, COLUMNS)
    folders: dict[tuple[str, str], list[dict[str, str]]] = {}
    for line in lines:
        folders.setdefault((line["set"], f"{line['draw']} {line['structure']}"), []).append(line)
    rows = []
    for (group, run), inside in folders.items():
        signs = [Signs.from_dict(json.loads(line["signs"])) for line in inside]
        scores = volume_scores([one.ml for one in signs])
        doubts = doubt_scores([one.doubt for one in signs])
        rows += [
            Row(group, run, line["case"], one, score, float(line["dice"]), doubt)
            for line, one, score, doubt in zip(inside, signs, scores, doubts, strict=True)
            if line["dice"]
        ]
    return rows


def samples(rows: Sequence[Row]) -> list[Sample]:
    """Of masks that are not empty."""
    seen = [(row, features_of(row.signs, row.score)) for row in rows if row.signs.ml]
    return [Sample(x, row.dice, row.family) for row, x in seen if x is not None]


def judge(rows: Sequence[Row], prior: Prior) -> np.ndarray:
    """Expected, low, high and true Dice of each."""
    made = [(expect(row.signs, prior, row.score, doubt_score=row.doubt), row.dice) for row in rows]
    return np.array([(one.dice, one.low, one.high, dice) for one, dice in made], float)


def shown_early(expected: np.ndarray, true: np.ndarray) -> float:
    """Share of the worst fifth that stands in the first third of the queue."""
    n = len(true)
    worst, first = true.argsort()[: max(n // 5, 1)], expected.argsort()[: int(np.ceil(n / 3))]
    return float(np.isin(worst, first).mean())


def line_of(name: str, rows: Sequence[Row], prior: Prior) -> str:
    """A line of the table: of masks that are not empty, since the others are easy to tell."""
    empty = sum(not row.signs.ml for row in rows)
    rows = [row for row in rows if row.signs.ml]
    if len(rows) < 3:
        return f"| {name} | {len(rows)} + {empty} empty | - |"
    values = judge(rows, prior)
    expected, low, high, true = values.T
    rank = spearmanr(expected, true).statistic
    error, inside = np.abs(expected - true).mean(), ((low <= true) & (true <= high)).mean()
    runs = sorted({row.run for row in rows})
    within = [
        (spearmanr(part[:, 0], part[:, 3]).statistic, shown_early(part[:, 0], part[:, 3]))
        for run in runs
        if len(part := judge([row for row in rows if row.run == run], prior)) >= 6
    ]
    inner, early = np.nanmean(within, axis=0) if within else (np.nan, np.nan)
    numbers = (true.mean(), rank, inner, error, inside, shown_early(expected, true), early)
    cells = " | ".join("-" if np.isnan(n) else f"{n:.2f}" for n in numbers)
    return f"| {name} | {len(rows)} + {empty} | {len(runs)} | {cells} |"


def fit() -> None:
    """Print the table and the numbers of the shipped mapping."""
    rows = read_rows()
    for group in sorted({row.group for row in rows}):
        mine = [row for row in rows if row.group == group]
        others = [row for row in rows if row.family != mine[0].family]
        print(line_of(group, mine, fit_prior(samples(others))))
    prior = fit_prior(samples(rows))
    print(line_of("all, seen", rows, prior))
    print(dict(zip(NAMES, prior.weights, strict=True)))
    print(prior)


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    if verb == "measure":
        name, *pairs = words
        for run, data in zip(pairs[::2], pairs[1::2], strict=True):
            cases = tuple(p.name[:-7] for p in sorted(Path(data, "images").glob("*.nii.gz")))
            measure(
                name,
                Path(run),
                Path(data),
                cases if name in ("ct-other", "mr-left-atrium-more") else (),
            )
    else:
        fit()
