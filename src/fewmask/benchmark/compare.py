"""Tables from rows of runs: means over draws and seeds with their spread, and paired differences
between methods.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fewmask.benchmark.published import SOURCES, published
from fewmask.benchmark.rows import KEYS, UNLIKE, Row
from fewmask.benchmark.score import ORACLE
from fewmask.core.errors import BadConfig
from fewmask.evaluate.intervals import Difference, compare
from fewmask.evaluate.protocols import NOTES, Protocol

_METRICS = {
    "default": {"dice": "Dice", "hd95_mm": "HD95 mm"},
    "sam-mix": {"sam_mix_dice": "Dice", "sam_mix_hd_px": "HD px"},
    "la-2018": {
        "la_2018_dice": "Dice",
        "la_2018_jaccard": "Jaccard",
        "la_2018_hd95_voxel": "95HD voxels",
        "la_2018_asd_voxel": "ASD voxels",
    },
}
"""Protocol -> column -> head; an overlap comes first."""
_EMPTY = "empty"
_OVERLAPS = ("Dice", "Jaccard")


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

    @property
    def name(self) -> str:
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
        return f"{self.mean:.{digits}f}" + (f" ± {self.sd:.{digits}f}" if self.runs > 1 else "")


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
        ours, theirs = (
            ("", "") if self.a.time == self.b.time else (f" ({self.a.time})", f" ({self.b.time})")
        )
        other = f" ({self.unlike})" if self.unlike else ""
        return (
            f"{self.domain}, {self.a.budget}: {self.a.name}{ours} minus {self.b.name}{theirs} "
            f"{self.difference}{other}"
        )


def group(rows: Sequence[Row]) -> dict[Setting, list[Row]]:
    """Rows by setting: methods in order of appearance, each as it is first, slices before volumes,
    few and short first.
    """
    common = shared(rows)
    groups: dict[Setting, list[Row]] = {}
    for row in rows:
        groups.setdefault(_setting(row, common), []).append(row)
    methods = list(dict.fromkeys(setting.method for setting in groups))
    names = list(dict.fromkeys(setting.name for setting in groups))

    def place(setting: Setting) -> tuple[int, bool, int, bool, int, float]:
        number, unit = setting.budget.split()
        whole, time = unit.startswith("volume"), float(setting.time.split()[0])
        return (
            methods.index(setting.method),
            bool(setting.settings),
            names.index(setting.name),
            whole,
            int(number),
            time,
        )

    return {setting: groups[setting] for setting in sorted(groups, key=place)}


def shared(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """Method -> settings that all of its rows have: they tell nothing apart, names leave them out,
    tables say them once.
    """
    common: dict[str, tuple[str, ...]] = {}
    for row in rows:
        words = row["settings"].split()
        common[row["method"]] = tuple(
            word for word in common.get(row["method"], words) if word in words
        )
    return common


def spread(rows: Sequence[Row], metric: str) -> Spread:
    """Over runs. Volumes in which the number has no meaning are left out; slices count equally in
    the paper's protocol.
    """
    runs: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in rows:
        if row[metric] not in ("", "nan"):
            weight = float(row["sam_mix_slices"]) if metric.startswith("sam_mix") else 1.0
            runs.setdefault((row["draw"], row["seed"]), []).append((float(row[metric]), weight))
    means = [
        float(np.average(v[:, 0], weights=v[:, 1]))
        for v in (np.array(values, float) for values in runs.values())
    ]
    if not means:
        return Spread(math.nan, math.nan, 0)
    return Spread(
        float(np.mean(means)),
        float(np.std(means, ddof=1)) if len(means) > 1 else math.nan,
        len(means),
    )


def differences(rows: Sequence[Row], against: str, protocol: Protocol = "default") -> list[Pair]:
    """Every setting against the one called `against` at the same budget, in Dice; at the same time
    too where that is there.

    Methods whose steps cost differently are compared at different numbers of steps, and the
    sentence says so. `vnet, 2000 steps` names one of several times. Raises `BadConfig` if no
    setting has that name.
    """
    groups = {
        setting: list(group_)
        for setting, group_ in group([r for r in rows if r["prompts"] != ORACLE]).items()
    }
    others = [
        setting
        for setting in groups
        if against in (setting.name, f"{setting.name}, {setting.time}")
    ]
    if not others:
        names = dict.fromkeys(setting.name for setting in groups)
        raise BadConfig(
            f"no run is called {against!r}",
            did="nothing was written",
            fix=f"use one of: {'; '.join(names)}",
            code="C02",
        )
    pairs = []
    for a in [setting for setting in groups if setting not in others]:
        ours, found = groups[a], [b for b in others if b.budget == a.budget]
        for b in [b for b in found if b.time == a.time] or found:
            domains = dict.fromkeys(row["domain"] for row in ours)
            pairs += [
                _pair(a, b, domain, ours, groups[b], next(iter(_METRICS[protocol])))
                for domain in domains
            ]
    return pairs


def table(rows: Sequence[Row], protocol: Protocol = "default") -> str:
    """Markdown: a line per setting, automatic prompts and the true-box bound per domain; columns
    that say nothing are left out.

    Below it stands what all runs of a method share. In a protocol of the literature, its published
    numbers stand last, each once: beside its method as it is, not beside the changes that follow
    (`published`). Empty predictions are counted, since their distances are not distances. Raises
    `BadConfig` if no row has that protocol's numbers.
    """
    domains = list(dict.fromkeys(row["domain"] for row in rows))
    metrics = _METRICS[protocol]
    overlap = next(iter(metrics))
    if rows and not any(row[overlap] for row in rows):
        raise BadConfig(
            f"these rows hold no numbers of {protocol}",
            did="nothing was written",
            fix=f'say protocol = "{protocol}" in the sweep\'s file before it runs; '
            f"for one run: `fewmask evaluate RUN` with `protocol={protocol}`",
            code="C02",
        )
    heads = ["method", "budget", "time", "steps", *UNLIKE, "runs"]
    for domain in domains:
        first, *others = metrics.values()
        heads += [f"{domain}: {first}", *others, _EMPTY, "Dice with true boxes (bound)"]
    heads += [SOURCES[protocol]] if protocol in SOURCES else []
    lines = [heads, ["---"] * len(heads)]
    for setting, every in group(rows).items():
        automatic = [row for row in every if row["prompts"] != ORACLE]
        line = [
            setting.name,
            setting.budget,
            setting.time,
            _steps(automatic),
            *(_all(automatic, name) for name in UNLIKE),
        ]
        line += [str(spread(automatic, overlap).runs)]
        for domain in domains:
            here = [row for row in every if row["domain"] == domain]
            own, bound = (
                [row for row in here if row["prompts"] != ORACLE],
                [row for row in here if row["prompts"] == ORACLE],
            )
            line += [
                spread(own, name).text(3 if head in _OVERLAPS else 1)
                for name, head in metrics.items()
            ]
            line += [_empty(own, protocol), spread(bound, overlap).text(3)]
        if protocol in SOURCES:
            cell = published(protocol, setting.method, setting.written, setting.budget)
            line.append("" if any(cell == other[-1] for other in lines) else cell)
        lines.append(line)
    return "\n".join("| " + " | ".join(line) + " |" for line in _telling(lines)) + _below(
        rows, protocol
    )


def structures(rows: Sequence[Row], protocol: Protocol = "default") -> str:
    """Markdown: Dice of each structure, a line each and a column per setting; automatic masks, one
    table per domain.

    Budget and time stand in the heads where they tell settings apart.
    """
    overlap = next(iter(_METRICS[protocol]))
    parts = []
    for domain in dict.fromkeys(row["domain"] for row in rows):
        groups = group(
            [row for row in rows if row["domain"] == domain and row["prompts"] != ORACLE]
        )
        words = [(setting.name, setting.budget, setting.time) for setting in groups]
        telling = [
            len(set(column)) > 1 or not place
            for place, column in enumerate(zip(*words, strict=True))
        ]
        heads = [
            ", ".join(word for word, tells in zip(said, telling, strict=True) if tells)
            for said in words
        ]
        lines = [["structure", *heads], ["---"] * (len(heads) + 1)]
        for name in dict.fromkeys(row["class"] for runs in groups.values() for row in runs):
            found = [
                spread([row for row in runs if row["class"] == name], overlap).text(3)
                for runs in groups.values()
            ]
            lines.append([name, *found])
        parts.append(
            f"{domain}: Dice\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)
        )
    return "\n\n".join(parts)


def values(rows: Sequence[Row]) -> str:
    """Markdown: Dice of every scan of every run."""
    parts, common = [], shared(rows)
    for domain in dict.fromkeys(row["domain"] for row in rows):
        here = [row for row in rows if row["domain"] == domain]
        cases = sorted({(row["case"], row["class"]) for row in here})
        several = len({name for _, name in cases}) > 1
        heads = [
            "method",
            "budget",
            "draw",
            "seed",
            "prompts",
            *(f"{case} {name}" if several else case for case, name in cases),
        ]
        lines = [heads, ["---"] * len(heads)]
        runs: dict[tuple[str, ...], dict[tuple[str, str], str]] = {}
        for row in here:
            setting = _setting(row, common)
            run = (setting.name, setting.budget, row["draw"], row["seed"], row["prompts"])
            runs.setdefault(run, {})[row["case"], row["class"]] = row["dice"]
        lines += [
            [*run, *(_number(found.get(case, "")) for case in cases)] for run, found in runs.items()
        ]
        parts.append(f"{domain}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(parts)


def per_run(rows: Sequence[Row]) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and one line per run: mean Dice and HD95 per domain and kind of prompts."""
    columns = [*KEYS, "steps"]
    lines: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        key = tuple(row[name] for name in columns)
        lines.setdefault(key, []).append(row)
    table_: list[dict[str, str]] = []
    for key, group_ in lines.items():
        line = dict(zip(columns, key, strict=True))
        for domain, prompts in dict.fromkeys((row["domain"], row["prompts"]) for row in group_):
            here = [row for row in group_ if (row["domain"], row["prompts"]) == (domain, prompts)]
            for metric in _METRICS["default"]:
                line[f"{domain} {prompts} {metric}"] = f"{spread(here, metric).mean:.4f}"
        table_.append(line)
    return list(dict.fromkeys(name for line in table_ for name in line)), table_


