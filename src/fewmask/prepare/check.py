"""Everything that is wrong with a data folder, in one pass, with the very code that prepare uses.
Writes nothing.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fewmask.core.errors import BadDataset, FewmaskError
from fewmask.core.signals import stopping
from fewmask.core.volume import LabelMap
from fewmask.io.atomic import make_folder
from fewmask.io.nifti import is_written_here, read_grid, read_labels, write_labels
from fewmask.io.outputs import check_file, check_folder
from fewmask.prepare.discover import Pair, discover
from fewmask.prepare.mapping import check_found
from fewmask.prepare.options import PrepareOptions
from fewmask.prepare.reading import read_pair, spoils_one_case
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

    def __repr__(self) -> str:
        """Counts; the messages themselves are in `problems` and `notes`."""
        kinds = Counter(case.kind for case in self.cases)
        scans = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        outlined = sum(case.outlined > 0 for case in self.cases)
        return (
            f"CheckReport({self.layout}: {len(self.cases)} scans ({scans or 'none usable'}), "
            f"{outlined} with outlines; {len(self.problems)} problems; {len(self.notes)} notes)"
        )


def check(data: Path, options: PrepareOptions) -> CheckReport:
    """Read every scan and mask once. Raises `BadDataset` only if nothing is found at all."""
    end_if_starting()
    layout = discover(data, options.scans.follow_links)
    problems = [{"case": "", **problem.as_dict()} for problem in layout.problems]
    # Without --label any non-zero value counts, so that geometry and content of masks are still
    # checked.
    anything = not options.labels
    work = [(pair, options, dict(layout.names), anything) for pair in layout.pairs]
    with stopping("checking", data):
        results = list(in_processes(_check_one, work, options.jobs))
    cases = [result for result in results if isinstance(result, CheckedCase)]
    problems += [
        {"case": pair.case, **r}
        for pair, r in zip(layout.pairs, results, strict=True)
        if isinstance(r, dict)
    ]
    if options.labels and not any(pair.parts for pair in layout.pairs):
        totals: dict[int, int] = {}
        for case in cases:
            for value, count in case.values.items():
                totals[value] = totals.get(value, 0) + count
        try:
            check_found(
                options.labels, layout.names, totals, sum(bool(pair.mask) for pair in layout.pairs)
            )
        except BadDataset as error:
            problems.append({"case": "", **error.as_dict()})
    notes = [*layout.notes, *(f"{case.case}: {note}" for case in cases for note in case.notes)]
    return CheckReport(layout.kind, cases, problems, notes)


def copy_header(data: Path, case: str, out: Path) -> Path:
    """Write a copy of a mask under its scan's geometry into `out`; the mask itself is never edited.

    For masks saved by tools that ignore headers: same shape, wrong origin or direction. Raises
    `BadDataset` for an unknown case, one without mask, or shapes that differ.
    """
    pairs = {pair.case: pair for pair in discover(data).pairs}
    pair = pairs.get(case)
    if pair is None or pair.mask is None:
        raise BadDataset(
            f"no case with a mask is called {case!r}",
            where=str(data),
            fix=f"cases: {', '.join(list(pairs)[:10])}",
            code="M15",
        )
    grid, mask = read_grid(pair.image), read_labels(pair.mask)
    if grid.shape != mask.grid.shape:
        raise BadDataset(
            "scan and mask differ in shape, so a header cannot mend them",
            where=str(pair.mask),
            code="M01",
        )
    stored = mask.grid.orientation.undo(mask.voxels)
    target = out / f"{case}.nii.gz"
    check_folder(out, [data])
    check_file(target, [pair.image, pair.mask], is_ours=is_written_here)
    make_folder(out)
    write_labels(target, LabelMap.from_file_order(stored, grid.affine))
    return target


def _check_one(
    item: tuple[Pair, PrepareOptions, dict[str, int], bool],
) -> CheckedCase | dict[str, Any]:
    pair, options, names, anything = item
    try:
        if anything and pair.mask is not None:
            values = _values(pair.mask)
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


def _values(mask: Path) -> set[int]:
    return {int(value) for value in np.unique(read_labels(mask).voxels) if value}
