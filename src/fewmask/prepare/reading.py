"""Read one scan and its mask, check them against each other, and say all that prepare needs to know
of them.
"""

import errno
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
from fewmask.core.volume import LabelMap, Volume
from fewmask.io.dicom import read_series
from fewmask.io.identity import identifying_fields
from fewmask.io.nifti import check_same_grid, files_of, is_nifti, read_labels, read_volume
from fewmask.io.stream import sha256
from fewmask.prepare.content import looks_like_ct, mask_warnings, scan_warnings
from fewmask.prepare.discover import Pair
from fewmask.prepare.look_alikes import thumbnails
from fewmask.prepare.mapping import Mapped, map_labels, map_parts, part_names
from fewmask.prepare.options import PrepareOptions, ScanOptions

EMPTY_MASK = (
    "M10: the mask is empty and masks are partial, so the scan counts as not outlined at all"
)
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
    ct: bool
    """Intensities look like Hounsfield units."""
    percentiles: tuple[float, float]
    """Intensities at the recipe's percentiles, for MR."""
    notes: tuple[str, ...]
    thumbnails: str = ""
    """See `look_alikes`."""


def read_pair(pair: Pair, options: PrepareOptions, names: Mapping[str, int]) -> Reading:
    """Read and check one pair. Raises `BadScan` or `BadDataset` for this case alone."""
    volume = read_scan(pair, options.scans)
    mapped, notes = _read_mask(pair, volume, options, names)
    labels = None if mapped is None else mapped.voxels
    if labels is not None and options.labels and not labels.any() and options.masks == "partial":
        notes = (*notes, EMPTY_MASK)
    intensities = volume.intensities()
    ct = looks_like_ct(intensities)
    mr = Recipe("mr", "mr", percentiles=options.wanted_recipe.percentiles)
    warnings = scan_warnings(volume, intensities, ct)
    if labels is not None:
        warnings += mask_warnings(intensities, labels, ct)
    outlined = () if labels is None else tuple(int(d) for d in np.flatnonzero(labels.any((1, 2))))
    counts = {} if mapped is None else mapped.counts
    return Reading(
        volume,
        labels,
        counts,
        outlined,
        ct,
        mr.bounds(intensities),
        (*volume.notes, *notes, *warnings, *_identifying(pair)),
        thumbnails(intensities),
    )


def _identifying(pair: Pair) -> tuple[str, ...]:
    """Of NIfTI files; that DICOM files name their patient is no news."""
    files = [pair.image] if is_nifti(pair.image) and pair.image.is_file() else []
    files += [pair.mask] if pair.mask is not None else list(pair.parts.values())
    return tuple(note for path in files for note in identifying_fields(path))


def read_scan(pair: Pair, options: ScanOptions) -> Volume:
    """The scan of a pair, NIfTI or DICOM."""
    if pair.image.is_dir():
        return read_series(pair.image, options.series, keep_first=options.keep_first)
    return read_volume(pair.image, options.read)


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
    scan = (
        sorted(path for path in pair.image.rglob("*") if path.is_file())
        if pair.image.is_dir()
        else files_of(pair.image)
    )
    parts = (
        []
        if not pair.parts
        else [
            pair.parts[name]
            for names in part_names(options.labels, pair.parts).values()
            for name in names
        ]
    )
    masks = [*([pair.mask] if pair.mask else []), *parts]
    return [*scan, *(path for mask in masks for path in files_of(mask))]


def stamp_of(pair: Pair, options: PrepareOptions, names: Mapping[str, int]) -> str:
    """Names, sizes and times of the files and what the data set calls its values, to see quickly
    that nothing changed.
    """
    lines = [
        f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns}"
        for path in source_files(pair, options)
    ]
    return hashlib.sha256("\n".join([*lines, repr(sorted(names.items()))]).encode()).hexdigest()


def digest_files(pair: Pair, options: PrepareOptions) -> str:
    """SHA-256 over the files' own SHA-256."""
    return hashlib.sha256(
        "".join(sha256(path) for path in source_files(pair, options)).encode()
    ).hexdigest()


def _read_mask(
    pair: Pair, volume: Volume, options: PrepareOptions, names: Mapping[str, int]
) -> tuple[Mapped | None, tuple[str, ...]]:
    if not pair.has_mask or not options.labels:
        return None, ()
    if pair.mask is not None:
        label_map, notes = _on_grid(pair.mask, pair, volume, options)
        return map_labels(label_map.voxels, options.labels, names, str(pair.mask)), notes
    wanted = {name for group in part_names(options.labels, pair.parts).values() for name in group}
    parts = {
        name: _on_grid(pair.parts[name], pair, volume, options)[0].voxels for name in sorted(wanted)
    }
    return map_parts(parts, options.labels, pair.case), ()


def _on_grid(
    path: Path, pair: Pair, volume: Volume, options: PrepareOptions
) -> tuple[LabelMap, tuple[str, ...]]:
    label_map = read_labels(path, options.scans.read)
    notes = check_same_grid(volume.grid, label_map.grid, pair.image, path)
    # Accepted rounding of a header must not turn the mask another way than its scan.
    turned = volume.grid.orientation.apply(label_map.grid.orientation.undo(label_map.voxels))
    return LabelMap(turned, volume.grid), (*label_map.notes, *notes)


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
