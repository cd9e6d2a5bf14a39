"""DICOM series: sorted by position, checked slice by slice, read as one volume or refused with the
numbers.

Files are known by their content, never by their ending. Nothing that may identify a person is read
into a message: only geometry, modality, series number and series description are looked at.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from fewmask.core.errors import BadScan
from fewmask.core.volume import BURNED_IN, LabelMap, Volume
from fewmask.core.words import count
from fewmask.io.contrast import check_contrast
from fewmask.io.instance import (
    MASKS,
    Instance,
    check_instance,
    quiet,
    read_pixels,
    refuse,
)
from fewmask.io.memory import check_room
from fewmask.io.multiframe import is_multiframe, read_multiframe
from fewmask.io.series import Series, is_dicom_folder, list_series
from fewmask.io.slicestack import Stack

__all__ = [
    "Series",
    "is_dicom_folder",
    "list_series",
    "read_label_series",
    "read_series",
    "slices_of",
]

NO_UID = "no SeriesInstanceUID: slices were grouped by folder and geometry"

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


def read_series(
    folder: Path,
    series: str | None = None,
    *,
    keep_first: bool = False,
    files: Sequence[Path] | None = None,
) -> Volume:
    """Read one series as a volume: stored values kept, slope and inter from the rescale tags, file
    axes (column, row, slice).

    `series` chooses by UID, number or description where the folder has several; `files` are those
    of the folder to look at (None: all). `keep_first` keeps the first file of each position (lowest
    instance number) instead of refusing duplicates. Raises
    `BadScan` with the code D01 to D10 that applies, and `NoRoom` if the volume does not fit into
    memory.
    """
    voxels, affine, (slope, inter), notes = _read(
        folder, series, keep_first, scan=True, files=files
    )
    return Volume.from_file_order(voxels, affine, slope, inter, notes)


def read_label_series(folder: Path) -> LabelMap:
    """The stored values of one series as a label map: 0 is outside. Raises as `read_series`, and
    `BadScan` (M08) for negative values.
    """
    voxels, affine, scaling, notes = _read(folder, None, False, scan=False)
    if scaling != (1.0, 0.0):
        # Masks made from the slices of a scan keep its tags, and mean what is stored.
        notes = (*notes, f"{folder.name}: labels are the stored values, not rescaled")
    if int(voxels.min()) < 0:
        what, fix = (
            f"negative labels, down to {voxels.min()}",
            "give every structure a positive number",
        )
        raise BadScan(what, where=folder.name, fix=fix, code="M08")
    voxels = voxels.astype(np.min_scalar_type(int(voxels.max())))
    return replace(LabelMap.from_file_order(voxels, affine), notes=notes)


def _read(
    folder: Path,
    series: str | None,
    keep_first: bool,
    scan: bool,
    files: Sequence[Path] | None = None,
) -> tuple[
    Integer[np.ndarray, "i j k"], Float[np.ndarray, "4 4"], tuple[float, float], tuple[str, ...]
]:
    """Stored values in file order, affine, slope and intercept, notes; of a scan they must have
    contrast.
    """
    chosen, left_out = _choose(list_series(folder, files), series, folder)
    if len(chosen.instances) == 1 and is_multiframe(chosen.instances[0]):
        with quiet(chosen.instances[0].path):
            voxels, affine, scaling, more = read_multiframe(chosen.instances[0], keep_first)
        notes = (*left_out, *more, *(() if chosen.uid else (NO_UID,)))
    else:
        ordered, affine = _in_order(chosen, keep_first)
        voxels, scaling = _voxels(ordered, folder).transpose(2, 1, 0), _rescale(ordered[0])
        notes = (*left_out, *_notes(chosen, ordered, voxels.transpose(2, 1, 0)))
    if scan:
        check_contrast(voxels, *scaling, f"{folder.name} (series {chosen.number or '?'})")
    return voxels, affine, scaling, notes


def slices_of(
    folder: Path,
    series: str | None = None,
    *,
    keep_first: bool = False,
    files: Sequence[Path] | None = None,
) -> list[Path]:
    """The files that `read_series` reads, in the order of the volume's slices. Raises alike."""
    chosen, _ = _choose(list_series(folder, files), series, folder)
    ordered, _ = _in_order(chosen, keep_first)
    return [instance.path for instance in ordered]


def _in_order(chosen: Series, keep_first: bool) -> tuple[list[Instance], Float[np.ndarray, "4 4"]]:
    """The checked instances of a series along the slice axis, and the affine."""
    for instance in chosen.instances:
        check_instance(instance)
    _check_same(chosen.instances)
    order, affine = _stack(chosen.instances).place(keep_first)
    return [chosen.instances[n] for n in order], affine


def _choose(
    found: Sequence[Series], wanted: str | None, folder: Path
) -> tuple[Series, tuple[str, ...]]:
    """The series that is meant, and notes on those that hold no images."""
    chosen = [series for series in found if wanted is None or series.answers(wanted)]
    others = [series for series in chosen if series.is_no_scan]
    notes: tuple[str, ...] = ()
    if wanted is None and others and len(others) < len(chosen):
        chosen = [series for series in chosen if not series.is_no_scan]
        # Masks beside the slices are somebody else's to tell of: most are used.
        others = [series for series in others if series.modality not in MASKS]
        notes = tuple(f"left out, no scan: {series.title}" for series in others)
    if len(chosen) == 1:
        return chosen[0], notes
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
    if not series.uid:
        yield NO_UID
    if doubles:
        yield f"{count(doubles, 'slice')} left out, at a position that another one has"
    if any(instance.bare for instance in ordered):
        yield "DICOM files without preamble were read"
    if first.text("PhotometricInterpretation") == "MONOCHROME1":
        yield "MONOCHROME1: grey values were inverted"
    if any(instance.text("BurnedInAnnotation") == "YES" for instance in ordered):
        yield BURNED_IN
    padding = first.numbers("PixelPaddingValue")
    if padding and (padded := int(np.count_nonzero(voxels == padding[0]))):
        yield f"{count(padded, 'voxel holds', 'voxels hold')} the padding value {padding[0]:g}"
