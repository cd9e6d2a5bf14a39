"""The runs of a sweep scored in every domain, as drawn and after clean-up: on the test scans of the
prepared data, and on scans from elsewhere.
"""

from pathlib import Path
from shlex import quote
from typing import Any

from fewmask.benchmark.plan import HOME, Elsewhere
from fewmask.benchmark.rows import LEARNED, ORACLE, RAW
from fewmask.benchmark.score import (
    protocol_lines,
    score_bound,
    score_cleaned,
    score_folders,
    score_masks,
    score_run,
    scored_cases,
)
from fewmask.core.errors import BadDataset
from fewmask.evaluate.scores import CaseScore
from fewmask.io.run import RunFolder
from fewmask.predict import Cleanup, Predicts, predict_folder
from fewmask.predict.folder import clean_folder, plane_of
from fewmask.prepare.mapping import parse_labels

CLEANED = "cleaned"
"""Folder of a run's masks after clean-up, as `predictions` has them as drawn."""
Scored = dict[str, tuple[list[CaseScore], list[dict[str, Any]]]]
"""Clean-up -> scores, and lines of the protocol."""
Labels = dict[str, tuple[int | str, ...]]


def score_home(predictor: Predicts, path: Path, cleanup: Cleanup, protocol: str) -> Scored:
    """Of the prepared data's test cases. They are predicted once: the drawn masks are cleaned."""
    home = score_run(path, oracle_box=predictor.promptable, predictor=predictor, raw=True)
    cases = {score.case for score in home.scores}
    drawn = (home.scores, protocol_lines(path, None, None, protocol, cases))
    out = path / CLEANED
    cleaned = score_cleaned(path, cleanup, out)
    return {RAW: drawn, LEARNED: (cleaned, protocol_lines(path, None, None, protocol, cases, out))}


def score_mean_home(
    predictor: Predicts, path: Path, folder: Path, cleanup: Cleanup, protocol: str
) -> Scored:
    """Of the test cases of the run folder `path`; its own masks stay as they are."""
    drawn, cleaned, cases = folder / HOME, folder / f"{HOME}-{CLEANED}", scored_cases(path)
    predict_folder(predictor, RunFolder.open(path).open_prepared().folder, drawn, cases=cases)
    clean_folder(drawn, cases, cleanup, cleaned, plane_of(predictor))
    return {
        by: (score_masks(path, masks), protocol_lines(path, None, None, protocol, cases, masks))
        for by, masks in ((RAW, drawn), (LEARNED, cleaned))
    }


def score_elsewhere(
    predictor: Predicts,
    other: Elsewhere,
    data: Path,
    folder: Path,
    cleanup: Cleanup,
    protocol: str,
) -> Scored:
    """Of other scans, with the bound where there is one; masks go to `folder`."""
    images, truth = data / other.images, data / other.truth
    labels = parse_labels(other.label)
    out, cleaned = folder / other.name, folder / f"{other.name}-{CLEANED}"
    summary = predict_folder(predictor, images, out)
    if summary.refused:
        refused = summary.refused[0]
        raise BadDataset(
            f"{other.name}: {refused['case'] or 'folder'}: {refused['what']}",
            where=str(images),
            did="no row was written",
            fix=f"`fewmask check {quote(str(images))}`",
            code="M15",
        )
    clean_folder(out, summary.written, cleanup, cleaned, plane_of(predictor))
    drawn, lines = _score_masks(other.name, out, truth, labels, protocol)
    if predictor.promptable:
        bound = folder / f"{other.name}-{ORACLE}"
        of_bound = score_bound(predictor, images, truth, labels, bound)
        cases = {score.case for score in of_bound}
        marked = protocol_lines(bound, truth, labels, protocol, cases, masks="complete")
        drawn, lines = drawn + of_bound, lines + [{**line, "prompts": ORACLE} for line in marked]
    return {
        RAW: (drawn, lines),
        LEARNED: _score_masks(other.name, cleaned, truth, labels, protocol),
    }


def _score_masks(
    name: str, masks: Path, truth: Path, labels: Labels, protocol: str
) -> tuple[list[CaseScore], list[dict[str, Any]]]:
    """Scores of a folder of masks and lines of the protocol."""
    scored = score_folders(masks, truth, labels, masks="complete")
    if scored.refused:
        raise BadDataset(
            f"{name}: {scored.refused[0]['what']}",
            where=str(masks),
            fix="mend that mask or its truth, or take both out",
            code="M15",
        )
    if scored.without_truth:
        lonely = ", ".join(scored.without_truth[:5])
        raise BadDataset(
            f"{name}: no truth is called {lonely}",
            where=str(truth),
            fix="give the masks the names of their scans, or take the others out",
            code="M15",
        )
    cases = {score.case for score in scored.scores}
    return scored.scores, protocol_lines(masks, truth, labels, protocol, cases, masks="complete")
