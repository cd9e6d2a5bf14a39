"""`series.csv`: the DICOM series of a folder, a line each, and whether it is kept. `check` writes a
proposal; a corrected one is taken wherever scans are read.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fewmask.core.errors import BadConfig, BadDataset
from fewmask.io.outputs import check_file
from fewmask.io.tables import read_csv, write_csv

COLUMNS = ("patient", "study", "series", "description", "modality", "slices", "spacing", "keep")
_KEY = COLUMNS[:3]
_YES, _NO = ("yes", "y", "true", "1", "x", "keep"), ("no", "n", "false", "0", "")


@dataclass(frozen=True)
class SeriesRow:
    """A line of the table. Nothing in it comes from the tags that name a patient."""

    patient: str
    """Folder of the patient, or a counter."""
    study: str
    """Folder of the study, or a counter."""
    series: str
    """Folder of the series below that, and its number where the folder has several."""
    description: str
    """What the operator called it, in words of imaging protocols: others might name a person."""
    modality: str
    slices: int
    spacing: str
    """Millimetres from slice to slice, row to row, column to column."""
    keep: str
    """`yes` or `no`."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from the others."""
        return self.patient, self.study, self.series


def is_table(series: str | None) -> bool:
    """Does `series` name a table, and not one series?"""
    return series is not None and series.lower().endswith(".csv")


def check_table(path: Path, data: Path | None = None) -> None:
    """Raise `BadConfig` unless the table may be written: never into the `data` or over another
    file, such as a table that somebody corrected (F11), and under a name that is known as a table
    (C02).
    """
    check_file(path, [data], name="write_series")
    if not is_table(str(path)):
        raise BadConfig(
            f"a table of series is called {path.name}",
            did="nothing was written",
            fix=f"let its name end in .csv, such as {path.stem or 'series'}.csv",
            code="C02",
        )


def write_series(path: Path, rows: Iterable[SeriesRow]) -> None:
    """Write the table, atomically. Raises as `check_table`."""
    check_table(path)
    write_csv(path, COLUMNS, map(asdict, rows))


def read_keeps(path: Path, known: Sequence[SeriesRow]) -> dict[tuple[str, str, str], bool]:
    """Key -> whether the table keeps it, of the known series that it lists. Numbers may have lost
    their zeros in a spreadsheet (`001` became `1`).

    Raises `BadDataset` (S04) for a line of a series that is not there, a series on two lines, and a
    `keep` that is neither yes nor no; and as `read_csv`.
    """
    keeps: dict[tuple[str, str, str], bool] = {}
    exact = {row.key: row.key for row in known}
    loose: dict[tuple[str, ...], list[tuple[str, str, str]]] = {}
    for row in known:
        loose.setdefault(_plain(row.key), []).append(row.key)
    for number, line in enumerate(read_csv(path, (*_KEY, "keep")), start=1):
        written = (line["patient"], line["study"], line["series"])
        alike = loose.get(_plain(written), [])
        key = exact.get(written) or (alike[0] if len(alike) == 1 else None)
        if key is None:
            raise _wrong(path, number, "no such series in the folder", written, known)
        if key in keeps:
            raise _wrong(path, number, "this series stands on two lines", written, known)
        keeps[key] = _kept(line, path, number, known)
    return keeps


def _kept(line: Mapping[str, str], path: Path, number: int, known: Sequence[SeriesRow]) -> bool:
    word = re.sub(r"\.0+$", "", line["keep"].casefold())
    if word not in (*_YES, *_NO):
        raise _wrong(path, number, "`keep` is neither yes nor no", (line["keep"],), known)
    return word in _YES


def _plain(key: Sequence[str]) -> tuple[str, ...]:
    """Names without what spreadsheets and file systems change in them."""
    folded = [unicodedata.normalize("NFC", part).casefold() for part in key]
    return tuple(re.sub(r"^0+(?=\d)|(?<=\d)\.0+$", "", part) for part in folded)


def _wrong(
    path: Path, number: int, what: str, written: Sequence[str], known: Sequence[SeriesRow]
) -> BadDataset:
    there = [", ".join(row.key) for row in known[:5]]
    return BadDataset(
        f"{path.name}, series {number}: {what}",
        where=[f"written  {', '.join(written)!r}", *(f"there is {key!r}" for key in there)],
        did="nothing was read",
        fix="mend the line, or write the table again: `fewmask check DATA write_series=series.csv`",
        code="S04",
    )
