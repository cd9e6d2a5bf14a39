"""Read one scan and its mask, check them against each other, and say all that prepare needs to know
of them.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from fewmask.core.errors import BadDataset, BadScan, FewmaskError
from fewmask.core.recipe import Recipe
from fewmask.core.volume import LabelMap, Volume
from fewmask.io.dicom import read_series
from fewmask.io.image import files_of, read_labels, read_names, read_volume
from fewmask.io.same_grid import check_same_grid
from fewmask.io.stream import sha256
from fewmask.prepare.content import label_values, looks_like_ct, mask_warnings, scan_warnings
from fewmask.prepare.layout import Pair
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


def read_pair(pair: Pair, options: PrepareOptions, names: Mapping[str, Values]) -> Reading:
    """Read and check one pair. Raises `BadScan` or `BadDataset` for this case alone."""
    volume = read_scan(pair, options.scans)
    mapped, notes = _read_mask(pair, volume, options, names)
    labels = None if mapped is None else mapped.voxels
    intensities = volume.intensities()
    ct = looks_like_ct(intensities)
    mr = Recipe("mr", "mr", percentiles=options.wanted_recipe.percentiles)
    warnings = scan_warnings(volume, intensities, ct)
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
        (*volume.notes, *notes, *warnings),
    )


def read_scan(pair: Pair, options: ScanOptions) -> Volume:
    """The scan of a pair, NIfTI or DICOM. Raises `BadScan` as its reader does, and for a file that
    is a label map (M20).
    """
    if pair.image.is_dir():
        return read_series(pair.image, options.series, keep_first=options.keep_first)
    volume = read_volume(pair.image, options.read)
    if values := label_values(volume):
        raise BadScan(
            f"a label map, not a scan: all its voxels are {', '.join(map(str, values))}",
            where=str(pair.image),
            did="the case was skipped",
            fix="put it in labels/, or name it like its scan with _seg at the end",
            code="M20",
        )
    return volume


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
        if pair.mask or not pair.parts
        else [
            pair.parts[name]
            for names in part_names(options.labels, pair.parts).values()
            for name in names
        ]
    )
    masks = [*([pair.mask] if pair.mask else []), *parts]
    return [*scan, *(path for mask in masks for path in files_of(mask))]


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


def _read_mask(
    pair: Pair, volume: Volume, options: PrepareOptions, names: Mapping[str, Values]
) -> tuple[Mapped | None, tuple[str, ...]]:
    if not pair.has_mask or not options.labels:
        return None, ()
    if pair.mask is not None:
        own = read_names(pair.mask)
        wanted = classes_of(options.labels, {**names, **own})
        label_map, notes = _on_grid(pair.mask, pair, volume, options, wanted)
        mapped = map_labels(label_map.voxels, options.labels, {**names, **own}, str(pair.mask))
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
    label_map = read_labels(path, options.scans.read, wanted=wanted, grid=volume.grid)
    notes = check_same_grid(volume.grid, label_map.grid, pair.image, path)
    # Accepted rounding of a header must not turn the mask another way than its scan.
    turned = volume.grid.orientation.apply(label_map.grid.orientation.undo(label_map.voxels))
    return LabelMap(turned, volume.grid), (*label_map.notes, *notes)


def spoils_one_case(error: FewmaskError) -> bool:
    """Does this make one case unusable and leave the others alone? What is wrong with it, may not
    be read (N47), is too large.
    """
    return isinstance(error, BadScan | BadDataset) or error.code in ("N47", "F20")
