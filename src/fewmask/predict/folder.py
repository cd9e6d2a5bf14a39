"""Masks for one scan, a folder of scans, or the cases of a prepared dataset; a bad case never stops
the others.
"""

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote

from fewmask.core.errors import BadConfig, BadScan, FewmaskError, NoRoom
from fewmask.core.progress import OnProgress, Pace, ignore_progress
from fewmask.core.recipe import Recipe
from fewmask.core.signals import stopping
from fewmask.core.spread import Spread, one_by_one
from fewmask.core.volume import Plane
from fewmask.core.words import count
from fewmask.io.atomic import make_folder
from fewmask.io.image import case_id_of, is_prediction, read_labels
from fewmask.io.known import add_up, tell_empty
from fewmask.io.outputs import check_folder
from fewmask.io.prepared import Prepared, inputs_of, is_prepared
from fewmask.predict.beside import open_beside
from fewmask.predict.cleanup import NOTHING, Cleanup
from fewmask.predict.form import NIFTI, MaskForm, tell_terms
from fewmask.predict.known import NOTHING_KNOWN, KnownScans
from fewmask.predict.made import is_of_another
from fewmask.predict.predictor import Prediction, Predicts
from fewmask.predict.summary import PredictSummary, Tally
from fewmask.predict.work import (
    Drawn,
    FileScan,
    Load,
    PreparedScan,
    Scan,
    Work,
    overlaps,
    write_prediction,
)
from fewmask.prepare.discover import Layout, MaskProblem, Pair, discover
from fewmask.prepare.folder import printable
from fewmask.prepare.names import stem
from fewmask.prepare.options import ScanOptions
from fewmask.prepare.pairing import OrphanMasks
from fewmask.prepare.search import MASK_FOLDERS
from fewmask.prepare.tags import order_notes
from fewmask.quality.tables import UNCALIBRATED, Calibration

_EVERYBODYS = re.compile(
    r"(patient[-_ ]?)?(dicoms?|dcm|study|series|st|se|scans?|images?|img|ct|mr|data|export)?"
    r"[-_ .]?[\d.]*",
    re.IGNORECASE,
)
"""Names of folders that say nothing of the patient."""


@dataclass(frozen=True)
class Scans:
    """What there is to predict."""

    found: dict[str, Load]
    """Case id -> what reads it."""
    problems: tuple[FewmaskError, ...] = ()
    """Files that may be scans and cannot be used."""
    notes: tuple[str, ...] = ()
    """What else was left out."""
    images: dict[str, Path] = field(default_factory=dict)
    """Case id -> file or folder of the scan; empty for a prepared dataset."""
    slices: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    """Case id -> files of its DICOM series, where its folder holds others too."""

    def each(self) -> Iterator[Scan]:
        """One after the other."""
        for case, load in self.found.items():
            yield Scan(case, load, self.images.get(case), self.slices.get(case))


