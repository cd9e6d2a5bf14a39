"""Write what the committed rows say into the tables of the pages in `docs`.

    python experiments/pages.py

A table stands between two marks, `<!-- KIND SWEEP PROTOCOL AGAINST -->` and `<!-- end -->`, of
which only `differences` needs AGAINST:

- `leaders` (no more words): who is first in each task, for the first page;
- `short`: methods as they are, the best first, with minutes (`leaders.py`);
- `table`: every setting; mean over runs (each the mean over its scans) ± standard deviation;
- `structures`: a line per structure;
- `differences`: paired, against one setting;
- `next`: a simulation of `fewmask next` (no PROTOCOL);
- `zero-shot` (no more words): the bundled SAM in true boxes.

`SWEEP[methods]` is each method as it is, `SWEEP[sam_mix]` one method with all its changes. Below a
table stands what a reader must know about its scans (`NOTES`), and which SAM is meant.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

from leaders import HERE, TASKS, chosen, leaders, markdown, rows_of, short
from zero_shot import table as zero_shot

from fewmask.benchmark.compare import differences, structures, table
from fewmask.benchmark.next_table import NextLine, next_table
from fewmask.benchmark.rows import RunRow
from fewmask.evaluate import protocols
from fewmask.evaluate.protocols import Protocol
from fewmask.io.text import read_text, read_toml
from fewmask.methods import config_from

DOCS = HERE.parent / "docs"
README = HERE.parent / "README.md"
MARKED = re.compile(
    r"(<!-- (leaders|short|table|structures|differences|next|zero-shot)"
    r"(?: ([^\s[]+)(?:\[(\w+)\])?)?(?: (\S+))?(?: ([^>\n]+))? -->\n)"
    r".*?(<!-- end -->\n)",
    re.DOTALL,
)
NOTES = dict.fromkeys(("mr-left-atrium", "mr-left-atrium-72"), protocols.NOTES["la-2018"])
"""Data of a sweep -> what to know about its scans."""
COMPACT = "SAM in this table is the compact SAM (ours)."


def noted(text: str, sweeps: Iterable[str]) -> str:
    """A table, and below it what it does not say yet about the scans of these sweeps."""
    data = [read_toml(HERE / f"{sweep}.toml")["data"] for sweep in sweeps]
    notes = dict.fromkeys(NOTES.get(name, "") for name in data)
    return text + "".join(f"\n{note}\n" for note in notes if note not in text)


def paired(rows: list[RunRow], protocol: Protocol, against: str) -> str:
    """A line per setting, budget and time: difference in Dice to `against`, 95 % interval, patients
    in which it is higher, p among all differences of this table, and what that decides.

    Times stand in a column of their own where not all are the same. The last column, if it is
    needed, names precisions, or strides of windows, that are not the same.
    """
    columns = list(dict.fromkeys(row.domain for row in rows))
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    times: set[str] = set()
    for pair in differences(rows, against, protocol):
        times |= {pair.a.time, pair.b.time}
        time = pair.a.time if pair.a.time == pair.b.time else f"{pair.a.time} against {pair.b.time}"
        line = lines.setdefault((f"`{pair.a.name}`", pair.a.budget, time), {})
        line[pair.domain] = str(pair.difference)
        if pair.unlike:
            line["unlike"] = pair.unlike
    if any("unlike" in line for line in lines.values()):
        columns.append("unlike")
    keys = [f"minus `{against}`", "budget", "time"]
    shown = len(keys) if len(times) > 1 else len(keys) - 1
    body = []
    for key, line in lines.items():
        cells = [line.get(column, "") for column in columns]
        body.append([*key[:shown], *cells])
    return markdown([*keys[:shown], *columns], body)


def compact(row: RunRow) -> bool:
    """Is there a SAM in this run, and is it the small one of our own?"""
    config = vars(config_from(row.method, {}))
    return (
        config.get("encoder") == "compact" or "finetune" in config
    ) and "encoder=" not in row.settings


def simulated(sweep: str) -> str:
    """A line per rule: Dice with each number of slices, and the difference to chance over all."""
    path = HERE / "rows" / f"{sweep}.csv"
    lines = next_table(rows_of(sweep)) if path.exists() else []
    if not lines:
        return "No rows yet.\n"
    budgets = sorted({line.slices for line in lines if line.slices is not None})

    def cell(rule: str, budget: int | None, say: Callable[[NextLine], str]) -> str:
        found = [say(line) for line in lines if (line.rule, line.slices) == (rule, budget)]
        return found[0] if found else ""

    body = []
    for rule in dict.fromkeys(line.rule for line in lines):
        dice = [cell(rule, budget, lambda line: f"{line.dice.mean:.3f}") for budget in budgets]
        over = cell(rule, None, lambda line: str(line.difference or ""))
        body.append([f"`{rule}`", *dice, over])
    slices = [f"{budget} slices" for budget in budgets]
    return markdown(["rule", *slices, "all after the first, against `random`"], body)


def made(kind: str, sweep: str, part: str | None, protocol: str, against: str) -> str:
    """The table that a mark asks for."""
    if kind == "leaders":
        return noted(leaders(), [sweep for _, sweep, _ in TASKS])
    if kind == "zero-shot":
        return zero_shot()
    if kind == "next":
        return simulated(sweep)
    named = cast(Protocol, protocol)
    rows = chosen(rows_of(sweep), part)
    if kind == "short":
        text = short(rows, named, sweep)
    elif kind == "table":
        text = f"{table(rows, named)}\n"
        if any(compact(row) for row in rows):
            text += f"\n{COMPACT}\n"
    elif kind == "structures":
        text = f"{structures(rows, named)}\n"
    else:
        text = paired(rows, named, against)
    return noted(text, [sweep])


def results(text: str, away: str = "") -> str:
    """A page with all of its tables exchanged; the pages that they link to are in a folder `away`
    from it.
    """

    def exchange(found: re.Match[str]) -> str:
        start, *words, end = found.groups()
        return f"{start}\n{made(*words).replace('](', f']({away}')}\n{end}"

    return MARKED.sub(exchange, text)


def pages() -> dict[Path, str]:
    """Every page with tables, as it should be."""
    found = {
        path: results(text)
        for path in sorted(DOCS.rglob("*.md"))
        if MARKED.search(text := read_text(path))
    }
    return {README: results(read_text(README), "docs/results/"), **found}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
