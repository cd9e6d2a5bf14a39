"""The table of rows: read, and with the lines of one peer exchanged."""

import csv
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

from peers_parts.turns import COLUMNS, Row

_TEXTS = ("work", "peer", "machine", "note")
_COUNTS = ("pair", "threads")


def read_rows(path: Path) -> list[Row]:
    """All lines; none where there is no table yet."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(**{name: _value(name, line[name]) for name in COLUMNS})  # type: ignore[arg-type]
            for line in csv.DictReader(file)
        ]


def replace_rows(path: Path, rows: Sequence[Row]) -> None:
    """Put these lines, all of one work and peer, in the place of those that are there."""
    old = read_rows(path)
    key = rows[0].work, rows[0].peer
    places = [place for place, row in enumerate(old) if (row.work, row.peer) == key]
    place = places[0] if places else len(old)
    kept = [
        [row for row in part if (row.work, row.peer) != key] for part in (old[:place], old[place:])
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(astuple(row) for row in (*kept[0], *rows, *kept[1]))


def _value(name: str, text: str) -> str | int | float:
    if name in _TEXTS:
        return text
    return int(text) if name in _COUNTS else float(text)
