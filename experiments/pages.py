"""Write what the committed rows of the sweeps say: at the end of each method's page, and into the
tables of `docs/results.md`.

    python experiments/pages.py

Mean over runs (each the mean over its scans) ± standard deviation over them. In `docs/results.md`
tables stand between two marks: `<!-- table SWEEP PROTOCOL -->`, `<!-- structures SWEEP PROTOCOL
-->` (a line per structure) or `<!-- differences SWEEP PROTOCOL AGAINST -->`, and `<!-- end -->`.
`SWEEP[methods]` is each method as it is, `SWEEP[sam_mix]` one method with all its changes. Below a
table stands what a reader must know about its scans (`NOTES`), and which SAM is meant.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from fewmask.benchmark.compare import CLEANED_BY, differences, group, spread, structures, table
from fewmask.benchmark.rows import ORACLE, RunRow, read_rows
from fewmask.evaluate import protocols
from fewmask.evaluate.protocols import Protocol
from fewmask.io.text import read_text, read_toml
from fewmask.methods import config_from

HERE = Path(__file__).parent
PAGES = HERE.parent / "docs" / "methods"
RESULTS = HERE.parent / "docs" / "results.md"
MARKED = re.compile(
    r"(<!-- (table|differences|structures) ([^\s[]+)(?:\[(\w+)\])? (\S+)(?: ([^>\n]+))? -->\n)"
    r".*?(<!-- end -->\n)",
    re.DOTALL,
)
MARK = "<!-- from here on written by experiments/pages.py -->\n"
NOTES = {"mr-left-atrium": protocols.NOTES["la-2018"]}
"""Data of a sweep -> what to know about its scans."""
COMPACT = "SAM in this table is the compact SAM (ours)."
BESIDE = {"tags_as_empty=true"}
"""Settings that make a method another one, which stands beside it: the U-Net that is given the
tags.
"""
CHOICES = ("-dev", "-levers", "next-")
"""In the names of sweeps on training scans kept aside, by which settings are chosen."""
ASIDE = {"nnunet"}
"""Methods that stand in no table of all methods: 100 of nnU-Net's 250,000 steps say nothing about
it, which a note says.
"""
HEADS = ["sweep", "settings", "labelled", "time", "runs", "scans", "Dice", "HD95 mm"]


def measured(tables: dict[str, list[RunRow]], method: str) -> list[list[str]]:
    """A line per sweep, setting, budget and set of scans; automatic masks only."""
    lines = []
    for sweep, rows in tables.items():
        automatic = [row for row in rows if row.method == method and row.prompts != ORACLE]
        for setting, runs in group(automatic).items():
            for domain in dict.fromkeys(row.domain for row in runs):
                scored = [row for row in runs if row.domain == domain]
                dice = spread(scored, "dice")
                link = f"[{sweep}](../../experiments/{sweep}.toml)"
                settings = f"`{setting.written}`" if setting.written else ""
                settings = f"{settings}{CLEANED_BY[setting.cleanup]}".removeprefix(" ")
                numbers = [dice.text(3), spread(scored, "hd95_mm").text(1)]
                lines.append(
                    [link, settings, setting.budget, setting.time, str(dice.runs), domain, *numbers]
                )
    return lines


def page(text: str, lines: list[list[str]], sweeps: Iterable[str] = ()) -> str:
    """The page with its measured part, lines of these sweeps, exchanged; without lines
    it has none.
    """
    own = text.partition(MARK)[0].rstrip("\n") + "\n"
    if not lines:
        return own
    return f"{own}\n{MARK}\n## Measured\n\n{noted(markdown(HEADS, lines), sweeps)}"


def noted(text: str, sweeps: Iterable[str]) -> str:
    """A table, and below it what it does not say yet about the scans of these sweeps."""
    data = [read_toml(HERE / f"{sweep}.toml")["data"] for sweep in sweeps]
    notes = dict.fromkeys(NOTES.get(name, "") for name in data)
    return text + "".join(f"\n{note}\n" for note in notes if note not in text)


def markdown(heads: list[str], body: list[list[str]]) -> str:
    """A table."""
    lines = [heads, ["---"] * len(heads), *body]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


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


def chosen(rows: list[RunRow], part: str | None) -> list[RunRow]:
    """All rows; those of each method as it is (or as it ran, at a budget where it never ran so); or
    those of one method.

    Methods stand beside each other in the draws that all have at a budget: a mean over draws of
    which another lacks some would be of other slices.
    """
    if part is None:
        return rows
    if part != "methods":
        return [row for row in rows if row.method == part]
    groups = group([row for row in rows if row.method not in ASIDE])
    plain = {(setting.method, setting.budget) for setting in groups if not setting.settings}
    own = {
        setting: runs
        for setting, runs in groups.items()
        if not setting.settings
        or setting.settings in BESIDE
        or (setting.method, setting.budget) not in plain
    }
    draws: dict[str, set[int]] = {}
    for setting, runs in own.items():
        ran = {row.draw for row in runs}
        if setting.settings not in BESIDE:
            draws[setting.budget] = draws.get(setting.budget, ran) & ran
    kept: list[RunRow] = []
    for setting, runs in own.items():
        kept += [row for row in runs if row.draw in draws[setting.budget]]
    return kept


def results(text: str) -> str:
    """The page of results with all of its tables exchanged."""

    def exchange(found: re.Match[str]) -> str:
        start, kind, sweep, part, protocol, against, end = found.groups()
        rows = chosen(read_rows(HERE / "rows" / f"{sweep}.csv"), part)
        named = cast(Protocol, protocol)
        kinds = {"table": table, "structures": structures}
        new = f"{kinds[kind](rows, named)}\n" if kind in kinds else paired(rows, named, against)
        if kind == "table" and any(compact(row) for row in rows):
            new += f"\n{COMPACT}\n"
        return f"{start}\n{noted(new, [sweep])}\n{end}"

    return MARKED.sub(exchange, text)


def pages() -> dict[Path, str]:
    """Every page with measured parts, as it should be."""
    tables: dict[str, list[RunRow]] = {}
    for file in sorted((HERE / "rows").glob("*.csv")):
        if (HERE / f"{file.stem}.toml").exists() and not any(word in file.stem for word in CHOICES):
            tables[file.stem] = read_rows(file)

    def exchanged(path: Path) -> str:
        own = []
        for sweep, rows in tables.items():
            if any(row.method == path.stem for row in rows):
                own.append(sweep)
        return page(read_text(path), measured(tables, path.stem), own)

    return {
        **{path: exchanged(path) for path in sorted(PAGES.glob("*.md"))},
        RESULTS: results(read_text(RESULTS)),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
