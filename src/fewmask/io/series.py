"""Which DICOM series a folder holds: files sorted into series by their headers, or, where a header
without identity leaves no other way, by folder and geometry.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewmask.core.errors import BadScan, NoRoom
from fewmask.core.words import count
from fewmask.io.instance import NO_SCAN, Instance, is_dicom, read_instance
from fewmask.io.persons import protocol_words

_TOLD_APART = ("SOPClassUID", "Modality", "SeriesNumber", "SeriesDescription", "Rows", "Columns")
"""With folder and geometry, what tells series without a UID from each other."""
_MAX_FILES = 100_000
_MAX_DEPTH = 4
_PROBED = 20
_OTHERS = (".nii", ".gz", ".h5", ".json", ".csv", ".txt", ".xml", ".pdf", ".png", ".jpg", ".zip")


@dataclass(frozen=True, eq=False)
class Series:
    """The files of one series in a folder, with what tells it from others."""

    uid: str
    """Its SeriesInstanceUID; empty where its files have none and were grouped by folder and
    geometry.
    """
    instances: tuple[Instance, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """Its files, in order of name."""
        return tuple(instance.path for instance in self.instances)

    @property
    def modality(self) -> str:
        """`CT`, `MR`, `SR`, ..."""
        return self.instances[0].text("Modality")

    @property
    def number(self) -> str:
        """The series number, as text."""
        return self.instances[0].text("SeriesNumber")

    @property
    def description(self) -> str:
        """What the scanner's operator called it: may name a person, so for no message."""
        return self.instances[0].text("SeriesDescription")

    @property
    def shown(self) -> str:
        """The words of the description that imaging protocols use."""
        return protocol_words(self.description, self.instances[0].names)

    @property
    def is_no_scan(self) -> bool:
        """A segmentation, structure set, dose, report or the like."""
        return not self.instances[0].is_image or self.modality in NO_SCAN

    @property
    def count(self) -> int:
        """How many slices: files, or frames of one file."""
        return max(len(self.instances), int(self.instances[0].number("NumberOfFrames")))

    @property
    def title(self) -> str:
        """One line for a list to choose from."""
        first = self.instances[0]
        size = f"{first.number('Columns'):g} x {first.number('Rows'):g} x {len(self.files)}"
        shown = size if first.is_image else f"{count(len(self.files), 'object')} without an image"
        return (
            f"series {self.number or '?'}: {self.modality or '?'}, {shown}, "
            f"{self.shown or 'no description'}, {self.uid or 'without UID'}"
        )

    def answers(self, wanted: str) -> bool:
        """Whether `series` means this one, by UID, number or description."""
        names = [name.casefold() for name in (self.uid, self.number, self.description) if name]
        return wanted.strip().casefold() in names


def is_dicom_folder(folder: Path, deep: bool = True) -> bool:
    """Does a file in the folder (`deep`: or below it) hold DICOM? Looks at the first bytes of at
    most 20 files per folder.

    A folder that cannot be read is none; a file that cannot is passed over.
    """
    looked: Counter[Path] = Counter()
    with suppress(NoRoom):
        for path in _files(folder, deep):
            looked[path.parent] += 1
            with suppress(NoRoom):
                if looked[path.parent] <= _PROBED and is_dicom(path):
                    return True
    return False


def list_series(folder: Path, files: Sequence[Path] | None = None) -> list[Series]:
    """All series in the folder and its sub-folders, or in `files` of it, ordered by number; headers
    only. Files without a SeriesInstanceUID are grouped by folder and geometry.

    Raises `BadScan`: nothing DICOM here, a damaged or empty file or a program in a preamble (D08),
    a DICOMDIR that points out (D09); and `NoRoom` for a file that may not be read (N47).
    """
    groups: dict[tuple[object, ...], list[Instance]] = {}
    folders, empty = set(), []
    for path in _files(folder) if files is None else files:
        instance = read_instance(path) if is_dicom(path) else None
        if instance is not None:
            groups.setdefault(_group(instance), []).append(instance)
            folders.add(path.parent)
        elif not path.stat().st_size:
            empty.append(path)
    # A slice at the end of a stack leaves no gap behind: an empty file among slices is one that was
    # not copied.
    if lost := [path for path in empty if path.parent in folders]:
        raise BadScan(
            f"{count(len(lost), 'empty file')} among the slices of a series",
            where=[path.name for path in lost[:5]],
            did="the series was not read",
            fix=(
                "copy the series again from the source, or remove the empty files if they are none "
                "of its slices"
            ),
            code="D08",
        )
    if not groups:
        raise BadScan(
            f"no DICOM series in {folder.name}",
            where=folder.name,
            fix="give the folder of the series",
            code="D08",
        )
    found = [
        Series(members[0].text("SeriesInstanceUID"), tuple(members)) for members in groups.values()
    ]
    return sorted(found, key=_order)


def _group(instance: Instance) -> tuple[object, ...]:
    """What all files of a series share."""
    if uid := instance.text("SeriesInstanceUID"):
        return (uid,)
    return (
        instance.path.parent,
        *(instance.text(name) for name in _TOLD_APART),
        tuple(np.round(instance.numbers("ImageOrientationPatient"), 3) + 0.0),
        tuple(np.round(instance.numbers("PixelSpacing"), 4)),
    )


def _order(series: Series) -> tuple[int, str]:
    """By number, those without one last."""
    number = int(series.number) if series.number.isdecimal() else 10**9
    return number, series.uid or str(series.files[0])


def _files(folder: Path, deep: bool = True) -> Iterator[Path]:
    """Files that may be DICOM, in and below the folder, in order of name; links only where they
    stay inside it.
    """
    root, waiting, left = folder.resolve(), [(folder, 0)], _MAX_FILES
    while waiting:
        current, depth = waiting.pop()
        for entry in _entries(current):
            path = current / entry.name
            if entry.name.startswith(".") or (entry.is_symlink() and not _inside(path, root)):
                continue
            mode = entry.stat().st_mode
            if stat.S_ISREG(mode) and not entry.name.lower().endswith(_OTHERS):
                left -= 1
                if left < 0:
                    raise BadScan(
                        f"more than {_MAX_FILES:,} files",
                        where=folder.name,
                        fix="give the folder of one case",
                        code="D08",
                    )
                yield path
            elif deep and stat.S_ISDIR(mode) and not entry.is_symlink() and depth < _MAX_DEPTH:
                waiting.append((path, depth + 1))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise NoRoom(
            f"cannot read {folder.name}: {error.strerror}",
            fix=f"check who may read {folder.name}",
            code="N47",
        ) from error


def _inside(path: Path, root: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):
        return False
