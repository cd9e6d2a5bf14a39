"""Tables that a person gives with the scans, looked at before any scan is read: a wrong line is
told in seconds, not after hours.
"""

import difflib
from pathlib import Path

from fewmask.core.errors import BadDataset
from fewmask.io.prepared import CaseRow, read_split
from fewmask.prepare.discover import Layout
from fewmask.prepare.options import PrepareOptions
from fewmask.prepare.splits import patients_of
from fewmask.prepare.tags import UNREAD_DEPTH, read_reviewed, read_tags


def check_tables(options: PrepareOptions, layout: Layout) -> None:
    """Raise `BadDataset` or `BadConfig` for what is wrong with tags, reviewed slices, patients or
    split as far as file names tell: columns, numbers, names of structures and of cases.
    """
    names = [pair.case for pair in layout.pairs]
    scans, flips = {name: _unread(name) for name in names}, dict.fromkeys(names, False)
    if isinstance(options.tags, Path):
        read_tags(options.tags, scans, flips, tuple(options.labels))
    if options.reviewed is not None:
        read_reviewed(options.reviewed, scans, flips)
    patients_of(names, options.patients)
    if options.split is not None:
        _check_split(options.split, names)


def _unread(name: str) -> CaseRow:
    """All that is known of a scan before it is read: its name."""
    return CaseRow(
        case=name,
        patient=name,
        image="",
        mask=None,
        sha256="",
        stamp="",
        voxels_sha256="",
        labels_sha256=None,
        shape=(UNREAD_DEPTH, 1, 1),
        spacing_mm=(1.0, 1.0, 1.0),
        percentiles=(0.0, 1.0),
        complete=False,
        outlined=[],
        counts={},
        ct=False,
        flipped=False,
    )


def _check_split(path: Path, names: list[str]) -> None:
    split = read_split(path)
    absent = sorted({*split.train, *split.val, *split.test} - set(names))
    if absent:
        near = {name: difflib.get_close_matches(name, names, n=1) for name in absent[:10]}
        raise BadDataset(
            f"split names cases that are not there: {', '.join(absent[:5])}",
            where=[
                str(path),
                *(f"{name}: did you mean {found[0]}?" for name, found in near.items() if found),
            ],
            did="no scan was read",
            fix="name cases as the scans' files are named, without ending",
            code="S04",
        )
