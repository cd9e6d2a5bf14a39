"""Write a prepared dataset: read every pair, write the good ones as cases in parallel, resolve the
recipe from all of them, then write the tables.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

from fewmask.core.config import parse
from fewmask.core.errors import BadConfig, BadDataset, FewmaskError, NoRoom
from fewmask.core.placement import Placement
from fewmask.core.progress import OnProgress, Pace, ignore_progress
from fewmask.core.recipe import RECIPES, Recipe
from fewmask.core.signals import stopping
from fewmask.core.words import count
from fewmask.io.atomic import is_part, make_folder
from fewmask.io.case import CaseFile, write_case
from fewmask.io.lock import LOCK, folder_lock
from fewmask.io.outputs import check_folder
from fewmask.io.prepared import (
    MANIFEST,
    CaseRow,
    Prepared,
    Tags,
    way_to,
    write_manifest,
    write_reviewed,
    write_split,
    write_tags,
)
from fewmask.prepare.discover import Layout, Pair, discover
from fewmask.prepare.look_alikes import look_alikes
from fewmask.prepare.mapping import Values, check_found, resolve
from fewmask.prepare.options import PrepareOptions
from fewmask.prepare.outlines import take_outlines
from fewmask.prepare.reading import (
    digest_files,
    digest_labels,
    digest_voxels,
    processes_for,
    read_pair,
    spoils_one_case,
    stamp_of,
)
from fewmask.prepare.seriestable import is_table
from fewmask.prepare.splitfile import check_names, open_split
from fewmask.prepare.splits import choose_split, patients_of
from fewmask.prepare.tables import check_tables
from fewmask.prepare.tags import move_ends, order_notes, read_reviewed, read_tags, tags_from_masks
from fewmask.prepare.workers import end_if_starting, in_processes

__all__ = ["PrepareOptions", "PrepareSummary", "prepare"]

_EARLIER = "earlier.json"
"""What the manifest is called while a preparation changes the cases that it lists."""
_OWN_FILES = {
    MANIFEST,
    _EARLIER,
    "tags.csv",
    "reviewed.csv",
    "split.toml",
    "cases",
    "budgets",
    LOCK,
}


@dataclass(frozen=True)
class PrepareSummary:
    """What was done."""

    prepared: Path
    built: int
    reused: int
    refused: list[dict[str, Any]]
    """One record per case that could not be used, with its whole message."""
    notes: list[str]

    def __repr__(self) -> str:
        """Counts; the messages themselves are in `refused` and `notes`."""
        parts = [f"{self.built} built", f"{self.reused} reused", f"{len(self.refused)} refused"]
        return (
            f"PrepareSummary({self.prepared}: {', '.join(parts)}; {count(len(self.notes), 'note')})"
        )


@dataclass(frozen=True)
class _Case:
    """What one worker found, small enough to send between processes."""

    row: CaseRow
    reused: bool


@dataclass
class _Preparation:
    """A preparation under way: what was asked for, and what reading the cases gave."""

    out: Path
    options: PrepareOptions
    layout: Layout
    before: Prepared | None
    """What an earlier preparation left in `out`."""
    notes: list[str]
    cases: dict[str, _Case]
    """Case id -> what can be used."""
    refused: list[dict[str, Any]]
    """One record per case that cannot."""

    @property
    def images(self) -> dict[str, Path]:
        """Case id -> its scan."""
        return {pair.case: pair.image for pair in self.layout.pairs}

    @property
    def all_reused(self) -> bool:
        """Was no case written?"""
        return all(case.reused for case in self.cases.values())


def prepare(
    data: Path,
    out: Path,
    options: PrepareOptions,
    on_progress: OnProgress = ignore_progress,
) -> PrepareSummary:
    """Prepare `data` into `out`; `on_progress` is called after each case.

    Cases that fail on their own are listed in the summary and left out. Raises `BadDataset` if
    nothing is left or the folder as a whole cannot be used, `BadConfig` for options that cannot be
    met, `NoRoom` for the machine's limits.
    """
    end_if_starting()
    if not options.labels:
        raise BadConfig(
            "no structure was asked for",
            fix="name it and its value in the masks with `labels`, such as liver=6",
            code="C02",
        )
    layout = take_outlines(
        discover(
            data, options.scans.follow_links, options.scans.channel, series=options.scans.series
        ),
        options.outlines,
    )
    if not any(pair.parts for pair in layout.pairs) and any(pair.mask for pair in layout.pairs):
        resolve(options.labels, layout.names)  # a name that means nothing is told at once
    check_tables(options, layout)
    problems = [{"case": "", **problem.as_dict()} for problem in layout.problems]
    if not layout.pairs:
        raise _nothing_usable(data, problems)
    _check_split(layout, options, problems)
    series = options.scans.series
    said = [options.tags, options.reviewed, options.patients, options.outlines]
    said += [Path(series)] if series is not None and is_table(series) else []
    inputs = [data, *(path for path in said if isinstance(path, Path))]
    check_folder(out, inputs, owns=lambda path: path.name in _OWN_FILES or is_part(path))
    left = [*make_folder(out), *make_folder(out / "cases")]
    with stopping("preparing", out), folder_lock(out, "prepare") as died:
        notes = [*layout.notes, *left, *filter(None, [died])]
        before = _before(out)
        cases, refused = _read_all(layout, out, options, _reusable(before, options), on_progress)
        refused = problems + refused
        if not cases:
            raise _nothing_usable(data, refused)
        _refuse_lost(before, refused)
        work = _Preparation(out, options, layout, before, notes, cases, refused)
        sources = tuple(way_to(out, path) for path in (data, options.outlines) if path is not None)
        prepared = replace(_collect_tables(work), sources=sources)
        if not (work.all_reused and (out / MANIFEST).exists() and before == prepared):
            _write_tables(prepared)
    reused = sum(case.reused for case in cases.values())
    return PrepareSummary(out, len(cases) - reused, reused, refused, work.notes)


def _check_split(layout: Layout, options: PrepareOptions, problems: list[dict[str, Any]]) -> None:
    """The names of a split file against those of the folder, before scans are read."""
    if options.split:
        cases = [pair.case for pair in layout.pairs]
        with _told_beside(problems):
            check_names(open_split(options.split, cases)[0], options.split, cases)


@contextmanager
def _told_beside(refused: list[dict[str, Any]]) -> Iterator[None]:
    """A name that a split misses may be that of a scan that was refused: its error says both."""
    try:
        yield
    except BadDataset as error:
        error.where = (*error.where, *_lines(refused))
        raise


def _lines(refused: list[dict[str, Any]]) -> list[str]:
    return [f"{line['case'] or 'folder'}: {line['what']}" for line in refused[:10]]


def _nothing_usable(data: Path, refused: list[dict[str, Any]]) -> FewmaskError:
    machine = all(line["exit_code"] == NoRoom.exit_code for line in refused)
    return (NoRoom if machine else BadDataset)(
        "no case can be used",
        where=_lines(refused),
        did="no dataset was made",
        fix=str(refused[0]["fix"])
        if machine or len({line["fix"] for line in refused}) == 1
        else f"`fewmask check {quote(str(data))}`",
        code=str(refused[0]["code"]) if machine else "M15",
    )


def _collect_tables(work: _Preparation) -> Prepared:
    """The dataset as it will be: what depends on all cases together. Adds to the notes, writes
    nothing.
    """
    options, out = work.options, work.out
    _check_values(work)
    recipe = resolve_recipe(options.wanted_recipe, work.cases.values())
    patients = patients_of(sorted(work.cases), options.patients, work.layout.patients)
    classes = tuple(options.labels)
    rows = {}
    for name, case in sorted(work.cases.items()):
        present = _present_slices(out, case.row, recipe, classes)
        rows[name] = replace(case.row, patient=patients[name], present=present)
    reviewed = _reviewed_slices(work, rows)
    tags = _tags(work, rows)
    with _told_beside(work.refused):
        given, said = open_split(options.split, rows) if options.split else (None, [])
        split = choose_split(rows, given)
    work.notes += said
    work.notes += [f"{name}: {note}" for name, row in rows.items() for note in row.notes]
    work.notes += [*_advice(rows, recipe, options, tags), *look_alikes(rows, split)]
    mark = {**options.mark, "recipe": options.recipe, "size": options.size}
    mark["slices_from"] = options.slices_from
    return Prepared(out, recipe, classes, rows, tags, reviewed, split, tuple(work.refused), mark)


def _check_values(work: _Preparation) -> None:
    """Every value that was asked for stands in some mask. Masks with a file per structure say that
    themselves.
    """
    if any(pair.parts for pair in work.layout.pairs):
        return
    masked = [case.row for case in work.cases.values() if case.row.mask]
    totals: Counter[int] = Counter()
    for row in masked:
        totals.update({int(value): count for value, count in row.counts.items()})
    check_found(work.options.labels, work.layout.names, totals, len(masked))


def _reviewed_slices(work: _Preparation, rows: Mapping[str, CaseRow]) -> dict[str, frozenset[int]]:
    """Per case the slices d of which the masks, or a table of the user's, say all there is."""
    complete = work.options.masks == "complete"
    reviewed = {
        name: set(range(row.shape[0]) if complete and row.mask else row.outlined) - set(row.unknown)
        for name, row in rows.items()
    }
    if work.options.reviewed:
        more, notes = read_reviewed(work.options.reviewed, rows, work.options.slices_from)
        work.notes += [*notes, *order_notes(more, work.images)]
        for name, slices in more.items():
            reviewed[name] |= slices
    return {name: frozenset(slices) for name, slices in reviewed.items()}