def _setting(row: Row, common: Mapping[str, tuple[str, ...]]) -> Setting:
    unit = "slices" if row["slices"] else "volumes"
    n = row[unit]
    budget = f"{n} {unit}" if n != "1" else f"1 {unit[:-1]}"
    time = f"{float(row['minutes']):g} min" if row["minutes"] else f"{row['steps']} steps"
    own = " ".join(word for word in row["settings"].split() if word not in common[row["method"]])
    return Setting(row["method"], own, budget, time, row["settings"])


def _pair(
    a: Setting, b: Setting, domain: str, ours: Sequence[Row], theirs: Sequence[Row], dice: str
) -> Pair:
    def place(row: Row) -> tuple[str, ...]:
        return tuple(row[name] for name in ("draw", "seed", "case", "class"))

    def scored(rows: Sequence[Row]) -> list[Row]:
        return [row for row in rows if row["domain"] == domain and row[dice] not in ("", "nan")]

    other = {place(row): row for row in scored(theirs)}
    both = [(row, other[place(row)]) for row in scored(ours) if place(row) in other]
    found = compare([(one["patient"], float(one[dice]) - float(two[dice])) for one, two in both])
    unlike = []
    for name, unsaid in zip(UNLIKE, ("not said", "half a window"), strict=True):
        if any(one[name] != two[name] for one, two in both):
            mine, its = (_all(half, name) or unsaid for half in zip(*both, strict=True))
            unlike.append(f"{mine} against {its}")
    return Pair(a, b, domain, found, "; ".join(unlike))