def predict_folder(
    predictor: Predicts,
    source: Path,
    out: Path,
    *,
    cases: list[str] | None = None,
    options: ScanOptions | None = None,
    cleanup: Cleanup = NOTHING,
    known: KnownScans = NOTHING_KNOWN,
    form: MaskForm = NIFTI,
    part: tuple[int, int] = (1, 1),
    again: bool = False,
    probabilities: bool = False,
    calibration: Calibration = UNCALIBRATED,
    slices_from: int | None = None,
    spread: Spread = one_by_one,
    on_progress: OnProgress = ignore_progress,
) -> PredictSummary:
    """Write `out/<case>.nii.gz`, or another `form` of mask (and `.prompts.json`, `.cleanup.json`,
    `.known.json`, `.signs.json`), for every scan of `source`; then `quality.csv` and `volumes.csv`
    of all masks in the folder.

    `probabilities` also writes maps of what the network said (`predict/maps.py`). `calibration` is
    what `open_calibration` knows of the run. Tables call the first slice `slices_from`; None is 0,
    or what the prepared dataset says.

    Masks are as the network draws them, unless there is a `cleanup` (`open_cleanup`), or something
    is `known` of the scans (`open_known`).

    A mask that stands there whole, from this run, this scan and these options, is kept (`again`:
    drawn again). `part` (i, n) takes every n-th scan from the i-th on: several processes may fill
    one folder, and `spread` may do so on other machines. Raises `Interrupted` on a signal; every
    mask that is there is whole then.

    `source` is a NIfTI file, a folder that `discover` understands, a DICOM folder, or a prepared
    dataset; `cases` limits the last one, and `options` say how the others are read. Refused scans
    are listed in the summary with their whole message. Raises when nothing can be read at all, and
    `BadConfig` (F11) before anything is written where a mask would land in the input or replace one
    that no model drew, or that was changed since.
    """
    plane = plane_of(predictor, options)
    scans = _part_of(open_scans(source, cases, options), part)
    form.check(scans.images)
    _check_out(source, out, scans.found, form)
    beside = open_beside(predictor, out, known, probabilities)
    if known.among is not None:
        known = known.among(list(scans.found))
    left = make_folder(out)
    told = [cleanup.note, *known.note.splitlines(), *order_notes(known.named, scans.images)]
    summary = PredictSummary(
        notes=[*scans.notes, *left, *filter(None, told)],
        refused=[{"case": "", **problem.as_dict()} for problem in scans.problems],
    )
    alone = len(scans.found) == 1 and not scans.problems
    work = Work(predictor, out, cleanup, known, form, options, plane, again, alone, beside)
    pace, tally = Pace("scan", len(scans.found)), Tally(summary)
    beside_each_other = spread is one_by_one and len(scans.found) > 1 and overlaps(predictor)
    going = work.side_by_side(scans.each()) if beside_each_other else spread(work, scans.each())
    with stopping("predicting", out), closing(going) as results:
        for done, (case, drawn) in enumerate(zip(scans.found, results, strict=True), 1):
            if isinstance(drawn, FewmaskError):
                drawn = Drawn(case, refusal=drawn.as_dict())
            tally.add(drawn)
            on_progress(pace.event(done, item=case))
    if not summary.written:
        machine = all(line["exit_code"] == NoRoom.exit_code for line in summary.refused)
        ways = {str(line["fix"]) for line in summary.refused}
        raise (NoRoom if machine else BadScan)(
            f"no mask could be made of any of the {len(scans.found)} scans",
            where=[f"{line['case'] or 'folder'}: {line['what']}" for line in summary.refused[:5]],
            did="no mask was written",
            fix=ways.pop()
            if len(ways) == 1 or machine
            else f"`fewmask check {quote(str(source))}`",
        )
    heard = tally.heard
    summary.notes += _tell_older(form.path(out, str(line["case"])) for line in summary.refused)
    summary.notes += [*form.write_names(out), *tell_terms(form)]
    summary.quality = beside.write_tables(source, calibration, slices_from)
    summary.cleanup = cleanup.add_up(tally.cleaned)
    summary.put_in = add_up(heard.values())
    summary.empty = tell_empty(heard)
    if known.named:
        told = [case for case, note in heard.items() if note.prompts == "tags"]
        rest = [case for case in heard if case not in told]
        summary.prompts = {"tags": told, "automatic": rest}
    return summary


def _tell_older(masks: Iterable[Path]) -> list[str]:
    """A note on masks of scans that were refused now: nothing made them anew, or took them away."""
    older = [path.name for path in masks if path.exists()]
    if not older:
        return []
    shown = ", ".join(older[:5]) + " ..." * (len(older) > 5)
    return [
        f"masks of an earlier run of `predict` stay, and count in the tables, of {len(older)} of "
        f"the scans that were refused now: {shown}"
    ]


def plane_of(predictor: Predicts, options: ScanOptions | None = None) -> Plane:
    """The plane that the run learned in. Raises `BadConfig` (C06) where another is asked for."""
    recipe = getattr(predictor, "recipe", None)
    learned: Plane = recipe.plane if isinstance(recipe, Recipe) else "axial"
    asked = options.plane if options else None
    if asked is not None and asked != learned:
        raise BadConfig(
            f"`plane={asked}`: the run learned from {learned} slices",
            did="nothing was written",
            fix="leave `plane` out",
            code="C06",
        )
    return learned


def clean_folder(
    folder: Path, cases: Iterable[str], cleanup: Cleanup, out: Path, plane: Plane
) -> None:
    """Clean masks of `folder` that are as they were drawn, and write them to `out`, which is
    emptied first. Holes are those of the `plane`'s slices.
    """
    shutil.rmtree(out, ignore_errors=True)
    make_folder(out)
    for case in cases:
        drawn = Prediction(read_labels(folder / f"{case}.nii.gz").in_plane(plane), None, 0)
        write_prediction(out, case, cleanup.apply(drawn))


