"""Small tables of WORK: tags, reviewed slices, accepted masks, seconds. All count slices in the
order of the file, from 0. A table that somebody changed by hand is read again, not overwritten.
"""

import copy
import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fewmask.core.errors import BadDataset, FewmaskError
from fewmask.io.tables import read_csv, write_csv
from fewmask.prepare.lines import is_empty, read_lines, whole_number
from fewmask.prepare.tags import COLUMNS, class_of
from fewmask.workbench.voxels import ScanInfo

TAG_COLUMNS = ("case", "class", "first_slice", "last_slice")
Ends = tuple[int | None, int | None]
"""First and last slice of a structure, each None while nobody said it."""
Tag = Ends | None
"""None: the structure is not in this scan."""


class Stale(Exception):
    """What was to be changed is no longer what the caller saw. `revision` is what there is."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"revision {revision}")
        self.revision = revision


def revision_of(*parts: bytes) -> int:
    """A number that says what something holds: the same content has the same number, also after the
    server was started again. Below 2**53, and never 0.
    """
    digest = hashlib.blake2b(b"\0".join(parts), digest_size=6)
    return int.from_bytes(digest.digest(), "big") + 1


@dataclass
class _File:
    """A table on the disk, and what its file looked like when we last saw it."""

    path: Path
    columns: tuple[str, ...]
    seen: tuple[int, int] | None = None

    def read(self) -> list[dict[str, str]] | None:
        """The lines, where the file is other than we left it; else None."""
        look = self._look()
        if look == self.seen:
            return None
        rows = read_csv(self.path, self.columns) if look else []
        self.seen = look  # only now: a table that cannot be read is not written over either
        return rows

    def write(self, rows: Iterable[Mapping[str, object]]) -> None:
        write_csv(self.path, self.columns, rows)
        self.seen = self._look()

    def _look(self) -> tuple[int, int] | None:
        try:
            about = self.path.stat()
        except OSError:
            return None
        return about.st_size, about.st_mtime_ns


class Tables:
    """The tables of an opened WORK; safe to be called from several threads."""

    def __init__(self, root: Path, cases: Iterable[str], classes: tuple[str, ...]) -> None:
        self._cases = frozenset(cases)
        self._classes = classes
        self._lock = threading.RLock()
        self._tags_file = _File(root / "tags.csv", TAG_COLUMNS)
        self._begun_file = _File(root / "tags-begun.csv", TAG_COLUMNS)
        self._reviewed_file = _File(root / "reviewed.csv", COLUMNS)
        self._accepted_file = _File(root / "accepted.csv", ("case", "round"))
        self._seconds_file = _File(root / "seconds.csv", ("case", "slice", "seconds"))
        self._tags: dict[str, dict[str, Tag]] = {}
        self._begun: dict[str, dict[str, Tag]] = {}
        self._reviewed: dict[str, set[int]] = {}
        self._accepted: dict[str, int] = {}
        self._seconds: dict[tuple[str, int], float] = {}
        self._seconds_waiting = False
        self._strange: dict[Path, list[dict[str, str]]] = {}
        """Lines of cases and structures that are not here, or of no slice: kept as they are."""
        self.reload()

    def reload(self) -> None:
        """Read what is new on the disk. Raises `BadDataset` for a table that cannot be read."""
        with self._lock:
            for file in (self._tags_file, self._begun_file):
                rows = file.read()
                if rows is not None:
                    found = self._read_tags(file.path, rows)
                    if file is self._tags_file:
                        self._tags = found
                    else:
                        self._begun = found
            rows = self._reviewed_file.read()
            if rows is not None:
                self._reviewed = self._read_reviewed(rows)
            rows = self._accepted_file.read()
            if rows is not None:
                self._accepted = {row["case"]: whole_number(row["round"]) or 0 for row in rows}
            rows = self._seconds_file.read()
            if rows is not None:
                self._seconds = _read_seconds(rows)

    # --- tags ---

    def begin_tags(self, path: Path, slices_from: int) -> list[str]:
        """Take over a person's table of tags where WORK has none yet; returns notes on lines of
        cases that are not there. Raises `BadDataset` (S04) for a line that means nothing.
        """
        with self._lock:
            if self._tags_file.path.exists():
                return [f"{path.name} was left out: this folder has tags already"]
            lines, notes = read_lines(
                path,
                COLUMNS,
                self._cases,
                "nothing was started",
                once=lambda line: class_of(line, self._classes),
            )
            for case, line in lines:
                name = class_of(line, self._classes)
                tag = _tag_of(line, slices_from)
                if name not in self._classes or (tag is not None and None in tag):
                    raise BadDataset(
                        f"{path.name}: the line of {case} means nothing",
                        where=str(path),
                        did="nothing was started",
                        fix=f"name a structure ({', '.join(self._classes)}) and two whole numbers "
                        f"from {slices_from}, or leave both empty",
                        code="S04",
                    )
                self._tags.setdefault(case, {})[name] = tag
            self._write_tags()
            return notes

    def tags(self, case: str) -> dict[str, Tag]:
        """Structure -> first and last slice in the order of the file."""
        with self._lock:
            both = {**self._begun.get(case, {}), **self._tags.get(case, {})}
            return {name: both[name] for name in self._classes if name in both}

    def tags_revision(self, case: str) -> int:
        """Which tags a case has; 0 for none."""
        tags = self.tags(case)
        return revision_of(repr(sorted(tags.items())).encode()) if tags else 0

    def set_tag(self, case: str, name: str, tag: Tag, revision: int) -> None:
        """Write a tag down, before this returns; `(None, None)` takes it back. Raises `Stale` where
        `revision` is not that of the case's tags.
        """
        with self._lock:
            self.reload()
            if revision != self.tags_revision(case):
                raise Stale(self.tags_revision(case))
            before = copy.deepcopy((self._tags, self._begun, self._strange))
            for table in (self._tags, self._begun):
                table.get(case, {}).pop(name, None)
            for path, rows in self._strange.items():
                self._strange[path] = [
                    row
                    for row in rows
                    if row["case"] != case or class_of(row, self._classes) != name
                ]
            if tag is None or None not in tag:
                self._tags.setdefault(case, {})[name] = tag
            elif tag != (None, None):
                self._begun.setdefault(case, {})[name] = tag
            try:
                self._write_tags()
            except FewmaskError:  # what is not on the disk is not said either
                self._tags, self._begun, self._strange = before
                raise

    def _write_tags(self) -> None:
        for file, tags in ((self._begun_file, self._begun), (self._tags_file, self._tags)):
            rows = [
                {
                    "case": case,
                    "class": name,
                    "first_slice": None if tag is None else tag[0],
                    "last_slice": None if tag is None else tag[1],
                }
                for case, named in sorted(tags.items())
                for name, tag in named.items()
            ]
            if rows or file.path.exists():
                file.write([*rows, *self._strange.get(file.path, [])])

    def _read_tags(self, path: Path, rows: list[dict[str, str]]) -> dict[str, dict[str, Tag]]:
        tags: dict[str, dict[str, Tag]] = {}
        self._strange[path] = []
        for row in rows:
            name = class_of(row, self._classes)
            known = row["case"] in self._cases and name in self._classes
            if not known or not _means_slices(row):
                self._strange[path].append({key: row[key] for key in TAG_COLUMNS})
            else:
                tags.setdefault(row["case"], {})[name] = _tag_of(row, 0)
        return tags

    # --- reviewed slices ---

    def reviewed(self, case: str) -> frozenset[int]:
        """Slices that a person outlined or declared empty, in the order of the file."""
        with self._lock:
            return frozenset(self._reviewed.get(case, ()))

    def write_reviewed(self, changed: Mapping[str, Iterable[int]]) -> None:
        """Write down which slices of these cases are reviewed; other cases stay."""
        with self._lock:
            self.reload()
            reviewed = {**self._reviewed, **{case: set(ds) for case, ds in changed.items()}}
            if reviewed == self._reviewed and self._reviewed_file.path.exists():
                return
            rows = [
                {"case": case, "first_slice": first, "last_slice": last}
                for case, slices in sorted(reviewed.items())
                for first, last in _runs(slices)
            ]
            self._reviewed_file.write(rows)
            self._reviewed = reviewed  # only now: a full disk must not make it look written

    def _read_reviewed(self, rows: list[dict[str, str]]) -> dict[str, set[int]]:
        reviewed: dict[str, set[int]] = {}
        for row in rows:
            first, last = whole_number(row["first_slice"]), whole_number(row["last_slice"])
            if first is not None and last is not None and last - first < 100_000:
                reviewed.setdefault(row["case"], set()).update(range(first, last + 1))
        return reviewed

    # --- accepted masks, seconds ---

    def accepted(self, case: str) -> int | None:
        """The round whose mask of a case was accepted."""
        with self._lock:
            return self._accepted.get(case)

    def set_accepted(self, case: str, number: int | None) -> None:
        """Write down that a round's mask was accepted; None takes it back."""
        with self._lock:
            self.reload()
            if self._accepted.get(case) == number:
                return
            accepted = {name: n for name, n in self._accepted.items() if name != case}
            if number is not None:
                accepted[case] = number
            rows = [{"case": name, "round": n} for name, n in sorted(accepted.items())]
            self._accepted_file.write(rows)
            self._accepted = accepted

    def add_seconds(self, case: str, index: int, seconds: float) -> None:
        """Remember time spent on a slice (in the order of the file); `write_seconds` keeps it."""
        with self._lock:
            self._seconds[case, index] = self._seconds.get((case, index), 0.0) + seconds
            self._seconds_waiting = True

    def seconds(self) -> dict[tuple[str, int], float]:
        """Seconds that a person spent on (case, slice in the order of the file)."""
        with self._lock:
            return dict(self._seconds)

    def write_seconds(self) -> None:
        """Write the ledger, if there is anything new."""
        with self._lock:
            if self._seconds_waiting:
                self._seconds_file.write(
                    {"case": case, "slice": index, "seconds": f"{seconds:.1f}"}
                    for (case, index), seconds in sorted(self._seconds.items())
                )
                self._seconds_waiting = False


