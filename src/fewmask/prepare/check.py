"""Everything that is wrong with a data folder, in one pass, with the very code that prepare uses.
Writes nothing.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fewmask.core.errors import BadDataset, BadScan, FewmaskError
from fewmask.core.signals import stopping
from fewmask.core.volume import Grid, LabelMap
from fewmask.core.words import count
from fewmask.io.atomic import make_folder
from fewmask.io.image import read_labels, read_segments, write_labels
from fewmask.io.nifti import is_written_here
from fewmask.io.outputs import check_file, check_folder
from fewmask.io.same_grid import lay_on_grid
from fewmask.prepare.discover import Layout, Pair, Seen, discover
from fewmask.prepare.mapping import IGNORE, Values, check_found, resolve, values_of
from fewmask.prepare.options import AS_THEY_ARE, PrepareOptions, ScanOptions
from fewmask.prepare.outlines import take_outlines
from fewmask.prepare.reading import (
    header_may_be_copied,
    processes_for,
    read_pair,
    read_scan,
    spoils_one_case,
)
from fewmask.prepare.seriestable import SeriesRow, write_series
from fewmask.prepare.workers import end_if_starting, in_processes


@dataclass(frozen=True)
class CheckedCase:
    """One line of the report."""

    case: str
    shape: tuple[int, int, int]
    """(d, h, w)."""
    spacing_mm: tuple[float, float, float]
    kind: str
    """`ct` or `mr`."""
    outlined: int
    """Slices with an outline of an asked-for structure."""
    values: dict[int, int]
    """Values in the mask -> voxels."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckReport:
    """What a folder holds and everything that is wrong with it."""

    layout: str
    cases: list[CheckedCase]
    problems: list[dict[str, Any]]
    """Whole messages with file, row and fix; `case` is empty for problems of the folder."""
    notes: list[str] = field(default_factory=list)
    files: tuple[Seen, ...] = ()
    """Every file that was seen, and what becomes of it."""
    series: tuple[SeriesRow, ...] = ()
    """A line per DICOM series: `write_series` makes a table of them."""

    def write_series(self, file: Path | str) -> None:
        """Write the DICOM series as a table (`.csv`), to correct its column `keep` and hand it in
        as `series`. Raises `BadConfig` (F11) where another file stands there.
        """
        write_series(Path(file), self.series)

    def __repr__(self) -> str:
        """Counts; the messages themselves are in `problems` and `notes`."""
        kinds = Counter(case.kind for case in self.cases)
        scans = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
        outlined = sum(case.outlined > 0 for case in self.cases)
        return (
            f"CheckReport({self.layout}: {count(len(self.cases), 'scan')} "
            f"({scans or 'none usable'}), {outlined} with outlines; "
            f"{count(len(self.problems), 'problem')}; {count(len(self.notes), 'note')})"
        )


def check(data: Path, options: PrepareOptions) -> CheckReport:
    """Read every scan and mask once. Raises `BadDataset` only if nothing is found at all."""
    end_if_starting()
    layout = take_outlines(
        discover(
            data, options.scans.follow_links, options.scans.channel, series=options.scans.series
        ),
        options.outlines,
    )
    problems = [{"case": "", **problem.as_dict()} for problem in layout.problems]
    undeclared = _undeclared(layout, options)
    problems += undeclared
    # Without --label any non-zero value counts, so that geometry and content of masks are still
    # checked; so it does where the names asked for mean nothing here.
    anything = not options.labels or bool(undeclared)
    work = [(pair, options, dict(layout.names), anything) for pair in layout.pairs]
    died: list[str] = []
    with stopping("checking", data):
        jobs = processes_for(layout.pairs, options)
        results = list(in_processes(_check_one, work, jobs, died.append))
    cases = [result for result in results if isinstance(result, CheckedCase)]
    problems += [
        {"case": pair.case, **r}
        for pair, r in zip(layout.pairs, results, strict=True)
        if isinstance(r, dict)
    ]
    if not anything and not any(pair.parts for pair in layout.pairs):
        problems += _absent_values(layout, cases, options)
    notes = [*died, *layout.notes, *([] if options.labels else _unasked(layout))]
    notes += [f"{case.case}: {note}" for case in cases for note in case.notes]
    return CheckReport(layout.kind, cases, problems, notes, layout.files, layout.series)


def _unasked(layout: Layout) -> list[str]:
    """Masks of one structure each are not looked into before somebody says which ones."""
    names = sorted({name for pair in layout.pairs for name in pair.parts})
    if not names:
        return []
    shown = ", ".join(names[:20]) + (f" ... ({len(names)} in all)" if len(names) > 20 else "")
    return [f"a mask file per structure, not looked into: ask for some with `labels` ({shown})"]


