"""Write a prepared dataset: read every pair, keep the good ones, settle the recipe, write cases in
parallel, then the tables.
"""

import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fewmask.core.errors import BadConfig, BadDataset, FewmaskError, NoRoom
from fewmask.core.placement import Placement
from fewmask.core.progress import OnProgress, Pace, ignore_progress
from fewmask.core.recipe import RECIPES, Recipe
from fewmask.io.atomic import clean_parts, is_part
from fewmask.io.case import CaseFile, write_case
from fewmask.io.lock import LOCK, folder_lock
from fewmask.io.prepared import (
    MANIFEST,
    CaseRow,
    Prepared,
    write_manifest,
    write_reviewed,
    write_split,
    write_tags,
)
from fewmask.prepare.discover import Layout, Pair, discover
from fewmask.prepare.mapping import check_found
from fewmask.prepare.options import PrepareOptions
from fewmask.prepare.reading import (
    digest_files,
    digest_labels,
    digest_voxels,
    read_pair,
    spoils_one_case,
    stamp_of,
)
from fewmask.prepare.splits import choose_split, patients_of
from fewmask.prepare.tags import read_reviewed, read_tags, tags_from_masks

__all__ = ["PrepareOptions", "PrepareSummary", "prepare"]

_EARLIER = "earlier.json"
"""What the manifest is called while a preparation is at work on cases that it tells of."""
_OURS = {MANIFEST, _EARLIER, "tags.csv", "reviewed.csv", "split.toml", "cases", "budgets", LOCK}


@dataclass(frozen=True)
class PrepareSummary:
    """What was done."""

    prepared: Path
    built: int
    reused: int
    refused: list[dict[str, Any]]
    """One record per case that could not be used, with its whole message."""
    notes: list[str]


@dataclass(frozen=True)
class _Case:
    """What one worker found, small enough to send between processes."""

    row: CaseRow
    reused: bool


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
    if not options.labels:
        raise BadConfig(
            "no structure was asked for",
            fix="add --label liver=6",
            code="C02",
        )
    recipe = options.wanted_recipe
    layout = discover(data, options.follow_links)
    _check_out(data, out)
    (out / "cases").mkdir(parents=True, exist_ok=True)
    with folder_lock(out, "prepare"):
        notes = [*layout.notes, *clean_parts(out), *clean_parts(out / "cases")]
        before = _before(out)
        found, refused = _read_all(layout, out, options, _earlier(before, options), on_progress)
        refused = [{"case": "", **problem.as_dict()} for problem in layout.problems] + refused
        if not found:
            machine = all(line["exit_code"] == NoRoom.exit_code for line in refused)
            raise (NoRoom if machine else BadDataset)(
                "no case can be used",
                where=[f"{line['case']}: {line['what']}" for line in refused[:10]],
                did="no dataset was made",
                fix=str(refused[0]["fix"]) if machine else f"fewmask check {data}",
                code=str(refused[0]["code"]) if machine else "M15",
            )
        _keep_known(before, refused)
        return _write_tables(before, out, options, recipe, found, refused, layout, notes)


def _write_tables(
    before: Prepared | None,
    out: Path,
    options: PrepareOptions,
    recipe: Recipe,
    found: dict[str, _Case],
    refused: list[dict[str, Any]],
    layout: Layout,
    notes: list[str],
) -> PrepareSummary:
    """Settle what depends on all cases, and write it, unless it is what the folder holds: others
    may be reading there.
    """
    masked = [case for case in found.values() if case.row.mask]
    if not any(pair.parts for pair in layout.pairs):
        totals: dict[int, int] = {}
        for case in masked:
            for value, count in case.row.counts.items():
                totals[int(value)] = totals.get(int(value), 0) + count
        check_found(options.labels, layout.names, totals, len(masked))
    recipe = resolve_recipe(recipe, found.values())
    patients = patients_of(sorted(found), options.patients)
    classes = tuple(options.labels)
    rows, cut = {}, {}
    for name, case in sorted(found.items()):
        present, cut[name] = _placed(out, case.row, recipe, classes)
        rows[name] = replace(case.row, patient=patients[name], present=present)
    flips = {name: row.flipped for name, row in rows.items()}
    reviewed = {
        name: set(range(row.shape[0])) if row.complete else set(row.outlined)
        for name, row in rows.items()
    }
    if options.reviewed:
        more, lines = read_reviewed(options.reviewed, rows, flips)
        notes += lines
        for name, slices in more.items():
            reviewed[name] |= slices
    tags = tags_from_masks(rows, classes) if options.tags == "from-masks" else {}
    if isinstance(options.tags, Path):
        tags, lines = read_tags(options.tags, rows, flips, classes)
        notes += lines
    try:
        split = choose_split(rows, options.split)
    except BadDataset as error:
        error.where = (*error.where, *(f"{line['case']}: {line['what']}" for line in refused[:10]))
        raise
    notes += [f"{name}: {note}" for name, row in rows.items() for note in row.notes] + list(
        _advice(rows, cut, options)
    )
    reused = sum(case.reused for case in found.values())
    summary = PrepareSummary(out, len(found) - reused, reused, refused, notes)
    mark = {**options.mark, "recipe": options.recipe, "size": options.size}
    known = {name: frozenset(slices) for name, slices in reviewed.items()}
    whole = reused == len(found) and (out / MANIFEST).exists()
    if whole and before == Prepared(
        out, recipe, classes, rows, tags, known, split, tuple(refused), mark
    ):
        return summary
    _set_aside(out)
    write_tags(out / "tags.csv", tags)
    write_reviewed(out / "reviewed.csv", reviewed)
    write_split(out / "split.toml", split)
    for stale in {path.stem for path in (out / "cases").glob("*.h5")} - set(rows):
        (out / "cases" / f"{stale}.h5").unlink()
    write_manifest(out, recipe, classes, rows.values(), refused, mark)
    (out / _EARLIER).unlink(missing_ok=True)
    return summary


