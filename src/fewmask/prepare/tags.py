"""Image tags and reviewed slices: from a person's file, in the
file's own slice numbers, to d.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fewmask.core.errors import BadDataset
from fewmask.core.randomness import rng
from fewmask.core.words import count
from fewmask.io.prepared import CaseRow, Tags
from fewmask.prepare.lines import is_empty, read_lines, whole_number

COLUMNS = ("case", "first_slice", "last_slice")
UNREAD_DEPTH = 100_000
"""Slices of a scan that was not read yet: more than any has."""


def read_tags(
    path: Path,
    rows: Mapping[str, CaseRow],
    classes: tuple[str, ...],
    slices_from: int = 0,
) -> tuple[Tags, list[str]]:
    """Tags of a file `case[,class],first_slice,last_slice` (axial, in the order of the file,
    counted from `slices_from`, inclusive; empty = absent).

    Returns tags in d and notes on lines for cases that are not there. Raises `BadDataset` if no
    line is of a case that is there, for two lines of one structure that differ, and for unknown
    classes and slices outside the scan, naming each line's case, all in one message.
    """
    tags: Tags = {}
    problems: list[str] = []
    lines, notes = read_lines(path, COLUMNS, rows, once=lambda line: class_of(line, classes))
    for case, line in lines:
        name = class_of(line, classes)
        if name not in classes:
            problems.append(unknown_class(case, name, classes))
            continue
        row, before = rows[case], len(problems)
        span = read_span(line, case, row.shape[0], row.flipped, problems, slices_from)
        tags.setdefault(case, {})[name] = span
        stray = [
            d for d in row.present.get(name, []) if span is None or not span[0] <= d <= span[1]
        ]
        if stray and len(problems) == before:
            shown = outside(stray[0], row.shape[0], row.flipped, slices_from)
            why = "though its line is empty (absent)" if span is None else "outside its tag"
            problems.append(f"{case}: {name} is outlined in slice {shown}, {why}")
    refuse_lines(problems, path, slices_from=slices_from)
    return tags, notes


def class_of(line: Mapping[str, str], classes: tuple[str, ...]) -> str:
    """The structure that a line is about, in whatever letters: the only one, where it does not
    say.
    """
    written = line.get("class") or (classes[0] if len(classes) == 1 else "")
    alike = [name for name in classes if name.casefold() == written.casefold()]
    return alike[0] if len(alike) == 1 else written


def unknown_class(case: str, name: str, classes: Sequence[str]) -> str:
    """What is wrong with a line about no structure that there is."""
    said = f"no class is called {name!r}" if name else "no class is named"
    return f"{case}: {said} (column `class`: one of {', '.join(classes)})"


def outside(d: int, depth: int, flipped: bool, slices_from: int = 0) -> int:
    """Slice d as people count it: in the order of the file, from `slices_from`."""
    return (depth - 1 - d if flipped else d) + slices_from


def tags_from_masks(rows: Mapping[str, CaseRow], classes: tuple[str, ...]) -> Tags:
    """First and last slice of each class in each completely masked case: what a person would have
    noted down.
    """
    return {
        case: {name: (min(d), max(d)) if (d := row.present.get(name)) else None for name in classes}
        for case, row in rows.items()
        if row.complete
    }


def move_ends(tags: Tags, by: int, rows: Mapping[str, CaseRow]) -> Tags:
    """Tags as a hasty person writes them: each end is wrong `by` so many slices, up or down as a
    coin falls that is keyed by case, structure and end. Ends stay within the scan, and a tag keeps
    a slice.
    """
    moved: Tags = {}
    for case, spans in tags.items():
        for name, span in spans.items():
            ends = None
            if span is not None:
                coins = [bool(rng(0, "tags", case, name, end).integers(2)) for end in range(2)]
                first, last = (
                    min(max(d + (by if up else -by), 0), rows[case].shape[0] - 1)
                    for d, up in zip(span, coins, strict=True)
                )
                ends = (min(first, last), max(first, last))
            moved.setdefault(case, {})[name] = ends
    return moved


def read_reviewed(
    path: Path, rows: Mapping[str, CaseRow], slices_from: int = 0
) -> tuple[dict[str, set[int]], list[str]]:
    """Reviewed slices of a file `case,first_slice,last_slice`, as `read_tags` counts them."""
    reviewed: dict[str, set[int]] = {}
    problems: list[str] = []
    lines, notes = read_lines(path, COLUMNS, rows)
    for case, line in lines:
        depth, flipped = rows[case].shape[0], rows[case].flipped
        if span := read_span(line, case, depth, flipped, problems, slices_from):
            reviewed.setdefault(case, set()).update(range(span[0], span[1] + 1))
    refuse_lines(problems, path, slices_from=slices_from)
    return reviewed, notes


def read_span(
    line: Mapping[str, str],
    case: str,
    depth: int,
    flipped: bool,
    problems: list[str],
    slices_from: int = 0,
) -> tuple[int, int] | None:
    """First and last d of a line, None for "absent"; numbers outside the scan are a problem, in
    words.
    """
    texts = (line["first_slice"], line["last_slice"])
    if all(map(is_empty, texts)):
        return None
    first, last = map(whole_number, texts)
    end = slices_from + depth - 1
    if first is None or last is None or not slices_from <= first <= last <= end:
        allowed = f"within {slices_from}..{end}"
        if depth == UNREAD_DEPTH:
            allowed = f"whole numbers from {slices_from}"
        problems.append(
            f"{case}: slices {texts[0][:20]!r}..{texts[1][:20]!r} are not {allowed}, first before "
            "last"
        )
        return None
    first, last = first - slices_from, last - slices_from
    return (depth - 1 - last, depth - 1 - first) if flipped else (first, last)


def order_notes(named: Iterable[str], images: Mapping[str, Path]) -> list[str]:
    """How slices of the DICOM scans among the `named` cases are counted, where a table counts them:
    a viewer shows another number.
    """
    dicom = sorted({case for case in named if case in images and images[case].is_dir()})
    if not dicom:
        return []
    shown = ", ".join(dicom[:3]) + (" ..." if len(dicom) > 3 else "")
    return [
        f"tables count slices of {count(len(dicom), 'DICOM scan')} ({shown}) along the slice axis, "
        "axial ones mostly from the feet up, as 3D Slicer does; image numbers of a viewer "
        "(Instance Number) often run the other way"
    ]


def refuse_lines(
    problems: list[str], path: Path, did: str = "no dataset was made", slices_from: int = 0
) -> None:
    """Raise `BadDataset` if there are problems."""
    if problems:
        other = "" if slices_from else ", or `slices_from=1` if they count from 1"
        raise BadDataset(
            f"{path.name} does not fit the scans (lines that are wrong: {len(problems)})",
            where=[str(path), *problems[:10]],
            did=did,
            fix=(
                f"axial slices count from {slices_from} in the order of the file (DICOM: mostly "
                f"from the feet up), as an array viewer shows them; correct these lines{other}"
            ),
            code="S04",
        )
