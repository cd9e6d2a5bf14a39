"""Short tables for a reader: who leads with how many labels, method by method as each is, in how
many minutes, and over whom that is decided.

Masks are cleaned ones where a run was scored with its clean-up, which is what `predict` writes. Of
two methods of which one was not, masks as drawn are compared.
`seconds.toml` says what a training step costs.
"""

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fewmask.benchmark.compare import Setting, group, spread
from fewmask.benchmark.rows import AUTOMATIC, LEARNED, METRICS, RAW, RunRow, read_rows
from fewmask.evaluate.differences import Difference, compare, correct
from fewmask.evaluate.protocols import Protocol
from fewmask.io.text import read_toml

HERE = Path(__file__).parent
COSTS = read_toml(HERE / "seconds.toml")["cost"]
BESIDE = {"tags_as_empty=true", "centred=0.5 dropout=0.0 head_lr=0.03"}
"""Settings that make a method another one, which stands beside it: the U-Net that is given the
tags, and the V-Net as `train` asks for it with many structures.
"""
ASIDE = {"nnunet"}
"""Methods that stand in no table of all methods: 100 of nnU-Net's 250,000 steps say nothing about
it, which a note says.
"""
TASKS = (
    ("[liver, CT](liver.md)", "few-slices", ("5 slices", "50 slices")),
    ("[liver, MR](ada-sam.md)", "ada-sam-mr-abdomen", ("20 slices",)),
    ("[left atrium, MR](ada-sam.md)", "ada-sam-mr-left-atrium", ("20 slices",)),
    ("[left atrium, MR](left-atrium.md)", "mr-left-atrium", ("1 volume", "8 volumes")),
    ("[hippocampus, MR](hippocampus.md)", "mr-hippocampus", ("1 volume",)),
    ("[thirteen organs, CT](organs.md)", "ct-organs-2d", ("50 slices",)),
    ("[thirteen organs, CT](organs.md)", "ct-organs", ("7 volumes",)),
)
"""Lines of the first page: (task, sweep, budgets)."""


@functools.cache
def rows_of(sweep: str) -> list[RunRow]:
    """The committed rows of a sweep."""
    return read_rows(HERE / "rows" / f"{sweep}.csv")


@dataclass(frozen=True)
class Entry:
    """A method as it is, with a budget and a time."""

    setting: Setting
    rows: list[RunRow]
    dice: float
    """Mean over the test scans."""
    drawn: list[RunRow]
    """The same masks as drawn."""

    @property
    def draws(self) -> int:
        """Choices of labels."""
        return len({row.draw for row in self.rows})

    @property
    def spread_over(self) -> str:
        """What stands behind a spread: `3`, or `1 (3 seeds)`, where one choice ran three times."""
        seeds = len({row.seed for row in self.rows})
        return f"{self.draws} ({seeds} seeds)" if seeds > 1 else f"{self.draws}"


@dataclass(frozen=True)
class Lead:
    """The first of a budget against another method with it."""

    first: Entry
    other: Entry
    difference: Difference

    @property
    def decided(self) -> bool:
        """Is the first ahead? As drawn it may be behind one that it passes when cleaned."""
        return self.difference.decided and self.difference.interval.mean > 0


def chosen(rows: Iterable[RunRow], part: str | None) -> list[RunRow]:
    """All rows; those of each method as it is (or as it ran, at a budget where it never ran so); or
    those of one method.
    """
    rows = list(rows)
    if part is None:
        return rows
    if part != "methods":
        return [row for row in rows if row.method == part]
    groups = group([row for row in rows if row.method not in ASIDE])
    plain = {(setting.method, setting.budget) for setting in groups if not setting.settings}
    kept: list[RunRow] = []
    for setting, runs in groups.items():
        alone = (setting.method, setting.budget) not in plain
        if not setting.settings or setting.settings in BESIDE or alone:
            kept += runs
    return kept


def entries(rows: Sequence[RunRow], protocol: Protocol) -> dict[str, list[Entry]]:
    """Budget -> its methods, the highest Dice first; masks as drawn where none were cleaned."""
    dice = METRICS[protocol][0].column
    groups = group([row for row in chosen(rows, "methods") if row.prompts == AUTOMATIC])
    cleaned = {_key(setting) for setting in groups if setting.cleanup == LEARNED}
    drawn = {_key(setting): runs for setting, runs in groups.items() if setting.cleanup == RAW}
    found: dict[str, list[Entry]] = {}
    for setting, runs in groups.items():
        if setting.cleanup == LEARNED or (setting.cleanup == RAW and _key(setting) not in cleaned):
            tested = spread([row for row in runs if row.domain == "test"], dice)
            entry = Entry(setting, runs, tested.mean, drawn.get(_key(setting), []))
            found.setdefault(setting.budget, []).append(entry)
    for own in found.values():
        own.sort(key=lambda entry: -entry.dice)
    return {budget: found[budget] for budget in sorted(found, key=_size)}


def several(found: dict[str, list[Entry]]) -> dict[str, list[Entry]]:
    """Of each budget, what ran with two choices of labels or more (or with one, where nothing has
    two): a single draw leads nobody, and must not hide who leads.
    """
    return {
        budget: [entry for entry in own if entry.draws >= min(2, max(one.draws for one in own))]
        for budget, own in found.items()
    }


def leads(found: dict[str, list[Entry]], column: str) -> list[Lead]:
    """The first of each budget against every other method with it, in the draws that both have.

    Which one is first is seen in the same scans, so p is corrected among all pairs of a budget's
    methods, over all budgets.
    """
    pairs = [
        Lead(first, other, _difference(first, other, column))
        for own in found.values()
        for first, other in itertools.combinations(own, 2)
        if other.setting.plain_name != first.setting.plain_name
    ]
    corrected = correct([pair.difference for pair in pairs])
    firsts = [own[0] for own in found.values()]
    return [
        replace(pair, difference=difference)
        for pair, difference in zip(pairs, corrected, strict=True)
        if any(pair.first is first for first in firsts)
    ]