def _steps(rows: Sequence[Row]) -> str:
    steps = sorted({int(row["steps"]) for row in rows})
    return str(steps[0]) if len(steps) == 1 else f"{steps[0]}-{steps[-1]}"


def _all(rows: Sequence[Row], name: str) -> str:
    return ", ".join(sorted({row[name] for row in rows} - {""}))


def _empty(rows: Sequence[Row], protocol: Protocol) -> str:
    """`2 of 8`: predictions without a voxel, of scans (`la-2018`: all four numbers 0) or slices
    (`sam-mix`: the diagonal).

    Nothing for ours, which has a status for that, and where a table of before does not say it.
    """
    if protocol == "sam-mix":
        counts = [
            (row["sam_mix_missed"], row["sam_mix_slices"]) for row in rows if row["sam_mix_slices"]
        ]
        known = bool(counts) and all(missed for missed, _ in counts)
        return (
            f"{sum(int(n) for n, _ in counts)} of {sum(int(n) for _, n in counts)}" if known else ""
        )
    if protocol == "default":
        return ""
    scored = [row for row in rows if row["la_2018_dice"] not in ("", "nan")]
    empty = sum(not any(float(row[name]) for name in _METRICS["la-2018"]) for row in scored)
    return f"{empty} of {len(scored)}" if scored else ""


def _telling(lines: list[list[str]]) -> list[list[str]]:
    """Without columns that say nothing: the time where it is the steps, a precision or stride that
    all have, no empty mask.
    """
    heads, _, *body = lines
    columns = list(zip(*body, strict=True))

    def tells(place: int) -> bool:
        if heads[place] == "time":
            return any(not time.endswith("steps") for time in columns[place])
        if heads[place] in UNLIKE:
            return len(set(columns[place])) > 1
        if heads[place] == _EMPTY:
            return any(count and not count.startswith("0 ") for count in columns[place])
        return any(columns[place])

    kept = [place for place in range(len(heads)) if not body or tells(place)]
    return [[line[place] for place in kept] for line in lines]


def _below(rows: Sequence[Row], protocol: Protocol) -> str:
    """A line per set of settings that all runs of some methods share, and what to know about the
    protocol; empty without any.
    """
    methods: dict[tuple[str, ...], list[str]] = {}
    for method, words in shared(rows).items():
        methods.setdefault(words, []).append(f"`{method}`")
    told = [
        f"All runs of {', '.join(names)}: `{' '.join(words)}`."
        for words, names in methods.items()
        if words
    ]
    return "".join(f"\n\n{part}" for part in ("\n".join(told), NOTES.get(protocol)) if part)


def _number(text: str) -> str:
    return f"{float(text):.3f}" if text else ""