def _undeclared(layout: Layout, options: PrepareOptions) -> list[dict[str, Any]]:
    """The problem of names that the data set does not declare: one of the folder, not of each case.
    Files with a structure each say it themselves.
    """
    try:
        if options.labels and not any(pair.parts for pair in layout.pairs):
            resolve(options.labels, layout.names)
    except BadDataset as error:
        return [{"case": "", **error.as_dict()}]
    return []


def _absent_values(
    layout: Layout, cases: list[CheckedCase], options: PrepareOptions
) -> list[dict[str, Any]]:
    """The problem of values that no label map holds, of those that could be read."""
    masked = {pair.case for pair in layout.pairs if pair.mask}
    totals: Counter[int] = Counter()
    for case in cases:
        totals.update(case.values)
    read = sum(case.case in masked for case in cases)
    try:
        check_found(options.labels, layout.names, totals, read)
    except BadDataset as error:
        return [{"case": "", **error.as_dict()}]
    return []


def copy_header(data: Path, case: str, out: Path, scans: ScanOptions = AS_THEY_ARE) -> Path:
    """Write a copy of a mask under its scan's geometry into `out`; the mask itself is never edited.

    For masks saved by tools that ignore headers: same shape, wrong origin or spacing, or no
    orientation. A mask that lies on its scan (stored in another order, cropped) is laid into its
    grid. Raises `BadDataset` for an unknown case, one without mask or with a file per structure,
    shapes that differ (M01), and axes that lead elsewhere than the scan's (M03): that copy would be
    flipped.
    """
    found = discover(data, scans.follow_links, scans.channel, series=scans.series)
    pairs = {pair.case: pair for pair in found.pairs}
    pair = pairs.get(case)
    if pair is None or pair.mask is None:
        raise BadDataset(
            f"no case with a mask in one file is called {case!r}",
            where=str(data),
            fix=f"cases: {', '.join(list(pairs)[:10])}",
            code="M15",
        )
    grid, mask_path = read_scan(pair, scans).grid, pair.mask
    target = out / f"{case}.nii.gz"
    check_folder(out, [data])
    check_file(target, [pair.image, mask_path], is_ours=is_written_here)
    copy = _under_header(grid, pair, mask_path, scans)
    make_folder(out)
    write_labels(target, copy)
    return target


def _under_header(grid: Grid, pair: Pair, path: Path, scans: ScanOptions) -> LabelMap:
    """The mask on the scan's grid: by its place where it has one there, else voxel by voxel as it
    is stored.
    """
    try:
        return lay_on_grid(grid, read_labels(path, scans.read), pair.image, path)[0]
    except BadScan as error:
        if not header_may_be_copied(error, path, grid):
            raise BadDataset(
                f"{error.what}, and the scan's header cannot mend that",
                where=error.where or str(path),
                did="no copy was written",
                fix="save the mask again on the grid of this scan, in the program that drew it",
                code=error.code,
            ) from error
    # Only stored voxels count here, so a header without orientation will do.
    mask = read_labels(path, replace(scans.read, assume_ras=True))
    return LabelMap.from_file_order(mask.to_file_order(), grid.affine)


def _check_one(
    item: tuple[Pair, PrepareOptions, dict[str, Values], bool],
) -> CheckedCase | dict[str, Any]:
    pair, options, names, anything = item
    try:
        if anything and pair.mask is not None:
            values = _values(pair.mask, options) - set(values_of(names, IGNORE))
            options = replace(options, labels={"anything": tuple(sorted(values))} if values else {})
        reading = read_pair(pair, options, names)
    except Exception as error:
        refusal = error if isinstance(error, FewmaskError) else spoils_one_case(error)
        if refusal is None:
            raise
        return refusal.as_dict()
    volume = reading.volume
    kind = "ct" if reading.ct else "mr"
    counts = dict(reading.counts)
    return CheckedCase(
        pair.case,
        volume.shape,
        volume.spacing_mm,
        kind,
        len(reading.outlined),
        counts,
        reading.notes,
    )


def _values(mask: Path, options: PrepareOptions) -> set[int]:
    """What a mask may hold, besides 0: what it lists, or what is in its voxels."""
    if listed := {segment.value for segment in read_segments(mask)}:
        return listed
    voxels = read_labels(mask, options.scans.read).voxels
    return {int(value) for value in np.unique(voxels) if value}