def short(rows: Sequence[RunRow], protocol: Protocol, sweep: str) -> str:
    """A line per budget and method, the best first, and what of that is decided."""
    found = {budget: own for budget, own in entries(rows, protocol).items() if len(own) > 1}
    metrics = [metric for metric in METRICS[protocol] if metric.head][:2]
    every = [entry for own in found.values() for entry in own]
    domains = list(dict.fromkeys(row.domain for entry in every for row in entry.rows))
    heads = ["labels", "method"]
    for domain in domains:
        place = "" if domain == "test" else "elsewhere: "
        heads += [f"{place}{metrics[0].head}", metrics[1].head]
    kinds = {entry.setting.cleanup for entry in every}
    heads += ["masks"] if len(kinds) > 1 else []
    heads += ["minutes (cores)", "draws"]
    decided = leads(several(found), metrics[0].column)
    body = []
    for budget, own in found.items():
        for entry in own:
            line = [_labels(budget), f"`{entry.setting.plain_name}`"]
            for domain in domains:
                scored = [row for row in entry.rows if row.domain == domain]
                line += [spread(scored, metric.column).text(metric.digits) for metric in metrics]
            if len(kinds) > 1:
                line.append("cleaned" if entry.setting.cleanup == LEARNED else "as drawn")
            line += [minutes(entry, sweep), entry.spread_over]
            body.append(line)
    said = verdict(decided)
    if len(kinds) > 1:
        said += " Of a pair of which one was not cleaned, masks as drawn were compared."
    return markdown(heads, body) + f"\n{said}\n"


def verdict(decided: Sequence[Lead]) -> str:
    """Over whom the first of a budget is decidedly ahead, in one line for the whole table."""
    said: dict[str, list[str]] = {}
    for lead in decided:
        if lead.decided:
            name = (
                f"with {_labels(lead.first.setting.budget)} `{lead.first.setting.plain_name}` over"
            )
            said.setdefault(name, []).append(f"`{lead.other.setting.plain_name}`")
    if not said:
        return "Nothing in this table is decided."
    over = "; ".join(f"{name} {', '.join(dict.fromkeys(who))}" for name, who in said.items())
    return f"Decided: {over}. Nothing else is."


def leaders() -> str:
    """The table of the first page: who is first and who is next, bold where that is decided. Both
    with their minutes, which are not the same.
    """
    body = []
    for task, sweep, budgets in TASKS:
        found = several(entries(rows_of(sweep), "default"))
        against = leads(found, "dice")
        for budget in budgets:
            first = found[budget][0]
            tested = [row for row in first.rows if row.domain == "test"]
            dice, hd95 = spread(tested, "dice").text(2), spread(tested, "hd95_mm").text(0)
            name, after = f"`{first.setting.method}`", ""
            rivals = [lead for lead in against if lead.first is first]
            if rivals:
                following = rivals[0].other
                took, _ = _cost(following, sweep)
                after = f"`{following.setting.method}` {following.dice:.2f}"
                after += f" ({took} min)" if took else ""
                name = f"**{name}**" if rivals[0].decided else name
            body.append([task, _labels(budget), name, dice, hd95, minutes(first, sweep), after])
    return markdown(["task", "labels", "first", "Dice", "HD95 mm", "minutes (cores)", "next"], body)


def minutes(entry: Entry, sweep: str) -> str:
    """`6 (2 cores)`: of training, from the steps and what one costs; empty where nobody knows."""
    took, cores = _cost(entry, sweep)
    return f"{took} ({cores} core{'s' if cores > 1 else ''})" if took else ""


def _cost(entry: Entry, sweep: str) -> tuple[int, int]:
    """Minutes of training, one at least, and the cores; zeros where nobody knows."""
    steps = [row.steps for row in entry.rows if row.steps]
    for cost in COSTS:
        seconds = cost["seconds"]
        each = seconds.get(entry.setting.plain_name, seconds.get(entry.setting.method))
        if sweep in cost["sweeps"] and each and steps:
            return max(round(max(steps) * each / 60), 1), int(cost["cores"])
    return 0, 0


def markdown(heads: list[str], body: list[list[str]]) -> str:
    """A table."""
    lines = [heads, ["---"] * len(heads), *body]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _difference(first: Entry, other: Entry, column: str) -> Difference:
    """Per test patient, over draws and seeds that both have, of masks that had the same help."""
    alike = first.setting.cleanup == other.setting.cleanup

    def scored(entry: Entry) -> dict[tuple[int, int, str, str], tuple[RunRow, float]]:
        return {
            (row.draw, row.seed, row.case, row.label): (row, value)
            for row in (entry.rows if alike else entry.drawn)
            if row.domain == "test" and (value := row.number(column)) is not None
        }

    ours, theirs = scored(first), scored(other)
    both = [(row, value - theirs[key][1]) for key, (row, value) in ours.items() if key in theirs]
    by_patient = [(row.patient, difference) for row, difference in both]
    return compare(by_patient, len({row.draw for row, _ in both}))


def _labels(budget: str) -> str:
    return budget.replace("volume", "scan")


def _size(budget: str) -> tuple[bool, int]:
    """Slices before whole masks, few first."""
    number, unit = budget.split()
    return unit.startswith("volume"), int(number)


def _key(setting: Setting) -> tuple[str, str, str]:
    return setting.plain_name, setting.budget, setting.time
