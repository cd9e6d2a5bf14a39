"""Read one scan and its mask, check them against each other, and say all that prepare needs to know
of them.
"""

import errno
import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

import numpy as np
from jaxtyping import UInt8

from fewmask.core.errors import (
    BadCheckpoint,
    BadDataset,
    BadScan,
    FewmaskError,
    of_the_machine,
)
from fewmask.core.recipe import Recipe
from fewmask.core.volume import Grid, LabelMap, Plane, Volume
from fewmask.io.dicom import read_series
from fewmask.io.header import ReadOptions
from fewmask.io.identity import identifying_fields
from fewmask.io.image import files_of, read_grid, read_labels, read_names, read_volume
from fewmask.io.same_grid import directions_differ, lay_on_grid
from fewmask.io.stream import sha256
from fewmask.prepare.content import (
    drawn_across,
    label_values,
    mask_warnings,
    refuse_grey,
    scan_warnings,
    taken_in,
)
from fewmask.prepare.intensity import declare, intensity_notes, looks_like_ct
from fewmask.prepare.layout import Pair
from fewmask.prepare.look_alikes import thumbnails
from fewmask.prepare.mapping import (
    IGNORE,
    Mapped,
    Values,
    classes_of,
    map_labels,
    map_parts,
    part_names,
    values_of,
)
from fewmask.prepare.options import PrepareOptions, ScanOptions

EMPTY_MASK = (
    "M10: the mask is empty and masks are partial, so the scan counts as not outlined at all"
)
PROCESS_BYTES = 4 * 2**20
"""Files of this size are read in about the time that a process takes to start."""
_OF_ONE_CASE = ("N47", "F07", "F20")
_OF_A_NAME = (errno.ENAMETOOLONG, errno.EISDIR, errno.EILSEQ, errno.EINVAL)
"""What the system says of a file's name, not of the disk."""


@dataclass(frozen=True)
class Reading:
    """One case, read and checked."""

    volume: Volume
    labels: UInt8[np.ndarray, "d h w"] | None
    """Class indices; None without a mask."""
    counts: Mapping[int, int]
    """Source value -> voxels."""
    outlined: tuple[int, ...]
    """d of slices with any class in them."""
    unknown: tuple[int, ...]
    """d of slices that the data set marks as not looked at."""
    ct: bool
    """Intensities look like Hounsfield units."""
    percentiles: tuple[float, float]
    """Intensities at the recipe's percentiles, for MR."""
    notes: tuple[str, ...]
    thumbnails: str = ""
    """See `look_alikes`."""


def read_pair(pair: Pair, options: PrepareOptions, names: Mapping[str, Values]) -> Reading:
    """Read and check one pair. Raises `BadScan` or `BadDataset` for this case alone."""
    volume = read_scan(pair, options.scans)
    mapped, notes = read_mask(pair, volume, options, names)
    labels = None if mapped is None else mapped.voxels
    if labels is not None and options.masks == "partial":
        if labels.any():
            _refuse_across(LabelMap(labels, volume.grid), volume, pair, options.scans.plane)
        elif options.labels and not (mapped and mapped.unknown):
            notes = (*notes, EMPTY_MASK)
    intensities = volume.intensities()
    ct = looks_like_ct(volume)
    mr = Recipe("mr", "mr", percentiles=options.wanted_recipe.percentiles)
    warnings = scan_warnings(volume)
    warnings += intensity_notes(volume, options.wanted_recipe.modality)
    if labels is not None:
        warnings += mask_warnings(intensities, labels, ct)
    outlined = () if labels is None else tuple(int(d) for d in np.flatnonzero(labels.any((1, 2))))
    counts = {} if mapped is None else mapped.counts
    unknown = () if mapped is None else mapped.unknown
    if unknown:
        warnings.append(
            f"M19: {len(unknown)} of {len(volume.voxels)} slices hold voxels that the data set "
            f"marks {IGNORE!r}: these slices are unknown, and their outlines are left out"
        )
    return Reading(
        volume,
        labels,
        counts,
        outlined,
        unknown,
        ct,
        mr.bounds(intensities),
        (*volume.notes, *notes, *warnings, *_identifying(pair)),
        thumbnails(intensities),
    )


