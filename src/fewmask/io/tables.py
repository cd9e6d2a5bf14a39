"""CSV tables: tags, reviewed slices, losses, metrics."""

import csv
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fewmask.core.errors import BadConfig, BadDataset, FewmaskError
from fewmask.io.atomic import no_room, write_text
from fewmask.io.text import read_text

MAX_BYTES = 256 * 2**20
_SEPARATOR = re.compile(r"sep=.?", re.IGNORECASE)
"""What Excel writes above the header, in some languages: parted by itself its mark is gone."""


def read_csv(
    path: Path,
    columns: Sequence[str],
    *,
    optional: Sequence[str] = (),
    kind: type[FewmaskError] = BadDataset,
    places: list[int] | None = None,
) -> list[dict[str, str]]:
    """Rows as dicts of stripped texts; every name in `columns` must stand in the header line, other
    columns are kept. Names of `columns` and of `optional` ones may be written with large letters
    and blanks (`First Slice`).

    Fields are parted by commas, or by semicolons or tabs where the header has them and no comma (as
    Excel writes in much of Europe). Blank lines, a leading byte-order mark and Excel's first line
    `sep=;` are skipped. A missing or double column, or a row with too many or too few fields,
    raises `kind` with the line number. A file with the header alone gives no rows. `places` gets
    the number of each row's line in the file, from 1.
    """
    text = read_text(path, kind=kind, max_bytes=MAX_BYTES, allow_bom=True)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=_delimiter(text))
    rows: list[dict[str, str]] = []
    header: list[str] = []
    try:
        for fields in reader:
            values = [field.strip() for field in fields]
            if not any(values):
                continue
            if not header:
                if _SEPARATOR.fullmatch(values[0]):
                    continue
                header = _known(values, (*columns, *optional))
                _check_header(header, columns, path, kind)
            elif len(values) != len(header):
                raise kind(
                    f"{path.name} line {reader.line_num}: {len(values)} fields, the header has "
                    f"{len(header)}",
                    where=f"file  {path}",
                    fix=f"make the line hold: {','.join(header)}",
                    code="C03",
                )
            else:
                rows.append(dict(zip(header, values, strict=True)))
                if places is not None:
                    places.append(reader.line_num)
    except csv.Error as error:
        raise kind(
            f"{path.name} line {reader.line_num} is not CSV: {error}",
            where=f"file  {path}",
            fix="mend that line",
            code="C03",
        ) from error
    if not header:
        _check_header(header, columns, path, kind)
    return rows


def _known(header: Sequence[str], columns: Sequence[str]) -> list[str]:
    """The header with our own names of columns that are written in another way."""
    plain = {_plain(name): name for name in columns}
    return [plain.get(_plain(name), name) for name in header]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name.casefold()).strip("_")


def _delimiter(text: str) -> str:
    """A comma; a semicolon or a tab where the header has these and no comma (Excel writes
    semicolons in Germany, France and Italy).
    """
    lines = (line for line in text.splitlines() if line.strip())
    header = next((line for line in lines if not _SEPARATOR.fullmatch(line[:5].strip())), "")
    if "," in header:
        return ","
    return next((mark for mark in (";", "\t") if mark in header), ",")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a table atomically; a missing or None value is an empty field, an unknown column raises
    `ValueError`.
    """
    write_text(path, _format(columns, rows, header=True))


def append_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Append rows to a table of our own, on the disk when this returns; the file is made when
    absent.

    A last line without its end (the process was killed while appending) is dropped first: it was
    never whole. A header other than `columns` raises `BadConfig`.
    """
    try:
        if not path.exists() or path.stat().st_size == 0:
            write_csv(path, columns, rows)
            return
        with path.open("r+b") as file:
            first = file.readline()
            if first != _format(columns, [], header=True).encode():
                raise BadConfig(
                    f"{path.name} has other columns than the rows to be appended",
                    where=[
                        f"file  {path}",
                        f"has     {first.decode(errors='replace').strip()}",
                        f"wanted  {','.join(columns)}",
                    ],
                    fix="write to a new run folder",
                    code="C06",
                )
            file.truncate(_whole_lines(file))
            file.seek(0, os.SEEK_END)
            file.write(_format(columns, rows, header=False).encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise no_room(error, path) from error


def _whole_lines(file: io.BufferedRandom) -> int:
    """Length of the file up to and including its last line end."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 4096)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _format(columns: Sequence[str], rows: Iterable[Mapping[str, object]], *, header: bool) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(
        {key: "" if value is None else value for key, value in row.items()} for row in rows
    )
    return buffer.getvalue()


def _check_header(
    header: Sequence[str], columns: Sequence[str], path: Path, kind: type[FewmaskError]
) -> None:
    missing = [name for name in columns if name not in header]
    if missing or len(set(header)) < len(header):
        what = f"lacks the column {missing[0]!r}" if missing else "names a column twice"
        fix = f"let the first line be: {','.join(columns)}"
        raise kind(
            f"{path.name} {what}",
            where=[
                f"file  {path}",
                f"has     {','.join(header) or 'nothing'}",
                f"wanted  {','.join(columns)}",
            ],
            fix=fix,
            code="C03",
        )
