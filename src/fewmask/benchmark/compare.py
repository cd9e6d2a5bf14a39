"""Tables from rows of runs: means over draws and seeds with their spread, and paired differences
between methods.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from fewmask.benchmark.published import SOURCES, published
from fewmask.benchmark.rows import (
    AUTOMATIC,
    GIVEN,
    LEARNED,
    METRICS,
    ORACLE,
    RAW,
    UNLIKE,
    RunKey,
    RunRow,
    to_texts,
)
from fewmask.core.errors import BadConfig
from fewmask.core.renamed import todays_name
from fewmask.evaluate.differences import Difference, compare, correct
from fewmask.evaluate.protocols import NOTES, Protocol

_T = TypeVar("_T")
_EMPTY = "empty"
CLEANED_BY = {RAW: "", LEARNED: " + clean-up", GIVEN: " + clean-up by another rule"}
"""What stands behind a setting's name."""


@dataclass(frozen=True)
class Setting:
    """A method with its settings, budget and time: what is repeated over draws and seeds."""

    method: str
    settings: str
    """Without what all runs of the method share."""
    budget: str
    """`5 slices`, `12 volumes`."""
    time: str
    """`10 min`, `400 steps`."""
    written: str = ""
    """Settings as the rows have them."""
    cleanup: str = RAW
    """What masks were cleaned by, as in `RunRow`."""

    @property
    def name(self) -> str:
        """Method, settings and clean-up: `unet lr=0.01 + clean-up`."""
        return self.plain_name + CLEANED_BY[self.cleanup]

    @property
    def plain_name(self) -> str:
        """Method and settings."""
        return f"{self.method} {self.settings}".strip()


@dataclass(frozen=True)
class Spread:
    """Mean over runs (each the mean over its volumes), and their standard deviation (NaN with one
    run).
    """

    mean: float
    sd: float
    runs: int

    def text(self, digits: int) -> str:
        """`0.921 ± 0.002`; without spread for one run, empty for none."""
        if not self.runs:
            return ""
        mean = f"{self.mean:.{digits}f}"
        return f"{mean} ± {self.sd:.{digits}f}" if self.runs > 1 else mean


@dataclass(frozen=True)
class Pair:
    """Paired difference in Dice, a minus b: per patient, averaged over the draws and seeds that
    both have.
    """

    a: Setting
    b: Setting
    domain: str
    difference: Difference
    unlike: str = ""
    """`float32 against bfloat16`, where some of the paired runs did not learn, or were not asked,
    in the same way.
    """

    def __str__(self) -> str:
        """One sentence that calls a winner only where there is enough to call one."""
        a, b = self.a.name, self.b.name
        if self.a.time != self.b.time:
            a, b = f"{a} ({self.a.time})", f"{b} ({self.b.time})"
        unlike = f" ({self.unlike})" if self.unlike else ""
        return f"{self.domain}, {self.a.budget}: {a} minus {b} {self.difference}{unlike}"


def group(rows: Sequence[RunRow]) -> dict[Setting, list[RunRow]]:
    """Rows by setting: methods in order of appearance, each as it is first, slices before volumes,
    few and short first.
    """
    common = shared(rows)
    groups: dict[Setting, list[RunRow]] = {}
    for row in rows:
        groups.setdefault(_setting(row, common), []).append(row)
    methods = _distinct(setting.method for setting in groups)
    names = _distinct(setting.name for setting in groups)

    def order(setting: Setting) -> tuple[int, bool, int, bool, int, float]:
        number, unit = setting.budget.split()
        return (
            methods.index(setting.method),
            bool(setting.settings),
            names.index(setting.name),
            unit.startswith("volume"),
            int(number),
            float(setting.time.split()[0]),
        )

    return {setting: groups[setting] for setting in sorted(groups, key=order)}


def shared(rows: Sequence[RunRow]) -> dict[str, tuple[str, ...]]:
    """Method -> settings that all of its rows have: they tell nothing apart, names leave them out,
    tables say them once.
    """
    common: dict[str, tuple[str, ...]] = {}
    for row in rows:
        words = row.settings.split()
        before = common.get(row.method, words)
        common[row.method] = tuple(word for word in before if word in words)
    return common