def resolve_recipe(recipe: Recipe, cases: Any) -> Recipe:
    """Fill in what the recipe leaves to the data. Raises `BadDataset` if CT and MR are mixed and
    the recipe does not say.
    """
    cases = list(cases)
    kinds = {ct: [case.row.case for case in cases if case.row.ct == ct] for ct in (True, False)}
    if recipe.modality == "auto" and kinds[True] and kinds[False]:
        raise BadDataset(
            "some scans look like CT, some do not",
            where=[f"CT: {', '.join(kinds[True][:5])}", f"not: {', '.join(kinds[False][:5])}"],
            did="no dataset was made",
            fix="prepare them apart, or say --recipe ct or --recipe mr",
            code="N38",
        )
    extents = [
        max(n * s for n, s in zip(case.row.shape[1:], case.row.spacing_mm[1:], strict=True))
        for case in cases
    ]
    spacings = [min(case.row.spacing_mm[1:]) for case in cases]
    return recipe.resolve(
        modality="ct" if kinds[True] else "mr", extent_mm=extents, spacing_mm=spacings
    )


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
    jobs = min(options.jobs, len(layout.pairs))
    arguments = [
        (pair, out, options, dict(layout.names), earlier.get(pair.case)) for pair in layout.pairs
    ]
    pace = Pace("scan", len(layout.pairs))
    found: dict[str, _Case] = {}
    refused: list[dict[str, Any]] = []

    def take(done: int, pair: Pair, result: "_Case | dict[str, Any]") -> None:
        if isinstance(result, _Case):
            found[pair.case] = result
        else:
            refused.append({"case": pair.case, **result})
        on_progress(pace.event(done, item=pair.case))

    done = 0
    if jobs > 1:
        try:
            with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
                for pair, result in zip(layout.pairs, pool.map(_work, arguments), strict=True):
                    done += 1
                    take(done, pair, result)
        except BrokenProcessPool:
            # Killed for memory, crashed in a decoder, or started by a script without a main guard
            # (F05): once more, here.
            note = "a worker process died, going on in this one"
            on_progress(pace.event(done, note=note))
    for pair, argument in list(zip(layout.pairs, arguments, strict=True))[done:]:
        done += 1
        take(done, pair, _work(argument))
    return found, refused


def _work(
    argument: tuple[Pair, Path, PrepareOptions, dict[str, int], CaseRow | None],
) -> "_Case | dict[str, Any]":
    """One case in a worker: its record, or the message that refuses it. The machine's other faults
    stop everything.
    """
    pair, out, options, names, earlier = argument
    try:
        return _one(pair, out, options, names, earlier)
    except FewmaskError as error:
        if not spoils_one_case(error):
            raise
        return error.as_dict()


