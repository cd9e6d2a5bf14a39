"""A DICOM series of a folder on its way to becoming a case, and its line in `series.csv`."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

import numpy as np

from fewmask.io.dicom import Series
from fewmask.prepare.folder import printable
from fewmask.prepare.layout import Pair
from fewmask.prepare.names import identifying
from fewmask.prepare.seriestable import SeriesRow


@dataclass(eq=False)
class Entry:
    """One series, and what is decided about it."""

    pair: Pair
    """The case as its folder alone would make it."""
    series: Series
    patient: str = ""
    """Whose scan it is: the same for folders that one study or patient joins."""
    name: str = ""
    """What the patient's cases are called in this folder."""
    level: int = 0
    """How many folders below the pair's lead to the patient."""
    why: str = ""
    """Why it becomes no case; empty: it does."""
    whole: bool = False
    """Its folder is read as it is, whatever else is in it."""

    @cached_property
    def folder(self) -> Path:
        """The deepest folder that holds all its files."""
        return Path(os.path.commonpath([path.parent for path in self.series.files]))

    @cached_property
    def inner(self) -> tuple[str, ...]:
        """Folders from the patient's to its own."""
        return self.folder.relative_to(self.pair.image).parts[self.level :]

    @property
    def person(self) -> str:
        """Fingerprint of the patient's number."""
        return self.series.instances[0].person

    @property
    def study(self) -> str:
        """The study's UID."""
        return self.series.instances[0].text("StudyInstanceUID")


def rows_of(entries: Sequence[Entry]) -> list[SeriesRow]:
    """A line each. Folders whose names may identify a person are counted instead."""
    own = defaultdict(list)
    for entry in entries:
        own[entry.patient].append(entry)
    persons = persons_in(entries)
    return [_row_of(entry, own[entry.patient], list(own), persons) for entry in entries]


def persons_in(entries: Iterable[Entry]) -> frozenset[str]:
    """Fingerprints of the names in all headers."""
    return frozenset().union(
        *(one.names for entry in entries for one in entry.series.instances[:1])
    )


def _row_of(
    entry: Entry, own: Sequence[Entry], patients: Sequence[str], persons: frozenset[str]
) -> SeriesRow:
    here = [one for one in own if one.folder == entry.folder]
    folders = list(entry.inner)
    if len({id(one.pair) for one in own}) > 1:
        folders.insert(0, entry.pair.case)
    if len(folders) > 1:
        studies = [(*one.inner, "")[0] for one in own]
        study = _safe(folders[0], studies, "study", persons)
        folders = folders[1:]
    else:
        study = str(1 + list(dict.fromkeys(one.study for one in own)).index(entry.study))
    series = "/".join(folders)
    if identifying(series, persons) or not series.isprintable():
        series = f"folder {1 + sorted({one.folder for one in own}).index(entry.folder)}"
    if len(here) > 1 or not series:
        series = f"{series}#{1 + here.index(entry)}".lstrip("#")
    first = entry.series.instances[0]
    return SeriesRow(
        patient=_safe(entry.patient, patients, "patient", persons),
        study=study,
        series=series,
        description=_description(entry.series.shown),
        modality=printable(first.text("Modality")),
        slices=entry.series.count,
        spacing=_spacing(entry.series),
        keep="no" if entry.why else "yes",
    )


def _safe(name: str, all_names: Sequence[str], what: str, persons: frozenset[str]) -> str:
    """The name, or its number among all where it may identify a person."""
    if not identifying(name, persons) and name.isprintable():
        return name
    return f"{what} {1 + sorted(set(all_names) | {name}).index(name)}"


def _description(text: str) -> str:
    """Nothing that may identify a person, nor what a spreadsheet would compute."""
    shown = printable(text)[:64].lstrip("=+-@ ")
    return "" if identifying(shown) else shown


def _spacing(series: Series) -> str:
    """Slices, rows, columns in mm, as far as headers tell; the first from the slices' places."""
    first = series.instances[0]
    within = first.numbers("PixelSpacing")
    turn = first.numbers("ImageOrientationPatient")
    places = [one.numbers("ImagePositionPatient") for one in series.instances]
    step = first.number("SliceThickness")
    if len(places) > 1 and len(turn) == 6 and all(len(place) == 3 for place in places):
        along = np.sort(np.array(places) @ np.cross(turn[:3], turn[3:]))
        step = float(median(np.diff(along)))
    known = [step, *within] if len(within) == 2 and step > 0 else []
    return " x ".join(f"{mm:.4g}" for mm in known)