def spread(rows: Sequence[RunRow], column: str) -> Spread:
    """Over runs. Volumes in which the number has no meaning are left out; slices count equally in
    the paper's protocol.
    """
    runs: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for row in rows:
        value = row.number(column)
        if value is not None:
            weight = float(row.sam_mix_slices or 0) if column.startswith("sam_mix") else 1.0
            runs.setdefault((row.draw, row.seed), []).append((value, weight))
    means: list[float] = []
    for pairs in runs.values():
        values, weights = np.array(pairs, float).T
        means.append(float(np.average(values, weights=weights)))
    if not means:
        return Spread(math.nan, math.nan, 0)
    sd = float(np.std(means, ddof=1)) if len(means) > 1 else math.nan
    return Spread(float(np.mean(means)), sd, len(means))


def differences(rows: Sequence[RunRow], against: str, protocol: Protocol = "default") -> list[Pair]:
    """Every setting against the one called `against` at the same budget, in Dice; at the same time
    too where that is there.

    Methods whose steps cost differently are compared at different numbers of steps, and the
    sentence says so. `vnet, 2000 steps` names one of several times. All of them are one table:
    what is decided is decided among them. Raises `BadConfig` if no setting has that name.
    """
    groups = group([row for row in rows if row.prompts == AUTOMATIC])
    against = todays_name(against)
    references: list[Setting] = []
    for place in (0, 1):  # "unet" means masks as drawn, and cleaned ones where there are no others
        references = references or [
            setting
            for setting in groups
            for name in [(setting.name, setting.plain_name)[place]]
            if against in (name, f"{name}, {setting.time}")
        ]
    if not references:
        names = _distinct(setting.name for setting in groups)
        raise BadConfig(
            f"no run is called {against!r}",
            did="nothing was written",
            fix=f"use one of: {'; '.join(names)}",
            code="C02",
        )
    dice = METRICS[protocol][0].column
    pairs = []
    for a, rows_a in groups.items():
        if a in references:
            continue
        at_budget = [b for b in references if b.budget == a.budget]
        at_time = [b for b in at_budget if b.time == a.time]
        for b in at_time or at_budget:
            for domain in _domains(rows_a):
                pairs.append(_pair(a, b, domain, rows_a, groups[b], dice))
    corrected = correct([pair.difference for pair in pairs])
    return [
        replace(pair, difference=difference)
        for pair, difference in zip(pairs, corrected, strict=True)
    ]


def table(rows: Sequence[RunRow], protocol: Protocol = "default") -> str:
    """Markdown: a line per setting, automatic prompts and the true-box bound per domain; columns
    that say nothing are left out.

    Below it stands what all runs of a method share. In a protocol of the literature, its published
    numbers stand last, each once: beside its method as it is, not beside the changes that follow
    (`published`). Empty predictions are counted, since their distances are not distances. Raises
    `BadConfig` if no row has that protocol's numbers.
    """
    metrics = [metric for metric in METRICS[protocol] if metric.head]
    if rows and all(getattr(row, metrics[0].column) is None for row in rows):
        raise BadConfig(
            f"these rows hold no numbers of {protocol}",
            did="nothing was written",
            fix=f'say protocol = "{protocol}" in the sweep\'s file before it runs; '
            f"for one run: `fewmask evaluate RUN` with `protocol={protocol}`",
            code="C02",
        )
    domains = _domains(rows)
    heads = ["method", "budget", "time", "steps", *UNLIKE, "runs"]
    for domain in domains:
        first, *others = (metric.head for metric in metrics)
        heads += [f"{domain}: {first}", *others, _EMPTY, "Dice with true boxes (bound)"]
    groups = group(rows)
    body = [_table_line(setting, runs, domains, protocol) for setting, runs in groups.items()]
    if protocol in SOURCES:
        heads.append(SOURCES[protocol])
        for line, cell in zip(body, _published_cells(groups, protocol), strict=True):
            line.append(cell)
    return _markdown(*_informative(heads, body)) + _below(rows, protocol)


def structures(rows: Sequence[RunRow], protocol: Protocol = "default") -> str:
    """Markdown: Dice of each structure, a line each and a column per setting; automatic masks, one
    table per domain.

    Budget and time stand in the heads where they tell settings apart.
    """
    dice = METRICS[protocol][0]
    parts = []
    for domain in _domains(rows):
        groups = group([row for row in rows if row.domain == domain and row.prompts == AUTOMATIC])
        body = []
        for label in _labels(groups.values()):
            cells = []
            for runs in groups.values():
                own = [row for row in runs if row.label == label]
                cells.append(spread(own, dice.column).text(dice.digits))
            body.append([label, *cells])
        heads = ["structure", *_distinguishing_heads(list(groups))]
        parts.append(f"{domain}: Dice\n\n{_markdown(heads, body)}")
    return "\n\n".join(parts)


