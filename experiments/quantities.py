"""What a script measured on run folders, as rows that can be committed: a line per run, scan and
whatever else the script tells apart.

    python experiments/boxes.py RUN [RUN ...] --rows experiments/rows/boxes.csv
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from fewmask.benchmark.rows import finished_run
from fewmask.io.lock import waiting_lock
from fewmask.io.tables import read_csv, write_csv

RUN = ("method", "settings", "slices", "volumes", "draw", "seed", "minutes", "steps", "precision")
"""Columns that say which run it was, as in the rows of a sweep."""
Line = Mapping[str, object]


def arguments(doc: str | None, what: str = "RUN") -> tuple[list[Path], Path | None]:
    """Folders of the command line, and the file of `--rows`, if any."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", metavar=what, nargs="+", type=Path)
    parser.add_argument("--rows", metavar="FILE.csv", type=Path, help="add a line per run and scan")
    found = parser.parse_args()
    return found.folders, found.rows


def named(run: Path) -> dict[str, object]:
    """The first columns of a run's lines. Where its folder lies is not among them."""
    finished = finished_run(run)
    return {name: getattr(finished, name) for name in RUN}


def add(file: Path | None, key: Sequence[str], lines: Sequence[Line]) -> None:
    """Add lines to a CSV file; each takes the place of an earlier one with the same `key` columns.

    Without a file nothing is written. Raises `BadDataset` if the file lacks one of the columns:
    every script has a file of its own.
    """
    if file is None or not lines:
        return
    columns = list(lines[0])
    file.parent.mkdir(parents=True, exist_ok=True)
    with waiting_lock(file.parent, f"add to {file.name}"):
        rows = read_csv(file, columns) if file.exists() else []
        new = [
            {name: "" if line[name] is None else str(line[name]) for name in columns}
            for line in lines
        ]
        kept = {tuple(row[name] for name in key): row for row in [*rows, *new]}
        write_csv(file, columns, list(kept.values()))