def in_frame(tag: Tag, info: ScanInfo) -> Tag:
    """A tag in the order of the file as one in d, or the other way round."""
    if tag is None or not info.flipped:
        return tag
    last, first = (None if end is None else info.turn(end) for end in tag)
    return first, last


def _means_slices(row: Mapping[str, str]) -> bool:
    """Is each end left empty, or a slice's number?"""
    ends = (row["first_slice"], row["last_slice"])
    return all(is_empty(end) or whole_number(end) is not None for end in ends)


def _tag_of(row: Mapping[str, str], slices_from: int) -> Tag:
    texts = (row["first_slice"], row["last_slice"])
    if all(map(is_empty, texts)):
        return None
    first, last = (whole_number(text) for text in texts)
    return (
        None if first is None or first < slices_from else first - slices_from,
        None if last is None or last < slices_from else last - slices_from,
    )


def _read_seconds(rows: list[dict[str, str]]) -> dict[tuple[str, int], float]:
    found = {}
    for row in rows:
        try:
            found[row["case"], int(row["slice"])] = float(row["seconds"])
        except ValueError:
            continue  # a line that a person broke: the ledger is a convenience
    return found


def _runs(slices: Iterable[int]) -> list[tuple[int, int]]:
    """Whole numbers as first and last of each stretch without a gap."""
    runs: list[tuple[int, int]] = []
    for index in sorted(slices):
        if runs and runs[-1][1] == index - 1:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return runs
