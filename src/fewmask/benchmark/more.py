"""How many more outlines bring how much, from a person's own runs of three budgets or more."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fewmask.benchmark.compare import group
from fewmask.benchmark.rows import AUTOMATIC, RAW, RunRow, as_rows, finished_run, read_scored
from fewmask.core.errors import BadDataset
from fewmask.core.words import command, count
from fewmask.evaluate.growth import FARTHEST, LEAST_BUDGETS, Growth, fit_growth
from fewmask.evaluate.intervals import Interval
from fewmask.evaluate.scores import CaseScore
from fewmask.io.run import RunFolder
from fewmask.io.tables import read_csv
from fewmask.io.text import expecting
from fewmask.quality.tables import COLUMNS, FILE, MEAN

PREDICTED = "predicted quality"
"""Domain of rows whose Dice nobody measured."""


@dataclass(frozen=True)
class Series:
    """Runs that differ in their budget, draw and seed alone, on the patients that all scored."""

    name: str
    """Method, settings, clean-up, time."""
    domain: str
    unit: str
    """`slice` or `volume`."""
    budgets: tuple[int, ...]
    scores: Float[np.ndarray, "budgets patients"]
    """Dice: means over structures, scans, draws and seeds."""
    runs: tuple[tuple[float, ...], ...]
    """Per budget the mean Dice of each run."""

    def without_largest(self) -> "Series":
        """The same without its largest budget."""
        return Series(
            self.name, self.domain, self.unit, self.budgets[:-1], self.scores[:-1], self.runs[:-1]
        )


@dataclass(frozen=True)
class More:
    """What a series says of further outlines."""

    name: str
    domain: str
    """`test`, the name of other scans, or `predicted quality`."""
    unit: str
    dice: Mapping[int, float]
    """Budget -> mean Dice."""
    patients: int
    gain: float
    needed: Interval | None
    """Outlines beyond the largest budget; `high` may be infinite: unknown. None: cannot know."""
    why: str = ""
    """Why nobody can know."""

    def __str__(self) -> str:
        """`unet: about 20 more slices for +0.01 (8 to unknown)`, and what it rests on."""
        by = " (predicted, not measured)" if self.domain == PREDICTED else ""
        seen = ", ".join(f"{n}: {dice:.3f}" for n, dice in self.dice.items())
        rests = f"Dice{by} by {self.unit}s: {seen or 'none'}; {count(self.patients, 'patient')}"
        if self.needed is None:
            return f"{self.name}: cannot know: {self.why}; {rests}"
        high = "unknown" if math.isinf(self.needed.high) else _about(self.needed.high)
        number = _about(self.needed.mean)
        units = f"{self.unit}{'s' if number != '1' else ''}"
        return (
            f"{self.name}: about {number} more {units} for {self.gain:+.3g} "
            f"({_about(self.needed.low)} to {high}); {rests}"
        )


def more(series: Series, gain: float) -> More:
    """How many more outlines bring `gain` in mean Dice; silent where that cannot be known."""

    def said(needed: Interval | None, why: str = "") -> More:
        patients = series.scores.shape[1]
        means = map(float, series.scores.mean(1)) if patients else ()
        dice = dict(zip(series.budgets, means, strict=False))
        return More(series.name, series.domain, series.unit, dice, patients, gain, needed, why)

    if why := too_little(series):
        return said(None, why)
    growth = fit_growth(series.budgets, series.scores, series.runs)
    if why := not_rising(growth):
        return said(None, why)
    needed = growth.more(gain)
    if math.isinf(needed.mean):
        end = 1 - float(growth.fit.error(FARTHEST * series.budgets[-1])[0])
        why = f"the curve ends at Dice {end:.3f} with {FARTHEST} times as many {series.unit}s"
        return said(None, why)
    return said(needed)


def too_little(series: Series) -> str:
    """Why there is nothing to fit; empty where there is."""
    budgets, patients = series.scores.shape
    if budgets < LEAST_BUDGETS:
        return f"{count(budgets, 'budget')}, at least {LEAST_BUDGETS} are needed"
    return "" if patients > 1 else f"{count(patients, 'patient')} scored by all of these runs"


def not_rising(growth: Growth) -> str:
    """Why no law can be trusted; empty where scores rise beyond chance."""
    if growth.rise.low > 0:
        return ""
    first, last = growth.budgets[0], growth.budgets[-1]
    return (
        f"scores do not rise beyond chance: {growth.rise.mean:+.3f} ({growth.rise.ends(3, '+')}) "
        f"from {first} to {last}"
    )


def series_of(rows: Sequence[RunRow]) -> Iterator[Series]:
    """Series of rows, those of one budget included: masks without a helper, per domain."""
    parts: dict[tuple[str, str, str], dict[int, list[RunRow]]] = {}
    own = [row for row in rows if row.prompts == AUTOMATIC]
    for setting, runs in group(own).items():
        number, unit = setting.budget.split()
        for row in runs:
            name = f"{setting.name}, {setting.time}"
            key = (name, row.domain, unit.removesuffix("s"))
            parts.setdefault(key, {}).setdefault(int(number), []).append(row)
    for (name, domain, unit), by_budget in parts.items():
        yield _series(name, domain, unit, dict(sorted(by_budget.items())))


def read_runs(paths: Sequence[Path]) -> list[RunRow]:
    """Rows of tables and of run folders. A run without scores gives what its masks' quality is
    predicted to be (domain `predicted quality`).

    Raises `BadDataset` (S04) for a run with neither, and for a table without a row.
    """
    rows = []
    for path in paths:
        scored = not path.is_dir() or RunFolder.open(path).metrics.exists()
        rows += read_scored([path]) if scored else _predicted(path)
    return rows


def _predicted(path: Path) -> list[RunRow]:
    """Rows from `quality.csv`: of scans that this run did not learn outlines of."""
    run = RunFolder.open(path)
    run.check_own()
    table = run.predictions / FILE
    if not table.exists():
        raise BadDataset(
            "the run has neither scores nor predicted quality",
            where=str(path),
            did="nothing was fitted",
            fix=f"{command('evaluate', path)}, or predict scans with it",
            code="S04",
        )
    budget = run.read_budget()
    owners = {case for case, _ in budget.slices} | set(budget.volumes)
    with expecting(table, kind=BadDataset, fix="predict the scans again"):
        scores = [
            _as_score(line["case"], line["structure"], float(line["dice"]))
            for line in read_csv(table, COLUMNS)
            if line["structure"] != MEAN and line["dice"] and line["case"] not in owners
        ]
    return as_rows(finished_run(path), PREDICTED, scores, [], {}, RAW)


def _as_score(case: str, label: str, dice: float) -> CaseScore:
    nan = math.nan
    return CaseScore(case, label, dice, nan, nan, nan, nan, nan, nan, nan, nan, "ok")


def _series(name: str, domain: str, unit: str, runs: Mapping[int, Sequence[RunRow]]) -> Series:
    """Means per patient, of (patient, case, structure) that every run scored."""
    tables: dict[int, dict[tuple[int, int], dict[tuple[str, ...], float]]] = {}
    for budget, rows in runs.items():
        for row in rows:
            if (value := row.number("dice")) is not None:
                own = tables.setdefault(budget, {}).setdefault((row.draw, row.seed), {})
                own[row.patient, row.case, row.label] = value
    every = [set(one) for by_run in tables.values() for one in by_run.values()]
    shared = sorted(set.intersection(*every)) if every else []
    patients = sorted({place[0] for place in shared})
    means: list[list[float]] = []
    of_runs: list[tuple[float, ...]] = []
    for by_run in tables.values():
        each = np.array([_by_patient(one, shared, patients) for one in by_run.values()])
        means.append(list(each.mean(0)))
        of_runs.append(tuple(float(run) for run in each.mean(1)) if patients else ())
    scores = np.array(means, float).reshape(len(tables), len(patients))
    return Series(name, domain, unit, tuple(tables), scores, tuple(of_runs))


def _by_patient(
    dice: Mapping[tuple[str, ...], float],
    shared: Sequence[tuple[str, ...]],
    patients: Sequence[str],
) -> list[float]:
    return [
        float(np.mean([dice[place] for place in shared if place[0] == patient]))
        for patient in patients
    ]


def _about(number: float) -> str:
    """Two digits are more than the fit knows."""
    return f"{max(1, round(float(f'{number:.2g}')))}"