def _tags(work: _Preparation, rows: Mapping[str, CaseRow]) -> Tags:
    """Tags of the user's table, read off complete masks, or none."""
    classes = tuple(work.options.labels)
    if work.options.tags == "from-masks":
        return move_ends(tags_from_masks(rows, classes), work.options.tags_off, rows)
    if isinstance(work.options.tags, Path):
        tags, notes = read_tags(work.options.tags, rows, classes, work.options.slices_from)
        work.notes += [*notes, *order_notes(tags, work.images)]
        return tags
    return {}


def _write_tables(prepared: Prepared) -> None:
    """Write everything but the cases, the manifest last: until it stands, the folder is no dataset.

    Not called when the folder holds the very same, since others may be reading there.
    """
    out = prepared.folder
    _set_aside(out)
    write_tags(out / "tags.csv", prepared.tags)
    write_reviewed(out / "reviewed.csv", prepared.reviewed)
    write_split(out / "split.toml", prepared.split)
    for stale in {path.stem for path in (out / "cases").glob("*.h5")} - set(prepared.cases):
        (out / "cases" / f"{stale}.h5").unlink()
    write_manifest(prepared)
    (out / _EARLIER).unlink(missing_ok=True)


def resolve_recipe(recipe: Recipe, cases: Iterable[_Case]) -> Recipe:
    """Fill in from the data what the recipe leaves open. Raises `BadDataset` if CT and MR are mixed
    and the recipe does not say.
    """
    rows = [case.row for case in cases]
    ct = [row.case for row in rows if row.ct]
    other = [row.case for row in rows if not row.ct]
    if recipe.modality == "auto" and ct and other:
        raise BadDataset(
            "some scans look like CT, some do not",
            where=[f"CT: {', '.join(ct[:5])}", f"not: {', '.join(other[:5])}"],
            did="no dataset was made",
            fix="prepare them apart, or with `recipe=ct` or `recipe=mr`",
            code="N38",
        )
    extents = []
    for row in rows:
        _, height, width = (n * mm for n, mm in zip(row.shape, row.spacing_mm, strict=True))
        extents.append(max(height, width))
    spacings = [min(row.spacing_mm[1:]) for row in rows]
    return recipe.resolve(modality="ct" if ct else "mr", extent_mm=extents, spacing_mm=spacings)


