"""Image tags and reviewed slices: from a person's file, in the file's own slice numbers, to d."""

from collections.abc import Mapping
from pathlib import Path

from fewmask.core.errors import BadDataset
from fewmask.io.prepared import CaseRow, Tags
from fewmask.io.tables import read_csv
from fewmask.io.text import whole_number

UNREAD_DEPTH = 100_000
"""Slices of a scan that was not read yet: more than any has."""


def read_tags(
    path: Path, rows: Mapping[str, CaseRow], flips: Mapping[str, bool], classes: tuple[str, ...]
) -> tuple[Tags, list[str]]:
    """Tags of a file `case[,class],first_slice,last_slice` (axial, 0-based in the order of the
    file, inclusive; empty = absent).

    `flips` says per case whether d runs against the file. Returns tags in d and notes on lines for
    cases that are not there. Raises `BadDataset` naming the line's case for unknown classes and
    slices outside the scan, all in one message.
    """
    tags: Tags = {}
    problems: list[str] = []
    notes: list[str] = []
    for line in read_csv(path, ["case", "first_slice", "last_slice"]):
        case, name = line["case"], line.get("class") or (classes[0] if len(classes) == 1 else "")
        if case not in rows:
            notes.append(f"{path.name}: no case is called {case}")
        elif name not in classes:
            problems.append(f"{case}: no class is called {name!r} (classes: {', '.join(classes)})")
        else:
            span = read_span(line, case, rows[case].shape[0], flips[case], problems)
            tags.setdefault(case, {})[name] = span
            stray = [
                d
                for d in rows[case].present.get(name, [])
                if span is None or not span[0] <= d <= span[1]
            ]
            if stray:
                problems.append(
                    f"{case}: {name} is outlined in slice {stray[0]} (d), outside its tag"
                )
    refuse_lines(problems, path)
    return tags, notes


def tags_from_masks(rows: Mapping[str, CaseRow], classes: tuple[str, ...]) -> Tags:
    """First and last slice of each class in each completely masked case: what a person would have
    noted down.
    """
    return {
        case: {name: (min(d), max(d)) if (d := row.present.get(name)) else None for name in classes}
        for case, row in rows.items()
        if row.complete
    }


def read_reviewed(
    path: Path, rows: Mapping[str, CaseRow], flips: Mapping[str, bool]
) -> tuple[dict[str, set[int]], list[str]]:
    """Reviewed slices of a file `case,first_slice,last_slice`, as `read_tags` counts them."""
    reviewed: dict[str, set[int]] = {}
    problems: list[str] = []
    notes: list[str] = []
    for line in read_csv(path, ["case", "first_slice", "last_slice"]):
        case = line["case"]
        if case not in rows:
            notes.append(f"{path.name}: no case is called {case}")
        elif span := read_span(line, case, rows[case].shape[0], flips[case], problems):
            reviewed.setdefault(case, set()).update(range(span[0], span[1] + 1))
    refuse_lines(problems, path)
    return reviewed, notes


def read_span(
    line: Mapping[str, str], case: str, depth: int, flipped: bool, problems: list[str]
) -> tuple[int, int] | None:
    """First and last d of a line, None for "absent"; numbers outside the scan are a problem, in
    words.
    """
    texts = (line["first_slice"], line["last_slice"])
    if texts == ("", ""):
        return None
    try:
        first, last = (whole_number(text, depth) for text in texts)
        if first > last:
            raise ValueError
    except ValueError:
        allowed = f"within 0..{depth - 1}" if depth < UNREAD_DEPTH else "whole numbers from 0"
        problems.append(
            f"{case}: slices {texts[0][:20]!r}..{texts[1][:20]!r} are not {allowed}, first before "
            "last"
        )
        return None
    return (depth - 1 - last, depth - 1 - first) if flipped else (first, last)


def refuse_lines(problems: list[str], path: Path, did: str = "no dataset was made") -> None:
    """Raise `BadDataset` if there are problems."""
    if problems:
        raise BadDataset(
            f"{path.name} does not fit the scans (lines that are wrong: {len(problems)})",
            where=[str(path), *problems[:10]],
            did=did,
            fix=(
                "axial slices count from 0 in the order of the file, as an array viewer shows "
                "them; correct these lines"
            ),
            code="S04",
        )