def _one(
    pair: Pair, out: Path, options: PrepareOptions, names: dict[str, int], earlier: CaseRow | None
) -> _Case:
    path = out / "cases" / f"{pair.case}.h5"
    try:
        stamp = stamp_of(pair, options, names)
    except OSError as error:
        raise NoRoom(
            f"cannot read the files of {pair.case}: {error.strerror}",
            where=str(pair.image),
            code="N47",
        ) from error
    if earlier is not None and earlier.stamp == stamp and _is_whole(path, stamp):
        return _Case(earlier, True)
    reading = read_pair(pair, options, names)
    _set_aside(out)
    write_case(path, reading.volume, reading.labels, stamp)
    row = CaseRow(
        case=pair.case,
        patient=pair.case,
        image=pair.image.name,
        mask=(pair.mask.name if pair.mask else "parts") if pair.has_mask else None,
        sha256=digest_files(pair, options),
        stamp=stamp,
        voxels_sha256=digest_voxels(reading.volume),
        labels_sha256=None if reading.labels is None else digest_labels(reading.labels),
        shape=reading.volume.shape,
        spacing_mm=reading.volume.spacing_mm,
        percentiles=reading.percentiles,
        complete=pair.has_mask and options.masks == "complete",
        outlined=list(reading.outlined),
        counts={str(value): count for value, count in reading.counts.items()},
        ct=reading.ct,
        flipped=reading.volume.grid.orientation.flips[0],
        notes=reading.notes,
    )
    return _Case(row, False)


def _placed(
    out: Path, row: CaseRow, recipe: Recipe, classes: tuple[str, ...]
) -> tuple[dict[str, list[int]], float]:
    """Per class the slices that still hold it on the network's grid, and the share of outlined
    pixels that lie beyond it.

    Image-level labels are made after shrinking (M13).
    """
    if not row.outlined:
        return {}, 0.0
    placement = Placement.of(row.shape, row.spacing_mm, recipe)
    with CaseFile(out / "cases" / f"{row.case}.h5") as file:
        masks = file.labels(row.outlined)
    placed = placement.place_mask(masks)
    present = {
        name: [
            d for d, mask in zip(row.outlined, placed, strict=True) if bool(np.any(mask == index))
        ]
        for index, name in enumerate(classes, 1)
    }
    outside = np.count_nonzero(masks[:, ~placement.covered]) / np.count_nonzero(masks)
    return present, outside


def _advice(
    rows: Mapping[str, CaseRow], cut: Mapping[str, float], options: PrepareOptions
) -> Iterator[str]:
    """What a person should know about what their masks will be taken for."""
    for name, row in rows.items():
        outlined = row.outlined
        lost = [d for d in outlined if not any(d in slices for slices in row.present.values())]
        if lost:
            yield (
                f"{name}: M13: structures of {len(lost)} slices vanish on the network's grid; "
                "these slices count as empty"
            )
        if cut[name] >= 0.0005:
            share = f"{cut[name]:.1%} of what is outlined"
            fixed = RECIPES[options.recipe].resolved
            advice = (
                ": try --recipe ct or mr"
                if fixed
                else ", which covers most scans: this one is wider than the others"
            )
            yield (
                f"{name}: M13: {share} lies beyond the network's grid, where 2D methods paint "
                f"nothing{advice}"
            )
        if row.mask and not outlined and not row.complete:
            yield (
                f"{name}: M10: the mask is empty and masks are partial, so the scan counts as not "
                "outlined at all"
            )
        whole = (
            len(outlined) > 10 and outlined[-1] - outlined[0] + 1 == len(outlined) < row.shape[0]
        )
        if options.masks == "partial" and whole:
            yield (
                f"{name}: M12: all of a structure seems outlined; if empty slices are truly empty "
                "say --masks complete"
            )
    if options.tags is None:
        yield (
            "no image tags: a classifier learns from outlined slices only; first and last slice "
            "per scan (--tags) help it much"
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
    """From here on the tables do not fit the cases; what still fits is used again, after a mistake
    too.
    """
    with suppress(FileNotFoundError):  # another worker was first
        (out / MANIFEST).replace(out / _EARLIER)


def _keep_known(before: Prepared | None, refused: list[dict[str, Any]]) -> None:
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
            f"{len(lost)} scans of the dataset cannot be read now",
            where=[f"{line['case']}: {line['what']}" for line in lost[:10]],
            did="the dataset was not made anew; what was read of the others is kept",
            fix=f"{lost[0]['fix'] or 'reconnect the drive'}, then the same command again",
            code=str(lost[0]["code"]),
        )


def _earlier(before: Prepared | None, options: PrepareOptions) -> dict[str, CaseRow]:
    """Rows of an earlier preparation under the same options."""
    if before is None or {key: before.options.get(key) for key in options.mark} != options.mark:
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


def _check_out(data: Path, out: Path) -> None:
    inside = data.resolve()
    if out.resolve() == inside or inside in out.resolve().parents:
        raise BadConfig(
            "the output folder lies inside the data folder; fewmask never writes into its input",
            where=str(out),
            did="nothing was written",
            fix="choose another --out",
            code="F11",
        )
    if out.exists() and (
        not out.is_dir()
        or any(path.name not in _OURS and not is_part(path) for path in out.iterdir())
    ):
        raise BadConfig(
            "the output folder holds other files",
            where=str(out),
            did="nothing was written",
            fix="choose another --out",
            code="F11",
        )