def _read_all(
    layout: Layout,
    out: Path,
    options: PrepareOptions,
    earlier: Mapping[str, CaseRow],
    on_progress: OnProgress,
) -> tuple[dict[str, _Case], list[dict[str, Any]]]:
    """Every pair read and written, in parallel; the result does not depend on the order in which
    workers finish.
    """
    arguments = [
        (pair, out, options, dict(layout.names), earlier.get(pair.case)) for pair in layout.pairs
    ]
    pace = Pace("scan", len(layout.pairs))
    found: dict[str, _Case] = {}
    refused: list[dict[str, Any]] = []

    def say(note: str) -> None:
        on_progress(pace.event(len(found) + len(refused), note=note))

    jobs = processes_for(layout.pairs, options)
    results = in_processes(_prepare_or_refuse, arguments, jobs, say)
    with closing(results):
        for done, (pair, result) in enumerate(zip(layout.pairs, results, strict=True), 1):
            if isinstance(result, _Case):
                found[pair.case] = result
            else:
                refused.append({"case": pair.case, **result})
            on_progress(pace.event(done, item=pair.case))
    return found, refused


def _prepare_or_refuse(
    argument: tuple[Pair, Path, PrepareOptions, dict[str, Values], CaseRow | None],
) -> "_Case | dict[str, Any]":
    """One case in a worker: its record, or the message that refuses it. The machine's other faults
    stop everything.
    """
    pair, out, options, names, earlier = argument
    try:
        return _prepare_case(pair, out, options, names, earlier)
    except Exception as error:
        refusal = spoils_one_case(error)
        if refusal is None:
            raise
        return refusal.as_dict()


