"""Lines of a table that a person wrote, as spreadsheets and pandas leave them: which case each one
means, and which number.
"""

import difflib
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from fewmask.core.errors import BadDataset
from fewmask.io.tables import read_csv
from fewmask.prepare.names import core_key, exact_key

Line = dict[str, str]

OPTIONAL = ("class",)
"""Columns that a table may have."""
_WHOLE = re.compile(r"(\d{1,9})(?:[.,]0*)?")
_NOTHING = ("", "nan", "na", "n/a", "none", "null")
"""How tables write an empty cell."""
_LISTED = 10


def read_lines(
    path: Path,
    columns: Sequence[str],
    cases: Collection[str],
    did: str = "no dataset was made",
    once: Callable[[Line], str] | None = None,
) -> tuple[list[tuple[str, Line]], list[str]]:
    """Lines of a table with a column `case`, each with the case it means, and notes on lines of
    cases that are not there.

    Raises `BadDataset` (S04) with the nearest names where no line fits a case, and where two lines
    of a case that differ are about the same, as `once` says it; a table without lines fits.
    """
    lines = read_csv(path, columns, optional=OPTIONAL)
    meant = match_cases((line["case"] for line in lines), cases)
    strange = list(dict.fromkeys(line["case"] for line in lines if line["case"] not in meant))
    if lines and not meant:
        raise BadDataset(
            f"{path.name}: no line is of a case that is there",
            where=[str(path), *(_stranger(name, cases) for name in strange[:_LISTED])],
            did=did,
            fix="write the cases' names into the column `case`, as `fewmask check` lists them",
            code="S04",
        )
    notes = [f"{path.name}: no case is called {_stranger(name, cases)}" for name in strange]
    told = [(meant[line["case"]], line) for line in lines if line["case"] in meant]
    if once is not None:
        _refuse_twice(told, once, columns, path, did)
    return told, notes


def _refuse_twice(
    told: Iterable[tuple[str, Line]],
    once: Callable[[Line], str],
    columns: Sequence[str],
    path: Path,
    did: str,
) -> None:
    said: dict[tuple[str, str], set[tuple[str, ...]]] = defaultdict(set)
    for case, line in told:
        said[case, once(line)].add(tuple(line[name] for name in columns if name != "case"))
    twice = [" ".join(filter(None, about)) for about, rows in said.items() if len(rows) > 1]
    if twice:
        raise BadDataset(
            f"{path.name}: lines contradict each other: {', '.join(twice[:_LISTED])}",
            where=str(path),
            did=did,
            fix="leave one line of each",
            code="S04",
        )


def match_cases(written: Iterable[str], cases: Collection[str]) -> dict[str, str]:
    """The case that each written name means; names that mean none, or several, are left out.

    The name itself; else, where it fits one case alone: in other letters (case, Unicode form) or
    with a file's ending or affixes, as scans and masks are paired; else a whole number that lost
    its leading zeros (`1` or `1.0` for `001`).
    """
    found = {}
    for name in dict.fromkeys(written):
        if name in cases:
            found[name] = name
            continue
        for key in _KEYS:
            fits = _by_key(key, cases).get(key(name), ()) if key(name) else ()
            if len(fits) == 1:
                found[name] = fits[0]
                break
    return found


def whole_number(text: str) -> int | None:
    """`2`, `2.0` or `2,0` as 2; None for anything else, negative numbers too."""
    found = _WHOLE.fullmatch(text)
    return int(found[1]) if found else None


def is_empty(text: str) -> bool:
    """Is this cell empty, as a spreadsheet, pandas or R writes it?"""
    return text.casefold() in _NOTHING


def _stranger(name: str, cases: Collection[str]) -> str:
    near = difflib.get_close_matches(name, cases, n=2, cutoff=0.4) or sorted(cases)[:2]
    return f"{name}   nearest: {', '.join(near)}" if near else name


def _by_key(key: Callable[[str], str], cases: Iterable[str]) -> dict[str, list[str]]:
    groups = defaultdict(list)
    for case in cases:
        groups[key(case)].append(case)
    return groups


def _exact(name: str) -> str:
    return exact_key(Path(name))


def _core(name: str) -> str:
    return core_key(Path(name))


def _number(name: str) -> str:
    """Of a name that is a whole number: that number; else nothing."""
    number = whole_number(_exact(name))
    return "" if number is None else str(number)


_KEYS: tuple[Callable[[str], str], ...] = (_exact, _core, _number)
