"""A prepared dataset: a folder of cases and of small tables that a person can open."""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from fewmask.core.budget import Budget, Split, draw_slices, draw_volumes
from fewmask.core.config import parse
from fewmask.core.errors import BadDataset, FewmaskError
from fewmask.core.names import check_name, printable
from fewmask.core.recipe import Recipe
from fewmask.core.volume import BURNED_IN
from fewmask.io.case import CaseFile
from fewmask.io.tables import read_csv, write_csv
from fewmask.io.text import expecting, read_json, read_toml, whole_number, write_json, write_toml

_PREPARE_AGAIN = "run `fewmask prepare` again: it rebuilds only what is broken"
_LONGEST_CLASS = 100
_LARGEST_SIDE = 32767
"""Voxels along an axis, as NIfTI has it."""
FORMAT = 2
_MOST_BYTES = 2**30
"""Of a file with a row per case: 2 KB each, and 10 bytes more for every outlined slice."""
MANIFEST = "dataset.json"
Tags = dict[str, dict[str, tuple[int, int] | None]]
"""case -> class -> first and last slice (d, inclusive), or None if absent from the whole scan; no
key = nobody said.
"""
TAG_COLUMNS = ["case", "class", "first_slice", "last_slice"]
REVIEWED_COLUMNS = ["case", "first_slice", "last_slice"]


@dataclass(frozen=True)
class CaseRow:
    """One line of the case table."""

    case: str
    patient: str
    image: str
    """Source file, relative to the data folder."""
    mask: str | None
    sha256: str
    """Of the source files' bytes (scan, then mask)."""
    stamp: str
    """Sizes and times of the source files, to see quickly that nothing changed."""
    voxels_sha256: str
    """Of the scan's voxels, to find the same scan under two names."""
    labels_sha256: str | None
    """Of the class indices; None without a mask."""
    shape: tuple[int, int, int]
    """(d, h, w)."""
    spacing_mm: tuple[float, float, float]
    percentiles: tuple[float, float]
    """Intensities at the recipe's percentiles, for MR."""
    complete: bool
    """Every slice is reviewed: an empty slice is truly empty."""
    outlined: list[int]
    """Slices d with any class in them, on the scanner's grid."""
    counts: dict[str, int]
    """Values found in the source mask -> voxels."""
    ct: bool
    """Intensities look like Hounsfield units."""
    flipped: bool
    """d runs against the file's slice axis."""
    present: dict[str, list[int]] = field(default_factory=dict)
    """Per class the reviewed slices d that hold it after placing on the network's grid."""
    notes: tuple[str, ...] = ()
    unknown: list[int] = field(default_factory=list)
    """Slices d with voxels that the data set marks as not looked at: neither outlined nor empty."""
    thumbnails: str = field(default="", repr=False)
    """Three small pictures as text, to find scans that look alike; empty for earlier versions."""

    @property
    def burned_in(self) -> bool:
        """Text in the pixels may name a person: no picture of this scan goes into what
        is shared.
        """
        return BURNED_IN in self.notes


_HASHED = ("voxels_sha256", "labels_sha256", "spacing_mm", "percentiles", "complete")
"""Of a case, what training depends on."""