def _prepare_case(
    pair: Pair,
    out: Path,
    options: PrepareOptions,
    names: dict[str, Values],
    earlier: CaseRow | None,
) -> _Case:
    """Read, check and write one case; one that was written from these very files is kept."""
    path = out / "cases" / f"{pair.case}.h5"
    try:
        stamp = stamp_of(pair, options, names)
    except OSError as error:
        raise NoRoom(
            f"cannot read the files of {pair.case}: {error.strerror}",
            where=str(pair.image),
            fix="check who may read them",
            code="N47",
        ) from error
    # The dataset's table, or, where a preparation ended before it was written, the case's own.
    for row in (earlier, _row_of(path, options)):
        if row is not None and row.stamp == stamp and _is_whole(path, stamp):
            return _Case(row, True)
    reading = read_pair(pair, options, names)
    mask = None
    if pair.has_mask:
        mask = pair.mask.name if pair.mask else "parts"
    row = CaseRow(
        case=pair.case,
        patient=pair.case,
        image=pair.image.name,
        mask=mask,
        sha256=digest_files(pair, options),
        stamp=stamp,
        voxels_sha256=digest_voxels(reading.volume),
        labels_sha256=None if reading.labels is None else digest_labels(reading.labels),
        shape=reading.volume.shape,
        spacing_mm=reading.volume.spacing_mm,
        percentiles=reading.percentiles,
        complete=pair.has_mask and options.masks == "complete" and not reading.unknown,
        outlined=list(reading.outlined),
        unknown=list(reading.unknown),
        counts={str(value): count for value, count in reading.counts.items()},
        ct=reading.ct,
        flipped=reading.volume.grid.orientation.flips[0],
        notes=reading.notes,
        thumbnails=reading.thumbnails,
    )
    _set_aside(out)
    about = {"mark": _made_under(options), "row": asdict(row)}
    write_case(path, reading.volume, reading.labels, stamp, about)
    return _Case(row, False)


def _made_under(options: PrepareOptions) -> dict[str, Any]:
    """What a case depends on, its recipe's percentiles too; as JSON has it."""
    mark: dict[str, Any] = json.loads(json.dumps(options.mark))
    return {**mark, "percentiles": list(options.wanted_recipe.percentiles)}


def _row_of(path: Path, options: PrepareOptions) -> CaseRow | None:
    """The row of a case that is there, made under the same options; None for any other file."""
    if not path.is_file():
        return None
    try:
        with CaseFile(path) as file:
            about = file.about
        if about.get("mark") != _made_under(options):
            return None
        row: CaseRow = parse(CaseRow, about["row"], path.name)
    except (FewmaskError, KeyError, TypeError, AttributeError):
        return None
    return row if row.case == path.stem else None


def _present_slices(
    out: Path, row: CaseRow, recipe: Recipe, classes: tuple[str, ...]
) -> dict[str, list[int]]:
    """Per class the slices d that still hold it on the network's grid."""
    if not row.outlined:
        return {}
    # The case is opened again, after it was read and written: the network's grid follows from the
    # sizes of all scans, and a structure of few pixels can vanish on it. Image-level labels must
    # say what a network can see (M13).
    placement = Placement.of(row.shape, row.spacing_mm, recipe)
    with CaseFile(out / "cases" / f"{row.case}.h5") as file:
        masks = file.labels(row.outlined)
    placed = placement.place_mask(masks)
    present = {}
    for index, name in enumerate(classes, 1):
        held = (placed == index).any(axis=(1, 2))
        present[name] = [d for d, holds in zip(row.outlined, held, strict=True) if holds]
    return present