def open_scans(
    source: Path, cases: list[str] | None = None, options: ScanOptions | None = None
) -> Scans:
    """The scans of a file or folder that `predict_folder` takes. Raises `BadScan` or `BadDataset`
    if nothing is there.
    """
    options = options or ScanOptions()

    if is_prepared(source):
        prepared = Prepared.open(source)
        names = sorted(prepared.cases) if cases is None else cases
        return Scans({case: PreparedScan(prepared.case_path(case)) for case in names})
    if source.is_dir():
        layout = discover(source, options.follow_links, options.channel, series=options.series)
        problems = tuple(
            problem for problem in layout.problems if not isinstance(problem, MaskProblem)
        )
        notes = (*layout.scan_notes, *_passed_over(layout))
        layout = _named_after(source, layout)
        images = {pair.case: pair.image for pair in layout.pairs}
        slices = {pair.case: pair.slices for pair in layout.pairs if pair.slices}
        found: dict[str, Load] = {pair.case: FileScan(pair, options) for pair in layout.pairs}
        return Scans(found, problems, notes, images, slices)
    if source.exists():
        case = case_id_of(source)
        return Scans({case: FileScan(Pair(case, source), options)}, images={case: source})
    raise BadScan(
        "no such file or folder", where=str(source), did="nothing was written", fix="check the path"
    )


def _passed_over(layout: Layout) -> list[str]:
    """Files among scans that their names call masks, of no scan: one may be a scan all the same."""
    files = [
        path
        for problem in layout.problems
        if isinstance(problem, OrphanMasks)
        for path in problem.files
        if path.parent.name.casefold() not in MASK_FOLDERS
    ]
    if not files:
        return []
    shown = ", ".join(printable(path.name) for path in files[:5]) + " ..." * (len(files) > 5)
    taken = count(len(files), "file is taken for a mask", "files are taken for masks")
    return [f"{taken} by name, and not read: {shown}"]


def _named_after(source: Path, layout: Layout) -> Layout:
    """Cases of one patient's DICOM, called after the folder that was given, where the patient's own
    folder has a name that all patients have (`DICOM`, `1`). One that says who it is stays, as
    `check` and `prepare` call it.
    """
    patients = {pair.patient or pair.case for pair in layout.pairs}
    if layout.kind != "dicom" or len(patients) != 1 or len({r.patient for r in layout.series}) > 1:
        return layout
    name, (patient,) = stem(source.absolute()), patients
    if not _EVERYBODYS.fullmatch(patient):
        return layout
    ends = [pair.case.removeprefix(patient) for pair in layout.pairs]
    if len(ends) == 1:
        ends = [""]
    elif not all(pair.case.startswith(patient) for pair in layout.pairs):
        return layout
    pairs = zip(ends, layout.pairs, strict=True)
    return replace(layout, pairs=tuple(replace(pair, case=f"{name}{end}") for end, pair in pairs))


def _part_of(scans: Scans, part: tuple[int, int]) -> Scans:
    """Every n-th scan from the i-th on; what is wrong with the folder is told with the first."""
    i, n = part
    if not 1 <= i <= n:
        raise BadConfig(
            f"part {i} of {n} was asked for", fix=f"use a part from 1 to {max(n, 1)}", code="C02"
        )
    mine = dict(list(scans.found.items())[i - 1 :: n])
    if scans.found and not mine:
        raise BadConfig(
            f"part {i} of {n} is empty: {count(len(scans.found), 'scan')} in all",
            did="nothing was written",
            fix="use fewer parts",
            code="C02",
        )
    return replace(scans, found=mine, problems=scans.problems if i == 1 else ())


def _check_out(source: Path, out: Path, cases: Iterable[str], form: MaskForm) -> None:
    check_folder(out, inputs_of(source))
    places: dict[Path, str] = {}
    for case in cases:
        other = places.setdefault(form.path(out, case), case)
        if other != case:
            raise BadConfig(
                f"the masks of {other} and {case} would have one name",
                where=str(form.path(out, case)),
                did="nothing was written",
                fix="leave `naming` out, or predict them into two folders",
                code="C02",
            )
    others = [path for path, case in places.items() if is_of_another(path, case)]
    if others:
        raise BadConfig(
            f"{count(len(others), 'mask')} of other scans in the output folder would be replaced: "
            "they have the same names",
            where=[str(path) for path in others[:5]],
            did="nothing was written",
            fix="choose another folder with `out`",
            code="F11",
        )
    foreign = [path for path in places if path.exists() and not is_prediction(path)]
    if foreign:
        raise BadConfig(
            f"{count(len(foreign), 'mask')} in the output folder, not as fewmask drew "
            f"{'it' if len(foreign) == 1 else 'them'}, would be replaced",
            where=[str(path) for path in foreign[:5]],
            did="nothing was written",
            fix="choose another folder with `out`",
            code="F11",
        )
