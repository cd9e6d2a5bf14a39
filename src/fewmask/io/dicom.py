"""DICOM series: sorted by position, checked slice by slice, read as one volume or refused with the
numbers.

Files are known by their content, never by their ending. Nothing that may identify a person is read
into a message: only geometry, modality, series number and series description are looked at.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from fewmask.core.errors import BadScan, NoRoom
from fewmask.core.volume import BURNED_IN, Volume
from fewmask.io.instance import (
    Instance,
    check_instance,
    is_dicom,
    read_instance,
    read_pixels,
    refuse,
)
from fewmask.io.memory import check_room
from fewmask.io.slicestack import Stack
from fewmask.io.stream import about
from fewmask.io.voxels import check_contrast

_MAX_FILES = 100_000
_MAX_DEPTH = 4
_PROBED = 20
_OTHERS = (".nii", ".gz", ".h5", ".json", ".csv", ".txt", ".xml", ".pdf", ".png", ".jpg", ".zip")
_PIXEL_TAGS = (
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "RescaleType",
    "Modality",
)
_SAME: tuple[tuple[str, Callable[[Instance], object]], ...] = (
    ("rows and columns", lambda instance: (instance.number("Rows"), instance.number("Columns"))),
    (
        "image orientation",
        lambda instance: tuple(np.round(instance.numbers("ImageOrientationPatient"), 3) + 0.0),
    ),
    ("pixel spacing", lambda instance: tuple(np.round(instance.numbers("PixelSpacing"), 4))),
    ("rescale slope and intercept", lambda instance: _rescale(instance)),
    ("kind of pixels", lambda instance: tuple(instance.text(name) for name in _PIXEL_TAGS)),
)


@dataclass(frozen=True, eq=False)
class Series:
    """The files of one series in a folder, with what tells it from others."""

    uid: str
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
        """What the scanner's operator called it."""
        return self.instances[0].text("SeriesDescription")

    @property
    def title(self) -> str:
        """One line for a list to choose from."""
        first = self.instances[0]
        size = f"{first.number('Columns'):g} x {first.number('Rows'):g} x {len(self.files)}"
        shown = size if first.is_image else f"{len(self.files)} objects without an image"
        return (
            f"series {self.number or '?'}: {self.modality or '?'}, {shown}, "
            f"{self.description or 'no description'}, {self.uid}"
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


def list_series(folder: Path) -> list[Series]:
    """All series in the folder and its sub-folders, ordered by number; headers only.

    Raises `BadScan`: nothing DICOM here, a damaged or empty file or a program in a preamble (D08),
    a DICOMDIR that points out (D09); and `NoRoom` for a file that may not be read (N47).
    """
    groups: dict[str, list[Instance]] = {}
    folders, empty = set(), []
    for path in _files(folder):
        instance = read_instance(path) if is_dicom(path) else None
        if instance is not None:
            groups.setdefault(instance.text("SeriesInstanceUID"), []).append(instance)
            folders.add(path.parent)
        elif not path.stat().st_size:
            empty.append(path)
    # A slice at the end of a stack leaves no gap behind: an empty file among slices is one that was
    # not copied.
    if lost := [path for path in empty if path.parent in folders]:
        raise BadScan(
            f"{len(lost)} empty files among the slices of a series",
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
    found = [Series(uid, tuple(members)) for uid, members in groups.items()]
    return sorted(found, key=_order)


def _order(series: Series) -> tuple[int, str]:
    """By number, those without one last."""
    return (int(series.number) if series.number.isdecimal() else 10**9, series.uid)


def read_series(folder: Path, series: str | None = None, *, keep_first: bool = False) -> Volume:
    """Read one series as a volume: stored values kept, slope and inter from the rescale tags, file
    axes (column, row, slice).

    `series` chooses by UID, number or description where the folder has several; `keep_first` keeps
    the first file of each position (lowest instance number) instead of refusing duplicates. Raises
    `BadScan` with the code D01 to D10 that applies, and `NoRoom` if the volume does not fit into
    memory.
    """
    chosen = _choose(list_series(folder), series, folder)
    for instance in chosen.instances:
        check_instance(instance)
    _check_same(chosen.instances)
    order, affine = _stack(chosen.instances).place(keep_first)
    ordered = [chosen.instances[n] for n in order]
    voxels = _voxels(ordered, folder)
    slope, inter = _rescale(ordered[0])
    with about(folder):
        check_contrast(voxels, slope, inter)
    return Volume.from_file_order(
        voxels.transpose(2, 1, 0), affine, slope, inter, tuple(_notes(chosen, ordered, voxels))
    )


def _choose(found: Sequence[Series], wanted: str | None, folder: Path) -> Series:
    chosen = [series for series in found if wanted is None or series.answers(wanted)]
    if len(chosen) == 1:
        return chosen[0]
    what = "in one folder" if wanted is None else f"match `series` {wanted!r}"
    raise BadScan(
        f"{len(chosen)} series {what}",
        where=[folder.name, *(series.title for series in found[:20])],
        did="nothing was read",
        fix="choose one with `series` and its number, description or UID",
        code="D04",
    )


def _check_same(instances: Sequence[Instance]) -> None:
    """Orientation, spacing, size, rescale and kind of pixels must agree; the instances that differ
    from most are named.
    """
    for what, key in _SAME:
        counted = Counter(map(key, instances))
        usual = counted.most_common(1)[0][0]
        odd = [instance for instance in instances if key(instance) != usual]
        if odd:
            lines = [f"{instance.path.name}: {key(instance)}" for instance in odd[:5]]
            lines.append(f"the other {len(instances) - len(odd)}: {usual}")
            raise BadScan(
                f"{what} differ within the series, in {len(odd)} of {len(instances)} files",
                where=lines,
                did="the series was not read",
                fix=(
                    "move these files (a localizer, another acquisition) into a folder of their own"
                ),
                code="D05",
            )


def _stack(instances: Sequence[Instance]) -> Stack:
    first = instances[0]
    between_rows, between_columns = first.numbers("PixelSpacing")
    positions = [instance.numbers("ImagePositionPatient") for instance in instances]
    thickness = abs(first.number("SpacingBetweenSlices") or first.number("SliceThickness"))
    return Stack(
        positions=np.array(positions, float),
        orientation=np.array(first.numbers("ImageOrientationPatient"), float),
        spacing_mm=(between_rows, between_columns),
        thickness_mm=thickness or None,
        names=tuple(instance.path.name for instance in instances),
        ranks=tuple(int(instance.number("InstanceNumber")) for instance in instances),
    )


def _voxels(
    ordered: Sequence[Instance], folder: Path
) -> Integer[np.ndarray, "slices rows columns"]:
    first = read_pixels(ordered[0])
    check_room(2 * first.nbytes * len(ordered), f"{folder.name} ({len(ordered)} slices)")
    voxels = np.empty((len(ordered), *first.shape), first.dtype)
    voxels[0] = first
    for n, instance in enumerate(ordered[1:], start=1):
        values = read_pixels(instance)
        if values.shape != first.shape or values.dtype != first.dtype:
            raise refuse(
                instance.path,
                "its pixels are not what its header says",
                "D05",
                "export the series again from the archive",
            )
        voxels[n] = values
    return voxels


def _rescale(instance: Instance) -> tuple[float, float]:
    """Slope and intercept; 1 and 0 where there are none."""
    return instance.number("RescaleSlope", 1.0), instance.number("RescaleIntercept", 0.0)


def _notes(
    series: Series, ordered: Sequence[Instance], voxels: Integer[np.ndarray, "slices rows columns"]
) -> Iterator[str]:
    first = ordered[0]
    doubles = len(series.instances) - len(ordered)
    if doubles:
        yield f"{doubles} slices at a position that another one has were left out"
    if any(instance.bare for instance in ordered):
        yield "DICOM files without preamble were read"
    if first.text("PhotometricInterpretation") == "MONOCHROME1":
        yield "MONOCHROME1: grey values were inverted"
    if any(instance.text("BurnedInAnnotation") == "YES" for instance in ordered):
        yield BURNED_IN
    padding = first.numbers("PixelPaddingValue")
    if padding and (count := int(np.count_nonzero(voxels == padding[0]))):
        yield f"{count} voxels hold the padding value {padding[0]:g}"


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
