"""TOML and JSON: read with limits, written atomically."""

import codecs
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomli_w

from fewmask.core.errors import BadConfig, FewmaskError, NoRoom
from fewmask.io.atomic import write_text

_MEANINGLESS = (TypeError, ValueError, AttributeError, IndexError, ArithmeticError)
"""What our code stumbles over in tables that are not what they should be."""
MAX_BYTES = 8 * 2**20
MAX_DEPTH = 64
_WIDE_BOMS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How files of Excel and LibreOffice begin, new and old."""


def read_toml(
    path: Path, *, kind: type[FewmaskError] = BadConfig, max_bytes: int = MAX_BYTES
) -> dict[str, Any]:
    """A TOML file as plain data. Anything but small, flat, UTF-8 TOML raises `kind` naming file and
    line.
    """
    text = read_text(path, kind=kind, max_bytes=max_bytes)
    # A key of a million dots costs the parser quadratic time, so it is refused before parsing.
    if any(piece.count(".") > MAX_DEPTH for piece in re.split(r"[=,\n]", text)):
        raise _too_deep(path, kind)
    try:
        record = tomllib.loads(text)
    except ValueError as error:  # not only its own: a number of 5000 digits is one too
        raise _unreadable(path, "TOML", str(error), kind) from error
    except RecursionError as error:
        raise _too_deep(path, kind) from error
    _check_depth(record, path, kind)
    return record


def read_json(
    path: Path, *, kind: type[FewmaskError] = BadConfig, max_bytes: int = MAX_BYTES
) -> dict[str, Any]:
    """A JSON file that holds one object. Duplicate keys, NaN, deep nesting, other encodings raise
    `kind`.
    """
    record = read_json_value(path, kind=kind, max_bytes=max_bytes)
    if not isinstance(record, dict):
        raise _unreadable(
            path, "JSON", f"an object {{...}} is needed, this is a {type(record).__name__}", kind
        )
    return record


def read_json_value(
    path: Path, *, kind: type[FewmaskError] = BadConfig, max_bytes: int = MAX_BYTES
) -> Any:
    """The same of a JSON file that may also hold a list, a number or a text."""
    text = read_text(path, kind=kind, max_bytes=max_bytes)
    try:
        record = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except ValueError as error:
        raise _unreadable(path, "JSON", str(error), kind) from error
    except RecursionError as error:
        raise _too_deep(path, kind) from error
    _check_depth(record, path, kind)
    return record


@contextmanager
def expecting(
    path: Path, *, kind: type[FewmaskError] = BadConfig, fix: str = "mend or remove the file"
) -> Iterator[None]:
    """While what stood in `path` is taken apart: a part that is missing, or is no number where one
    is needed, and a `BadConfig` that does not name the file, are told as `kind` (C03) of this file.
    """
    try:
        yield
    except BadConfig as error:
        raise _unexpected(path, [error.what, *error.where], kind, fix) from error
    except KeyError as error:
        missing = f"{error.args[0] if error.args else error!r} is missing"
        raise _unexpected(path, [missing], kind, fix) from error
    except _MEANINGLESS as error:
        raise _unexpected(path, [f"{type(error).__name__}: {error}"], kind, fix) from error


def _unexpected(path: Path, why: list[str], kind: type[FewmaskError], fix: str) -> FewmaskError:
    return kind(
        f"{path.name} does not hold what it should",
        where=[f"file  {path}", *(line[:200] for line in why)],
        fix=fix,
        code="C03",
    )


def whole_number(text: str, below: int) -> int:
    """A number from 0 to `below` - 1, as text. Raises `ValueError` for anything else, however long
    it is.
    """
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) >= below:
        raise ValueError(f"{text[:20]!r} is not a whole number below {below}")
    return int(text)


def read_text(
    path: Path,
    *,
    kind: type[FewmaskError] = BadConfig,
    max_bytes: int = MAX_BYTES,
    allow_bom: bool = False,
) -> str:
    """The file's text; raises `kind` if it is absent, too large or not UTF-8, and `NoRoom` if it
    may not be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise kind(
            f"no such file: {path}", did="nothing was started", fix="check the path", code="C05"
        ) from error
    except OSError as error:
        raise NoRoom(
            f"cannot read {path}: {error.strerror}", fix=f"check who may read {path}", code="N47"
        ) from error
    if len(data) > max_bytes:
        raise _refusal(path, f"is larger than {max_bytes} bytes", "is this the right file?", kind)
    if data.startswith(_SPREADSHEETS):
        what = "is a spreadsheet or an archive, not text"
        raise _refusal(path, what, "save it from its program as 'CSV UTF-8', and give that", kind)
    if data.startswith(_WIDE_BOMS):
        raise _refusal(path, "is UTF-16 or UTF-32", "save it as UTF-8 without BOM", kind)
    if data.startswith(codecs.BOM_UTF8) and not allow_bom:
        raise _refusal(path, "begins with a byte-order mark", "save it as UTF-8 without BOM", kind)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refusal(
            path,
            f"is not UTF-8 (byte {error.start})",
            "save it as UTF-8 (in Excel: 'CSV UTF-8')" if allow_bom else "save it as UTF-8",
            kind,
        ) from error


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write an object atomically, indented; not-a-number has no place in JSON and raises
    `ValueError`.
    """
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_toml(path: Path, record: Mapping[str, Any]) -> None:
    """Write a table atomically."""
    write_text(path, dump_toml(record))


def dump_toml(record: Mapping[str, Any]) -> str:
    """A table as TOML text; keys whose value is None are left out (TOML has no none).
    `tomllib.loads` is the inverse.
    """
    return tomli_w.dumps(_without_none(record), indent=2)


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list | tuple) else value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [key for key, _ in pairs]
        raise ValueError(f"key {next(n for n in names if names.count(n) > 1)!r} stands twice")
    return record


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _check_depth(record: Any, path: Path, kind: type[FewmaskError]) -> None:
    level = [record]
    for _ in range(MAX_DEPTH):
        level = [inner for item in level for inner in _inside(item)]
        if not level:
            return
    raise _too_deep(path, kind)


def _inside(item: Any) -> Iterable[Any]:
    return item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()


def _too_deep(path: Path, kind: type[FewmaskError]) -> FewmaskError:
    return _refusal(
        path, f"is nested deeper than {MAX_DEPTH} levels", "is this the right file?", kind
    )


def _unreadable(path: Path, language: str, reason: str, kind: type[FewmaskError]) -> FewmaskError:
    return _refusal(path, f"is not valid {language}: {reason}", "mend that line", kind)


def _refusal(path: Path, what: str, fix: str, kind: type[FewmaskError]) -> FewmaskError:
    return kind(
        f"{path.name} {what}", where=f"file  {path}", did="nothing was started", fix=fix, code="C03"
    )