def _identifying(pair: Pair) -> tuple[str, ...]:
    """Of NIfTI files; that DICOM files name their patient is no news."""
    files = [pair.image] if pair.image.is_file() else []
    files += [pair.mask] if pair.mask is not None else list(pair.parts.values())
    return tuple(note for path in files for note in identifying_fields(path))


def read_scan(pair: Pair, options: ScanOptions) -> Volume:
    """The scan of a pair, NIfTI or DICOM, with its numbers as they were declared. Raises `BadScan`
    as its reader does, and for a file that is a label map (M20).
    """
    if pair.image.is_dir():
        volume = read_series(
            pair.image,
            options.series_word,
            keep_first=options.keep_first,
            files=pair.slices or None,
        )
    else:
        volume = read_volume(pair.image, options.read)
        if values := label_values(volume):
            raise BadScan(
                f"a label map, not a scan: all its voxels are {', '.join(map(str, values))}",
                where=str(pair.image),
                did="the case was skipped",
                fix="put it in labels/, or name it like its scan with _seg at the end",
                code="M20",
            )
    volume = volume.in_plane(options.plane or "axial")
    return declare(volume, options.intensity, str(pair.image))


def digest_voxels(volume: Volume) -> str:
    """Hash of a scan's intensities as stored, whatever its file is called."""
    digest = hashlib.sha256(
        f"{volume.shape}{volume.voxels.dtype.str}{volume.slope!r}{volume.inter!r}".encode()
    )
    digest.update(np.ascontiguousarray(volume.voxels).data)
    return digest.hexdigest()


def digest_labels(labels: UInt8[np.ndarray, "d h w"]) -> str:
    """Hash of class indices."""
    return hashlib.sha256(np.ascontiguousarray(labels).data).hexdigest()


def source_files(pair: Pair, options: PrepareOptions) -> list[Path]:
    """All files a case is made of, sorted; of `.hdr/.img` pairs both. Raises `BadScan` if one of a
    pair is missing.
    """
    scan = list(pair.slices) or (
        sorted(path for path in pair.image.rglob("*") if path.is_file())
        if pair.image.is_dir()
        else files_of(pair.image)
    )
    parts = (
        []
        if pair.mask or not pair.parts
        else [
            pair.parts[name]
            for names in part_names(options.labels, pair.parts).values()
            for name in names
        ]
    )
    masks = [*([pair.mask] if pair.mask else []), *parts]
    return [*scan, *(path for mask in masks for path in files_of(mask))]


def processes_for(pairs: Iterable[Pair], options: PrepareOptions) -> int:
    """`options.jobs`, and fewer for files so small that reading them takes no longer than starting
    a process. Files that are missing count nothing here: reading them tells.
    """
    size, enough = 0, (options.jobs - 1) * PROCESS_BYTES
    for pair in pairs:
        with suppress(OSError, FewmaskError):
            size += sum(path.stat().st_size for path in source_files(pair, options))
        if size >= enough:
            return options.jobs
    return 1 + size // PROCESS_BYTES


def stamp_of(pair: Pair, options: PrepareOptions, names: Mapping[str, Values]) -> str:
    """Names, sizes and times of the files and what the data set calls its values, to see quickly
    that nothing changed.
    """
    lines = [
        f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns}"
        for path in source_files(pair, options)
    ]
    if values_of(names, IGNORE):  # until 0.1 such voxels were background
        lines.append("ignored voxels are unknown")
    return hashlib.sha256("\n".join([*lines, repr(sorted(names.items()))]).encode()).hexdigest()


def digest_files(pair: Pair, options: PrepareOptions) -> str:
    """SHA-256 over the files' own SHA-256."""
    return hashlib.sha256(
        "".join(sha256(path) for path in source_files(pair, options)).encode()
    ).hexdigest()


def _refuse_across(labels: LabelMap, volume: Volume, pair: Pair, said: Plane | None) -> None:
    """Undrawn slices of another plane cross every drawn one: what is empty there is unknown. Of a
    scan that was plainly taken in another plane, somebody has to say which one was outlined.
    """
    plane, own = drawn_across(labels), labels.grid.plane
    what = f"single {plane} slices seem to be outlined, and {own} ones were expected"
    fix = f"say `plane={plane}`, or outline {own} slices"
    taken = taken_in(volume)
    if plane is None and said is None and taken not in (None, own):
        plane, what = taken, f"this is a {taken} scan: are its outlines {taken}, or {own}?"
        fix = f"say `plane={taken}` or `plane={own}`"
    if plane is not None:
        raise BadScan(
            what,
            where=f"mask  {pair.mask or pair.image}",
            did="the case was skipped: what is empty beside outlined slices is unknown",
            fix=fix,
            code="M12",
        )


