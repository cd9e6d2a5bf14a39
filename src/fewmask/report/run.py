"""From a run folder to its page: scans and truth come from the prepared dataset."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from fewmask.core.run_record import RunRecord
from fewmask.core.volume import LabelMap, Volume
from fewmask.core.words import count
from fewmask.evaluate.intervals import summarise
from fewmask.evaluate.protocols import NOTES
from fewmask.evaluate.scores import CaseScore, read_scores
from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.report import charts
from fewmask.report.again import training_command
from fewmask.report.beside import read_quality
from fewmask.report.cleanup import make_cleanup
from fewmask.report.failures import by_size, by_source, sources_of
from fewmask.report.known import make_warnings
from fewmask.report.page import write_page
from fewmask.report.scans import Subject, Terms, Wall, look_at, tell_refused
from fewmask.report.sentence import make_sentence, make_title
from fewmask.report.slices import Masks
from fewmask.report.trust import make_trust, tell_prompting

ASIDE, LEARNED, NEITHER = "kept aside", "learned from", "not in the run"
_PROMPTS = {"oracle-box": "true box (upper bound)", "tags": "tags of the scan"}


def write_run_report(run_path: Path, show_burned_in: bool = False) -> Path:
    """Write the page of a scored (or only predicted) run and return its path.

    Scans with text in their pixels are shown without pictures unless `show_burned_in`. Raises
    `BadCheckpoint` if the folder is no run, `BadDataset` if its data is not what it learned from.
    """
    run = RunFolder.open(
        run_path,
        "give a run folder; or, of a folder of masks, `scans` too: what they were drawn on",
    )
    prepared = run.open_prepared()
    tested = set(run.read_split().test)

    def truth(case: str) -> LabelMap | None:
        known = prepared.cases[case].complete and case in tested
        return read_truth(prepared, case) if known else None

    def scan(case: str) -> Volume:
        with prepared.case(case) as file:
            return file.volume()

    def outlines(case: str) -> Masks:
        return read_outlines(run, prepared, case)

    scores = read_scores(run.metrics)
    return write_report(run, prepared, scores, scan, truth, show_burned_in, outlines)


def read_truth(prepared: Prepared, case: str) -> LabelMap:
    """The mask of a test case: opened here, to be scored or shown, and nowhere else outside the
    guard.
    """
    with prepared.case(case) as file:
        return LabelMap(file.labels(range(file.shape[0])), file.grid)


def read_outlines(run: RunFolder, prepared: Prepared, case: str) -> Masks:
    """Slices of a case whose outlines the run learned from, and no others."""
    budget, learned = run.read_budget(), set(run.read_split().train)
    if case not in learned or case not in prepared.split.train:
        return {}
    if budget.kind == "slices":
        granted = sorted(d for name, d in budget.slices if name == case)
    else:
        granted = sorted(prepared.reviewed[case]) if case in budget.volumes else []
    if not granted:
        return {}
    with prepared.case(case) as file:
        return dict(zip(granted, file.labels(granted), strict=True))


def no_outlines(case: str) -> Masks:
    """Of a run whose outlines are not shown."""
    return {}


def write_report(
    run: RunFolder,
    prepared: Prepared,
    scores: Sequence[CaseScore],
    scan: Callable[[str], Volume],
    truth: Callable[[str], LabelMap | None],
    show_burned_in: bool = False,
    outlines: Callable[[str], Masks] = no_outlines,
) -> Path:
    """Write `report/index.html` of a run and return its path. Cases without truth are shown without
    scores.

    Every mask in the predictions folder is on the page. Scans with text in their pixels, which may
    name a person, are shown without pictures unless `show_burned_in`.
    """
    record, recipe = run.read_record(), run.read_recipe()
    classes = record.task.classes
    automatic = [score for score in scores if score.prompts == "automatic"]
    summaries = summarise(scores, prepared.patients)
    subjects = _subjects(run, prepared, scan, truth, outlines)
    terms = Terms(
        classes=classes,
        recipe=lambda volume: recipe,
        scores=automatic,
        quality=read_quality(run.predictions),
        slices_from=int(prepared.options.get("slices_from", 0)),
        show_burned_in=show_burned_in,
    )
    wall = look_at(subjects, terms)
    sources = _sources(prepared)
    prompting = tell_prompting(wall.no_prompt) if subjects else []
    return write_page(
        run.path / "report" / "index.html",
        wall,
        classes,
        title=make_title(record),
        sentence=make_sentence(summaries, record, prepared, run),
        hint=_hint(wall),
        summaries=summaries,
        rows=_worst_rows_first(scores),
        cleanup=make_cleanup(run, classes, [scan.case for scan in wall.scans]),
        trust=make_trust(run, prepared, record, run.read_environment(), prompting),
        command=training_command(record, run),
        warnings=[*make_warnings(run, record), *tell_refused(wall)],
        prompts_words=_PROMPTS,
        caution=NOTES["la-2018"] if recipe.name.startswith("left-atrium") else "",
        notes=_notes(prepared),
        overview=[charts.dice_chart(automatic, classes)],
        bland_altman=charts.bland_altman(automatic, classes),
        failures=_failures(automatic, wall, classes),
        groups=[*by_size(automatic), *by_source(automatic, sources)],
        sources=len(set(sources.values())) > 1,
        losses=_losses(run, record),
    )


def _subjects(
    run: RunFolder,
    prepared: Prepared,
    scan: Callable[[str], Volume],
    truth: Callable[[str], LabelMap | None],
    outlines: Callable[[str], Masks],
) -> list[Subject]:
    """Every mask that is there; of a scan that is gone from the data without a picture."""
    split = run.read_split()
    aside = {*split.test, *split.val}
    learned = set(split.train)
    masks = sorted(run.predictions.glob("*.nii.gz")) if run.predictions.exists() else []
    subjects = []
    for mask in masks:
        case = mask.name.removesuffix(".nii.gz")
        if case not in prepared.cases:
            subjects.append(Subject(case, mask, None, NEITHER))
            continue
        group = ASIDE if case in aside else LEARNED if case in learned else NEITHER
        subjects.append(
            Subject(
                case,
                mask,
                scan=lambda case=case: scan(case),  # type: ignore[misc]
                group=group,
                truth=lambda case=case: truth(case),  # type: ignore[misc]
                outlines=lambda case=case: outlines(case),  # type: ignore[misc]
                tags=lambda volume, case=case: prepared.tags.get(case, {}),  # type: ignore[misc]
                burned_in=prepared.cases[case].burned_in,
            )
        )
    return subjects


def _hint(wall: Wall) -> str:
    """What the scans are to the model: a mask of a scan that it learned from tests nothing."""
    counts = {
        group: sum(scan.group == group for scan in wall.scans)
        for group in (ASIDE, LEARNED, NEITHER)
    }
    told = {
        ASIDE: "that the model never saw",
        LEARNED: "that the model learned from: their masks test nothing",
        NEITHER: "that are in no part of the run",
    }
    parts = [f"{count(n, 'scan')} {told[group]}" for group, n in counts.items() if n]
    return f"{'; '.join(parts)}." if parts else ""


def _failures(
    scores: Sequence[CaseScore], wall: Wall, classes: Sequence[str]
) -> list[charts.Chart]:
    size = charts.size_chart(scores, classes)
    return [*charts.position_chart(wall.positions), *([size] if size else [])]


def _sources(prepared: Prepared) -> dict[str, str]:
    return sources_of({case: row.image for case, row in prepared.cases.items()})


def _losses(run: RunFolder, record: RunRecord) -> list[charts.Chart]:
    return charts.loss_charts(run.read_losses(record.steps + 1))


def _worst_rows_first(scores: Sequence[CaseScore]) -> list[CaseScore]:
    """Automatic ones before the bound; those without a Dice first."""

    def order(score: CaseScore) -> tuple[str, float]:
        return score.prompts, -1.0 if math.isnan(score.dice) else score.dice

    return sorted(scores, key=order)


def _notes(prepared: Prepared) -> list[str]:
    lines = [f"{line['case'] or 'folder'}: {line['what']} (refused)" for line in prepared.refused]
    for case, row in prepared.cases.items():
        lines += [f"{case}: {note}" for note in row.notes]
    return lines