def values(rows: Sequence[RunRow]) -> str:
    """Markdown: Dice of every scan of every run."""
    common = shared(rows)
    parts = []
    for domain in _domains(rows):
        runs: dict[tuple[str, ...], dict[tuple[str, str], float]] = {}
        for row in rows:
            if row.domain != domain:
                continue
            setting = _setting(row, common)
            run = (setting.name, setting.budget, str(row.draw), str(row.seed), row.prompts)
            runs.setdefault(run, {})[row.case, row.label] = row.dice
        cases = sorted({(row.case, row.label) for row in rows if row.domain == domain})
        several = len({label for _, label in cases}) > 1
        heads = ["method", "budget", "draw", "seed", "prompts"]
        heads += [f"{case} {label}" if several else case for case, label in cases]
        body = []
        for words, dice in runs.items():
            cells = [f"{dice[case]:.3f}" if case in dice else "" for case in cases]
            body.append([*words, *cells])
        parts.append(f"{domain}\n\n{_markdown(heads, body)}")
    return "\n\n".join(parts)


def per_run(rows: Sequence[RunRow]) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and one line per run, as drawn and cleaned: mean Dice and HD95 per domain and kind of
    prompts.
    """
    runs: dict[tuple[str, ...], list[RunRow]] = {}
    columns = [*RunKey._fields, "cleanup"]
    for row in rows:
        texts = to_texts(row)
        runs.setdefault(tuple(texts[name] for name in columns), []).append(row)
    lines: list[dict[str, str]] = []
    for key, own in runs.items():
        line = dict(zip([*RunKey._fields, "cleanup"], key, strict=True))
        for domain, prompts in _distinct((row.domain, row.prompts) for row in own):
            scored = [row for row in own if (row.domain, row.prompts) == (domain, prompts)]
            for metric in METRICS["default"]:
                mean = spread(scored, metric.column).mean
                line[f"{domain} {prompts} {metric.column}"] = f"{mean:.4f}"
        lines.append(line)
        columns += [name for name in line if name not in columns]
    return columns, lines


def _setting(row: RunRow, common: Mapping[str, tuple[str, ...]]) -> Setting:
    if row.slices is not None:
        budget = f"{row.slices} slices" if row.slices != 1 else "1 slice"
    else:
        budget = f"{row.volumes} volumes" if row.volumes != 1 else "1 volume"
    time = f"{row.steps} steps" if row.minutes is None else f"{row.minutes:g} min"
    own = [word for word in row.settings.split() if word not in common[row.method]]
    return Setting(row.method, " ".join(own), budget, time, row.settings, row.cleanup)


def _pair(
    a: Setting,
    b: Setting,
    domain: str,
    rows_a: Sequence[RunRow],
    rows_b: Sequence[RunRow],
    column: str,
) -> Pair:
    """Scan by scan, of the draws and seeds that both have."""
    scored_b = _scored(rows_b, domain, column)
    by_patient: list[tuple[str, float]] = []
    pairs: list[tuple[RunRow, RunRow]] = []
    for key, (row_a, value_a) in _scored(rows_a, domain, column).items():
        if key in scored_b:
            row_b, value_b = scored_b[key]
            by_patient.append((row_a.patient, value_a - value_b))
            pairs.append((row_a, row_b))
    unlike = []
    for name, unsaid in UNLIKE.items():
        of_a = [getattr(row, name) for row, _ in pairs]
        of_b = [getattr(row, name) for _, row in pairs]
        if of_a != of_b:
            unlike.append(f"{_joined(of_a) or unsaid} against {_joined(of_b) or unsaid}")
    draws = len({row.draw for row, _ in pairs})
    return Pair(a, b, domain, compare(by_patient, draws), "; ".join(unlike))


def _scored(
    rows: Sequence[RunRow], domain: str, column: str
) -> dict[tuple[int, int, str, str], tuple[RunRow, float]]:
    """(draw, seed, case, class) -> row and value, of rows with a value."""
    found = {}
    for row in rows:
        value = row.number(column)
        if row.domain == domain and value is not None:
            found[row.draw, row.seed, row.case, row.label] = (row, value)
    return found


def _table_line(
    setting: Setting, rows: Sequence[RunRow], domains: Sequence[str], protocol: Protocol
) -> list[str]:
    """A setting's line of `table`, without the published number."""
    metrics = [metric for metric in METRICS[protocol] if metric.head]
    overlap = metrics[0]
    automatic = [row for row in rows if row.prompts == AUTOMATIC]
    bound = [row for row in rows if row.prompts == ORACLE]
    line = [setting.name, setting.budget, setting.time, _steps(automatic)]
    line += [_joined(getattr(row, name) for row in automatic) for name in UNLIKE]
    line.append(str(spread(automatic, overlap.column).runs))
    for domain in domains:
        own = [row for row in automatic if row.domain == domain]
        own_bound = [row for row in bound if row.domain == domain]
        line += [spread(own, metric.column).text(metric.digits) for metric in metrics]
        line += [_empty(own, protocol), spread(own_bound, overlap.column).text(overlap.digits)]
    return line