def _wide(rows: Mapping[str, CaseRow], recipe: Recipe, fixed: bool) -> Iterator[str]:
    """One line on scans that 2D methods see in parts."""
    counts = {
        name: len(Placement.of(row.shape, row.spacing_mm, recipe).windows)
        for name, row in rows.items()
    }
    wide = [name for name, count in counts.items() if count > 1]
    if wide:
        some = ", ".join(wide[:5]) + (", ..." if len(wide) > 5 else "")
        advice = "; `recipe=ct` or `recipe=mr` take a grid that covers most scans" if fixed else ""
        yield (
            f"wider than the network's grid, so 2D methods see them through up to "
            f"{max(counts.values())} windows, which takes that many times longer: {some}{advice}"
        )


def _advice(
    rows: Mapping[str, CaseRow], recipe: Recipe, options: PrepareOptions, tags: Tags
) -> Iterator[str]:
    """What a person should know about what their masks will be taken for, and which scans take
    longer.
    """
    yield from _wide(rows, recipe, RECIPES[options.recipe].resolved)
    for name, row in rows.items():
        outlined = row.outlined
        lost = [d for d in outlined if not any(d in slices for slices in row.present.values())]
        if lost:
            yield (
                f"{name}: M13: on the network's grid structures of {count(len(lost), 'slice')} "
                "vanish: empty for training"
            )
        whole = (
            len(outlined) > 10 and outlined[-1] - outlined[0] + 1 == len(outlined) < row.shape[0]
        )
        if options.masks == "partial" and whole:
            yield (
                f"{name}: M12: all of a structure seems outlined; if empty slices are truly empty "
                "prepare with `masks=complete`"
            )
    if any(row.unknown for row in rows.values()) and not any(row.outlined for row in rows.values()):
        yield (
            "M19: no outlined slice is left, since all of them hold voxels that nobody looked at: "
            "there is nothing to learn from until slices are outlined wholly"
        )
    if not tags:
        none = "no image tags" if options.tags is None else f"no tags are left of {options.tags}"
        yield (
            f"{none}: which slices hold a structure can be learned from whole masks only, "
            "otherwise use `presence=none`; first and last slice per scan (`tags`) help much"
        )


def _before(out: Path) -> Prepared | None:
    """What an earlier preparation left, also one that a later one did not finish."""
    for name in (MANIFEST, _EARLIER):
        try:
            return Prepared.open(out, name)
        except BadDataset:
            continue
    return None


def _set_aside(out: Path) -> None:
    """Rename the manifest before the first change: the folder is no dataset until the next one is
    written, and what an interrupted preparation had finished is found again.
    """
    with suppress(FileNotFoundError):  # another worker was first
        (out / MANIFEST).replace(out / _EARLIER)


def _refuse_lost(before: Prepared | None, refused: list[dict[str, Any]]) -> None:
    """A drive that is gone must not shrink a dataset, nor move its patients into other parts of the
    split.
    """
    lost = [
        line
        for line in refused
        if before and line["case"] in before.cases and line["exit_code"] == NoRoom.exit_code
    ]
    if lost:
        raise NoRoom(
            f"{count(len(lost), 'scan')} of the dataset cannot be read now",
            where=[f"{line['case']}: {line['what']}" for line in lost[:10]],
            did="the dataset was not made anew; what was read of the others is kept",
            fix=f"{lost[0]['fix'] or 'reconnect the drive'}, then the same command again",
            code=str(lost[0]["code"]),
        )


def _reusable(before: Prepared | None, options: PrepareOptions) -> dict[str, CaseRow]:
    """Rows of an earlier preparation, if it was made under the same options."""
    if before is None or not options.made(before.options):
        return {}
    return before.cases


def _is_whole(path: Path, stamp: str) -> bool:
    """Is the case file made from these files, and whole? Every chunk is read, since a flipped bit
    shows on reading only.
    """
    try:
        with CaseFile(path) as file:
            if file.stamp != stamp:
                return False
            file.volume()
            if file.has_labels:
                file.labels(range(file.shape[0]))
    except BadDataset:
        return False
    return True