@dataclass(frozen=True)
class Prepared:
    """An opened prepared dataset."""

    folder: Path
    recipe: Recipe
    classes: tuple[str, ...]
    cases: dict[str, CaseRow]
    tags: Tags
    reviewed: dict[str, frozenset[int]]
    split: Split
    refused: tuple[dict[str, Any], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    """Folders of its scans and outlines, as seen from its own; empty for earlier versions."""

    @property
    def inputs(self) -> list[Path]:
        """Its own folder and the sources: nothing is written into any of them."""
        return [self.folder, *((self.folder / source).resolve() for source in self.sources)]

    @classmethod
    def open(cls, folder: Path, manifest_name: str = MANIFEST) -> "Prepared":
        """Read the tables. Raises `BadDataset` if the folder is not a finished prepared dataset or
        does not hang together.
        """
        manifest = folder / manifest_name
        if not manifest.exists():
            raise BadDataset(
                "not a prepared dataset (or not finished): there is no dataset.json",
                where=str(folder),
                fix=f"make it with `fewmask prepare` and `out={folder}`",
                code="F13",
            )
        record = read_json(manifest, kind=BadDataset, max_bytes=_MOST_BYTES)
        if record.get("format") != FORMAT:
            raise BadDataset(
                f"prepared dataset has format {record.get('format')!r}, this version reads "
                f"{FORMAT}",
                where=str(manifest),
                fix="prepare the data again with this version",
                code="W06",
            )
        with expecting(manifest, kind=BadDataset, fix=_PREPARE_AGAIN):
            cases = {row["case"]: parse(CaseRow, row, "case") for row in record["cases"]}
            classes = _classes_of(record)
            recipe = Recipe.from_dict(record["recipe"])
            refused, options = tuple(map(dict, record["refused"])), dict(record["options"])
            sources = tuple(map(str, record.get("sources", ())))
            _ = options["labels"]
        for case, row in cases.items():
            check_name(case, "a case", str(manifest), kind=BadDataset)
            _check_row(row, classes, manifest)
        place = folder / "split.toml"
        split = read_split(place)
        split.check({case: row.patient for case, row in cases.items()}, str(place))
        tags = _read_tags(folder / "tags.csv", cases, classes)
        reviewed = _read_reviewed(folder / "reviewed.csv", cases)
        told = tags, reviewed, split, refused, options, sources
        return cls(folder, recipe, classes, cases, *told)

    def case(self, case: str) -> CaseFile:
        """Open one case. Raises `BadDataset` for a name that is not there."""
        return CaseFile(self.case_path(case))

    def case_path(self, case: str) -> Path:
        """The file of a case. Raises `BadDataset` for a name that is not there."""
        if case not in self.cases:
            raise BadDataset(
                f"no case is called {case!r}",
                where=str(self.folder),
                fix="see the case table in dataset.json",
                code="S04",
            )
        return self.folder / "cases" / f"{case}.h5"

    @cached_property
    def digest(self) -> str:
        """Hash of everything training depends on: cases, recipe, classes, tags, reviewed slices,
        split.
        """
        record = {
            "cases": {
                case: [getattr(row, name) for name in _HASHED]
                for case, row in sorted(self.cases.items())
            },
            "recipe": self.recipe.as_dict(),
            "classes": self.classes,
            "tags": self.tags,
            "reviewed": {case: sorted(slices) for case, slices in self.reviewed.items()},
            "split": asdict(self.split),
        }
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()

    def bounds(self, case: str) -> tuple[float, float]:
        """Intensities that the recipe maps to 0 and 1 in this case."""
        if self.recipe.modality == "ct":
            return self.recipe.window_hu
        return self.cases[case].percentiles

    @property
    def patients(self) -> dict[str, str]:
        """Case -> patient."""
        return {case: row.patient for case, row in self.cases.items()}

    def draw_budget(
        self, slices: int | None, volumes: int, draw: int, in_order: bool = False
    ) -> Budget:
        """The masks of the training part that may be seen: `slices` outlined slices if given, else
        `volumes` whole masks.
        """
        if slices is not None:
            return draw_slices(self.candidates(self.split.train), self.patients, slices, draw)
        return draw_volumes(self.whole_masks(), self.patients, volumes, draw, in_order)

    def whole_masks(self) -> list[str]:
        """Cases of the training part with a complete mask that is not empty: what a budget of
        volumes is drawn from.
        """
        candidates = self.candidates(self.split.train)
        return [case for case, slices in candidates.items() if self.cases[case].complete and slices]

    def candidates(self, cases: Iterable[str]) -> dict[str, list[int]]:
        """Per case the reviewed slices with any structure in them after placing: what a budget of
        slices is drawn from.
        """
        candidates: dict[str, list[int]] = {}
        for case in cases:
            row = self.cases[case]
            filled = set().union(*row.present.values())
            used = self.recipe.slices(row.shape[0])
            candidates[case] = sorted(filled.intersection(used))
        return candidates

    def tag(self, case: str, d: int) -> list[int]:
        """Per class 1 if the tags say it is in slice d, 0 if they say it is not, -1 if
        nobody said.
        """
        spans = self.tags.get(case, {})
        tags = []
        for name in self.classes:
            span = spans.get(name)
            if name not in spans:
                tags.append(-1)
            else:
                tags.append(int(span is not None and span[0] <= d <= span[1]))
        return tags


def is_prepared(folder: Path) -> bool:
    """Is this a prepared dataset, rather than a folder of scans?"""
    return (folder / MANIFEST).exists() and (folder / "cases").is_dir()


def way_to(folder: Path, source: Path) -> str:
    """The way from a prepared dataset to what it was made from, so that two datasets of the same
    scans are the same wherever they lie; the whole path where there is none (another drive).
    """
    try:
        return Path(os.path.relpath(source.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return str(source.resolve())


def inputs_of(place: Path) -> list[Path]:
    """A place that scans are taken from and, if it is a prepared dataset, their own folders:
    nothing is written into any of them.
    """
    if not is_prepared(place):
        return [place]
    try:
        return Prepared.open(place).inputs
    except FewmaskError:  # told by whoever reads it
        return [place]


def write_manifest(prepared: Prepared) -> None:
    """Write dataset.json, the last file of a prepared dataset: a folder without it is not ready."""
    record = {
        "format": FORMAT,
        "recipe": prepared.recipe.as_dict(),
        "classes": list(prepared.classes),
        "options": dict(prepared.options),
        "sources": list(prepared.sources),
        "cases": [asdict(row) for row in prepared.cases.values()],
        "refused": list(prepared.refused),
    }
    write_json(prepared.folder / MANIFEST, record)


def write_tags(path: Path, tags: Tags) -> None:
    """Write tags.csv (slice numbers are d, counted from the feet)."""
    rows: list[dict[str, object]] = []
    for case, spans in sorted(tags.items()):
        for name, span in spans.items():
            first, last = span or (None, None)
            rows.append({"case": case, "class": name, "first_slice": first, "last_slice": last})
    write_csv(path, TAG_COLUMNS, rows)


def write_reviewed(path: Path, reviewed: Mapping[str, Iterable[int]]) -> None:
    """Write reviewed.csv as ranges of d."""
    rows: list[dict[str, object]] = []
    for case, slices in sorted(reviewed.items()):
        for first, last in ranges(slices):
            rows.append({"case": case, "first_slice": first, "last_slice": last})
    write_csv(path, REVIEWED_COLUMNS, rows)


def ranges(slices: Iterable[int]) -> list[tuple[int, int]]:
    """Runs of consecutive numbers, each as its first and last: 1 2 3 7 -> (1, 3) (7, 7)."""
    runs: list[tuple[int, int]] = []
    for d in sorted(slices):
        # The next number of the last run moves that run's end; any other begins a run of its own.
        if runs and d == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], d)
        else:
            runs.append((d, d))
    return runs


def read_split(path: Path) -> Split:
    """A split file: lists `train`, `val`, `test` of case ids."""
    record = read_toml(path, kind=BadDataset, max_bytes=_MOST_BYTES)
    with expecting(path, kind=BadDataset, fix="write lists `train`, `val` and `test` of case ids"):
        return parse(Split, record, path.name)


def write_split(path: Path, split: Split) -> None:
    """Write a split file."""
    write_toml(path, {name: list(getattr(split, name)) for name in ("train", "val", "test")})


def read_budget(path: Path) -> Budget:
    """A budget file."""
    record = read_toml(path, kind=BadDataset)
    with expecting(path, kind=BadDataset):
        return parse(Budget, record, path.name)


def write_budget(path: Path, budget: Budget) -> None:
    """Write a budget file."""
    record = {
        "kind": budget.kind,
        "draw": budget.draw,
        "slices": [list(pair) for pair in budget.slices],
        "volumes": list(budget.volumes),
    }
    write_toml(path, record)


def _classes_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Raises `ValueError` for names that cannot stand in a table or on a terminal."""
    classes = tuple(record["classes"])
    wrong = [name for name in classes if not (isinstance(name, str) and _is_plain(name))]
    if wrong or not classes or len(set(classes)) < len(classes):
        raise ValueError(f"classes {[printable(name) for name in classes][:5]} are no names")
    return classes


def _is_plain(name: str) -> bool:
    return 0 < len(name) <= _LONGEST_CLASS and name.isprintable() and name == name.strip()


def _check_row(row: CaseRow, classes: tuple[str, ...], manifest: Path) -> None:
    """Raise `BadDataset` where a case's slices or size cannot be."""
    depth = row.shape[0]
    slices = [*row.outlined, *(d for held in row.present.values() for d in held)]
    if (
        not all(0 < n <= _LARGEST_SIDE for n in row.shape)
        or not all(0 < mm < math.inf for mm in row.spacing_mm)
        or not all(0 <= d < depth for d in slices)
        or not set(row.present) <= set(classes)
    ):
        raise BadDataset(
            f"{manifest.name} does not hold what it should: case {row.case} has sizes, slices or "
            "structures that cannot be",
            where=f"file  {manifest}",
            fix=_PREPARE_AGAIN,
            code="C03",
        )


def _read_span(row: Mapping[str, str], depth: int, path: Path) -> tuple[int, int]:
    """First and last d of a line. Raises `BadDataset` for what is not within the scan."""
    with expecting(path, kind=BadDataset, fix=f"correct the line of case {row['case']}"):
        first, last = (whole_number(row[name], depth) for name in ("first_slice", "last_slice"))
        if first > last:
            raise ValueError(f"slices {first}..{last}: the first is behind the last")
        return first, last


def _read_tags(path: Path, cases: Mapping[str, CaseRow], classes: tuple[str, ...]) -> Tags:
    tags: Tags = {}
    for row in read_csv(path, TAG_COLUMNS):
        if row["case"] not in cases or row["class"] not in classes:
            raise BadDataset(
                f"tags.csv names {row['case']} / {row['class']}, which is not there",
                where=str(path),
                fix="take the line out, or correct its names",
                code="S04",
            )
        absent = row["first_slice"] == row["last_slice"] == ""
        span = None if absent else _read_span(row, cases[row["case"]].shape[0], path)
        tags.setdefault(row["case"], {})[row["class"]] = span
    return tags


def _read_reviewed(path: Path, cases: Mapping[str, CaseRow]) -> dict[str, frozenset[int]]:
    reviewed: dict[str, set[int]] = {case: set() for case in cases}
    for row in read_csv(path, REVIEWED_COLUMNS):
        if row["case"] not in cases:
            raise BadDataset(
                f"reviewed.csv names {row['case']}, which is not there",
                where=str(path),
                fix="take the line out, or correct its name",
                code="S04",
            )
        first, last = _read_span(row, cases[row["case"]].shape[0], path)
        reviewed[row["case"]].update(range(first, last + 1))
    return {case: frozenset(slices) for case, slices in reviewed.items()}