def _published_cells(settings: Iterable[Setting], protocol: Protocol) -> list[str]:
    """Each published number beside the first setting it belongs to, as it is drawn."""
    cells: list[str] = []
    for setting in settings:
        cell = ""
        if setting.cleanup == RAW:
            cell = published(protocol, setting.method, setting.written, setting.budget)
        cells.append("" if cell in cells else cell)
    return cells


def _steps(rows: Sequence[RunRow]) -> str:
    if not rows:
        return ""
    fewest, most = min(row.steps for row in rows), max(row.steps for row in rows)
    return str(fewest) if fewest == most else f"{fewest}-{most}"


def _empty(rows: Sequence[RunRow], protocol: Protocol) -> str:
    """`2 of 8`: predictions without a voxel, of scans (`la-2018`: all four numbers 0) or slices
    (`sam-mix`: the diagonal).

    Nothing for ours, which has a status for that, and where a table of before does not say it.
    """
    if protocol == "default":
        return ""
    if protocol == "sam-mix":
        counted = [row for row in rows if row.sam_mix_slices is not None]
        missed = [row.sam_mix_missed for row in counted if row.sam_mix_missed is not None]
        if not counted or len(missed) < len(counted):
            return ""
        return f"{sum(missed)} of {sum(row.sam_mix_slices or 0 for row in counted)}"
    scored = [row for row in rows if row.number("la_2018_dice") is not None]
    columns = [metric.column for metric in METRICS[protocol]]
    empty = sum(not any(getattr(row, column) for column in columns) for row in scored)
    return f"{empty} of {len(scored)}" if scored else ""


def _informative(heads: list[str], body: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Without columns that say nothing: the time where it is the steps, a precision or stride that
    all have, no empty mask.
    """

    def informs(head: str, cells: Sequence[str]) -> bool:
        if head == "time":
            return any(not time.endswith("steps") for time in cells)
        if head in UNLIKE:
            return len(set(cells)) > 1
        if head == _EMPTY:
            return any(count and not count.startswith("0 ") for count in cells)
        return any(cells)

    if not body:
        return heads, body
    columns = list(zip(*body, strict=True))
    kept = [i for i, head in enumerate(heads) if informs(head, columns[i])]
    return [heads[i] for i in kept], [[line[i] for i in kept] for line in body]


def _distinguishing_heads(settings: Sequence[Setting]) -> list[str]:
    """Names of the settings, with budget and time where not all have the same."""
    budgets_differ = len({setting.budget for setting in settings}) > 1
    times_differ = len({setting.time for setting in settings}) > 1
    heads = []
    for setting in settings:
        words = [setting.name]
        words += [setting.budget] if budgets_differ else []
        words += [setting.time] if times_differ else []
        heads.append(", ".join(words))
    return heads


def _below(rows: Sequence[RunRow], protocol: Protocol) -> str:
    """A line per set of settings that all runs of some methods share, and what to know about the
    protocol; empty without any.
    """
    methods: dict[tuple[str, ...], list[str]] = {}
    for method, words in shared(rows).items():
        if words:
            methods.setdefault(words, []).append(f"`{method}`")
    lines = [
        f"All runs of {', '.join(names)}: `{' '.join(words)}`." for words, names in methods.items()
    ]
    parts = ["\n".join(lines), NOTES.get(protocol, "")]
    return "".join(f"\n\n{part}" for part in parts if part)


def _markdown(heads: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(sorted(set(texts) - {""}))


def _domains(rows: Iterable[RunRow]) -> list[str]:
    return _distinct(row.domain for row in rows)


def _labels(groups: Iterable[Sequence[RunRow]]) -> list[str]:
    labels: list[str] = []
    for rows in groups:
        labels += [row.label for row in rows]
    return _distinct(labels)


def _distinct(items: Iterable[_T]) -> list[_T]:
    """Each once, in order of appearance."""
    return list(dict.fromkeys(items))