def read_mask(
    pair: Pair, volume: Volume, options: PrepareOptions, names: Mapping[str, Values]
) -> tuple[Mapped | None, tuple[str, ...]]:
    """The mask of a pair on its scan's grid in our class indices, and notes; None without a mask or
    without classes. Of `volume` the grid alone is used. Raises `BadScan` or `BadDataset`.
    """
    if not pair.has_mask or not options.labels:
        return None, ()
    if pair.mask is not None:
        own = read_names(pair.mask)
        wanted = classes_of(options.labels, {**names, **own})
        label_map, notes = _on_grid(pair.mask, pair, volume, options, wanted)
        flipped = volume.grid.orientation.flips[0]
        mapped = map_labels(
            label_map.voxels, options.labels, {**names, **own}, str(pair.mask), flipped
        )
        return replace(mapped, counts=_as_declared(mapped.counts, own, names)), notes
    asked = {name for group in part_names(options.labels, pair.parts).values() for name in group}
    parts = {
        name: _on_grid(pair.parts[name], pair, volume, options)[0].voxels for name in sorted(asked)
    }
    return map_parts(parts, options.labels, pair.case), ()


def _as_declared(
    counts: Mapping[int, int], own: Mapping[str, int], names: Mapping[str, object]
) -> dict[int, int]:
    """Voxels under the numbers that the data set has for names: files number their segments as
    they like.
    """
    common = {value: names.get(name) for name, value in own.items()}
    found: dict[int, int] = {}
    for value, count in counts.items():
        declared = common.get(value)
        number = declared if isinstance(declared, int) else value
        found[number] = found.get(number, 0) + count
    return found


def _on_grid(
    path: Path,
    pair: Pair,
    volume: Volume,
    options: PrepareOptions,
    wanted: Mapping[int, str] | None = None,
) -> tuple[LabelMap, tuple[str, ...]]:
    try:
        read = read_labels(path, options.scans.read, wanted=wanted, grid=volume.grid)
        laid, notes = lay_on_grid(volume.grid, read, pair.image, path)
    except BadScan as error:
        if header_may_be_copied(error, path, volume.grid):
            error.fix = (
                f"if the mask was drawn on this scan and only its header is wrong, write a copy "
                f"under the scan's header and look at both: `fewmask check DATA "
                f"{quote(f'copy_header={pair.case}')} out=masks_fixed`"
            )
        raise
    refuse_grey(read, str(path))
    return laid, (*read.notes, *notes)


def header_may_be_copied(error: BadScan, path: Path, scan: Grid) -> bool:
    """Can the scan's header mend a mask that was refused, without turning it? Its shape must be the
    scan's, and its axes must lead where the scan's lead, or nowhere (N21).
    """
    if error.code == "N21":
        return read_grid(path, ReadOptions(assume_ras=True)).shape == scan.shape
    if error.code not in ("M02", "M03"):
        return False
    try:
        mask = read_grid(path)
    except BadScan as without:  # read under options: the header itself says nothing
        return without.code == "N21"
    return not directions_differ(scan, mask)


def spoils_one_case(error: Exception) -> FewmaskError | None:
    """The message that refuses one case and leaves the others alone, or None for what ends all.

    Of one case are: what is wrong with it, a file that may not be read (N47) or whose name is too
    long to be written, what does not fit into memory (F07, F20), and whatever else its reading,
    computing or writing raises. A full or read-only disk, a wrong setting and a signal end all.
    """
    if isinstance(error, BadScan | BadDataset | BadCheckpoint):
        return error
    if isinstance(error, FewmaskError):
        cause = error.__cause__
        of_its_name = isinstance(cause, OSError) and cause.errno in _OF_A_NAME
        return error if error.code in _OF_ONE_CASE or of_its_name else None
    if isinstance(error, OSError | MemoryError):
        return of_the_machine(error)
    return BadScan(
        f"failed in a way fewmask does not know: {type(error).__name__}: {error}",
        did="the case was skipped",
        fix="please report this line, after removing what names a person",
    )
