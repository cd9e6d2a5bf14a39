"""Score a run on the patients it never saw, or a folder of masks against truth."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from fewmask.benchmark.matched import Matched, Notes, Numbering, Outlined, match
from fewmask.benchmark.pairs import (
    MaskPair,
    declared_names,
    list_masks,
    match_names,
    pair_masks,
)
from fewmask.benchmark.rows import ORACLE
from fewmask.cleanup.beside import cleaning_path
from fewmask.core.errors import BadDataset, FewmaskError
from fewmask.core.placement import Placement
from fewmask.core.progress import OnMessage, OnProgress, Pace, ignore_progress
from fewmask.core.recipe import RECIPES
from fewmask.core.signals import stopping
from fewmask.core.volume import LabelMap, Volume
from fewmask.evaluate.intervals import Summary, summarise
from fewmask.evaluate.protocols import SliceScores, VoxelScores, score_la_2018, score_sam_mix
from fewmask.evaluate.scores import COLUMNS, CaseScore, as_row, score_case
from fewmask.evaluate.surfaces import box_edges
from fewmask.io.atomic import clean_parts, make_folder
from fewmask.io.image import read_labels
from fewmask.io.known import read_known_note
from fewmask.io.outputs import check_file
from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.io.same_grid import check_same_grid, lay_on_grid
from fewmask.io.tables import read_csv, write_csv
from fewmask.predict import Cleanup, Predicts, load_predictor, open_cleanup
from fewmask.predict.folder import clean_folder, open_scans, plane_of, predict_folder
from fewmask.predict.work import load_prepared, write_prediction
from fewmask.prepare.mapping import IGNORE, map_labels
from fewmask.prepare.options import AS_THEY_ARE, ScanOptions
from fewmask.prepare.reading import spoils_one_case
from fewmask.report.run import read_truth
from fewmask.training.log import log_scores


@dataclass(frozen=True)
class ScoreSummary:
    """What was scored and what could not be."""

    summaries: list[Summary]
    scores: list[CaseScore]
    refused: list[dict[str, Any]]
    unpredicted: tuple[str, ...] = ()
    """Cases with a truth and no mask: they count for nothing."""
    without_truth: tuple[str, ...] = ()
    """Masks without a truth: they count for nothing."""
    notes: tuple[str, ...] = ()
    """What a person should know of the scores."""


def score_run(
    run_path: Path,
    *,
    oracle_box: bool = False,
    predictor: Predicts | None = None,
    raw: bool = False,
    on_progress: OnProgress = ignore_progress,
    say: OnMessage = lambda text: None,
) -> ScoreSummary:
    """Score the test part of a run's dataset and write `metrics.csv`; missing masks are predicted
    first, and cleaned by the run's rule.

    With `raw` no mask is cleaned, and one that was is predicted again; else masks that are there
    are scored as they are. By `predictor`, or by one that is opened where one is needed. With
    `oracle_box` the bound is added: the same model, prompted with each slice's true box; its masks
    go to the run's folder `oracle-box`. `on_progress` counts scans that are predicted. Raises
    `BadDataset` if no test case has a complete mask.
    """
    with stopping("scoring", run_path):
        return _score_run(run_path, oracle_box, predictor, raw, on_progress, say)


def _score_run(
    run_path: Path,
    oracle_box: bool,
    predictor: Predicts | None,
    raw: bool,
    on_progress: OnProgress,
    say: OnMessage,
) -> ScoreSummary:
    run = RunFolder.open(run_path)
    prepared = run.open_prepared()
    cases = _test_cases(run, prepared)
    for folder in (run.path, run.predictions):
        clean_parts(folder)
    missing = [
        case
        for case in cases
        if not (run.predictions / f"{case}.nii.gz").exists()
        or (raw and cleaning_path(run.predictions, case).exists())
    ]
    if missing or oracle_box:
        predictor = predictor or load_predictor(run_path)
    if missing and predictor:
        predict_folder(
            predictor,
            prepared.folder,
            run.predictions,
            cases=missing,
            cleanup=open_cleanup(run_path, "none" if raw else "auto"),
            on_progress=on_progress,
        )
    scores: list[CaseScore] = []
    for case in cases:
        scores += _score_prepared(run.predictions, prepared, case)
    if oracle_box and predictor:
        for case in cases:
            say(f"oracle boxes for {case}")
            truth = read_truth(prepared, case)
            scores += _score_oracle(
                predictor,
                load_prepared(prepared, case),
                truth,
                prepared.classes,
                run.path / ORACLE,
                case,
            )
    write_csv(run.metrics, COLUMNS, [as_row(score) for score in scores])
    note = log_scores(run.path, _logged(scores, "drawn" if raw else "cleaned"))
    if note:
        say(note)
    return ScoreSummary(summarise(scores, prepared.patients), scores, [])


def _logged(scores: Sequence[CaseScore], masks: str) -> dict[str, float]:
    """Mean Dice per structure, for the log of the training."""
    found: dict[str, list[float]] = {}
    for score in scores:
        if score.prompts == "automatic" and not math.isnan(score.dice):
            found.setdefault(f"dice/{score.label}/{masks}", []).append(score.dice)
    return {name: sum(values) / len(values) for name, values in found.items()}


def score_cleaned(run_path: Path, cleanup: Cleanup, out: Path) -> list[CaseScore]:
    """Scores of the run's test part after clean-up of its masks as they are; cleaned ones go to
    `out`.
    """
    run = RunFolder.open(run_path)
    plane = run.open_prepared().recipe.plane
    clean_folder(run.predictions, scored_cases(run_path), cleanup, out, plane)
    return score_masks(run_path, out)


def score_masks(run_path: Path, masks: Path) -> list[CaseScore]:
    """Scores of the masks of a folder: one for each of the run's test cases."""
    prepared = RunFolder.open(run_path).open_prepared()
    scores: list[CaseScore] = []
    for case in scored_cases(run_path):
        scores += _score_prepared(masks, prepared, case)
    return scores


def scored_cases(run_path: Path) -> list[str]:
    """Cases of the run's test part. Raises `BadDataset` if none has a complete mask."""
    run = RunFolder.open(run_path)
    return _test_cases(run, run.open_prepared())


def score_folders(
    pred: Path,
    truth: Path,
    labels: Mapping[str, tuple[int | str, ...]] | None,
    out: Path | None = None,
    *,
    same_values: bool = False,
    masks: Outlined = "auto",
    scans: ScanOptions = AS_THEY_ARE,
    on_progress: OnProgress = ignore_progress,
) -> ScoreSummary:
    """Score masks in `pred` against the label maps in `truth` that `pair_masks` finds for them; a
    bad pair is listed, the others are scored.

    `labels` maps classes to values in the truth; the predictions hold class numbers in that order,
    unless they name the classes or a label description beside them does, or the values of the truth
    (`same_values`). Without it both hold the same values, and those that
    occur are scored. `masks` says what slices of a truth without outline are. Writes `out` if
    given. Raises `BadDataset` if nothing is found or the masks hold none of the values expected.
    """
    if out is not None:
        check_file(out, [pred, truth], is_ours=_holds_scores)
        make_folder(out.parent)
    pairing = pair_masks(pred, truth)
    numbering = Numbering(None if labels is None else dict(labels), same_values, masks, scans)
    notes = Notes(numbering)
    scores: list[CaseScore] = []
    refused = [{"case": "", **problem.as_dict()} for problem in pairing.ambiguous]
    pace = Pace("mask", len(pairing.pairs))
    with stopping("scoring", pred):
        for done, pair in enumerate(pairing.pairs, 1):
            try:
                matched = match(pair, numbering, pairing.names, pairing.drawn_names)
                scored = _score_matched(pair, matched)
            except Exception as error:
                refusal = spoils_one_case(error)
                if refusal is None:
                    raise
                refused.append({"case": pair.case, **refusal.as_dict()})
            else:
                notes.add(pair.case, matched)
                scores += scored
            on_progress(pace.event(done, item=pair.case))
    notes.refuse_foreign()
    if not scores:
        raise BadDataset(
            "no prediction could be scored",
            where=[f"{line['case'] or 'folder'}: {line['what']}" for line in refused[:5]]
            or ["masks and truths are empty: there is no value to score"],
            did="nothing was scored",
            fix=str(refused[0]["fix"]) if refused else "name the structures with `labels`",
            code="M15",
        )
    if labels is None:
        scores = _fill(scores)
    if out:
        write_csv(out, COLUMNS, [as_row(score) for score in scores])
    return ScoreSummary(
        summarise(scores),
        scores,
        refused,
        pairing.without_mask,
        pairing.without_truth,
        tuple(notes.lines()),
    )


def _fill(scores: Sequence[CaseScore]) -> list[CaseScore]:
    """With a score for every value that occurs in any pair: where it does not, both are empty."""
    labels = sorted({score.label for score in scores}, key=int)
    prompts = {score.case: score.prompts for score in scores}
    there = {(score.case, score.label): score for score in scores}
    nothing = np.zeros((1, 1, 1), np.uint8)
    return [
        there[case, label]
        if (case, label) in there
        else score_case(case, nothing, nothing, (1.0, 1.0, 1.0), (label,), prompts=said)[0]
        for case, said in prompts.items()
        for label in labels
    ]


def _holds_scores(path: Path) -> bool:
    """Is it a table of scores, as `score_folders` writes it?"""
    try:
        read_csv(path, COLUMNS)
    except FewmaskError:
        return False
    return True


def score_bound(
    predictor: Predicts,
    images: Path,
    truth: Path,
    labels: Mapping[str, tuple[int | str, ...]],
    out: Path,
) -> list[CaseScore]:
    """The oracle-box bound on scans outside a run: prompted with the true boxes, masks to `out`,
    scores marked `oracle-box`.

    Raises `BadDataset` for a scan without truth, `BadGeometry` for one on another grid.
    """
    truths, names = {mask.case: mask.path for mask in list_masks(truth)}, declared_names(truth)
    found = open_scans(images).found
    meant = match_names(list(found), list(truths))
    scores: list[CaseScore] = []
    for case, load in found.items():
        if case not in meant:
            raise BadDataset(
                f"no truth is called {case}",
                where=str(images),
                fix="give the mask the name of its scan, or take the scan out",
                code="M15",
            )
        path = truths[meant[case]]
        volume = load().in_plane(plane_of(predictor))
        reference, _ = lay_on_grid(volume.grid, read_labels(path), images, path)
        mapped = map_labels(reference.voxels, dict(labels), names, str(path))
        if mapped.unknown:
            raise BadDataset(
                f"voxels of the truth are marked {IGNORE!r}, and a true box has to be known",
                where=str(path),
                did="the bound was not made",
                fix="leave `oracle_box` out, or give whole truths",
                code="M19",
            )
        labelled = LabelMap(mapped.voxels, volume.grid)
        scores += _score_oracle(predictor, volume, labelled, tuple(labels), out, case)
    return scores


def protocol_lines(
    pred: Path,
    truth: Path | None,
    labels: Mapping[str, tuple[int | str, ...]] | None,
    protocol: str,
    cases: Collection[str],
    cleaned: Path | None = None,
    *,
    same_values: bool = False,
    masks: Outlined = "auto",
    scans: ScanOptions = AS_THEY_ARE,
) -> list[dict[str, Any]]:
    """For each of `cases` and each class the numbers of a named protocol of the literature; without
    `truth`, `pred` is a run, whose masks may also lie in `cleaned`.

    `sam-mix` scores on the paper's grid: every slice stretched to 256 x 256, nearest neighbour. Of
    a run its oracle-box masks are scored too, if there are any, and `prompts` says which is which.
    """
    if truth is None:
        pairs = _run_pairs(pred, cases, cleaned)
    else:
        known = None if labels is None else dict(labels)
        pairs = _folder_pairs(pred, truth, Numbering(known, same_values, masks, scans), cases)
    lines: list[dict[str, Any]] = []
    for case, prompts, prediction, reference, classes in pairs:
        line = {"case": case, "prompts": prompts, "protocol": protocol}
        for name, scores in _score_protocol(prediction, reference, classes, protocol).items():
            lines.append({**line, "class": name, **vars(scores)})
    return lines


def _score_protocol(
    prediction: LabelMap,
    reference: Integer[np.ndarray, "d h w"],
    classes: Sequence[str],
    protocol: str,
) -> dict[str, SliceScores | VoxelScores]:
    """Per class the numbers of a protocol."""
    found: dict[str, SliceScores | VoxelScores] = {}
    pred = prediction.voxels
    if protocol == "sam-mix":
        recipe = RECIPES["sam-mix-paper"]
        placement = Placement.of(prediction.shape, prediction.spacing_mm, recipe)
        pred, reference = placement.place_mask(pred), placement.place_mask(reference)
    for index, name in enumerate(classes, 1):
        if protocol == "sam-mix":
            found[name] = score_sam_mix(pred, reference, index)
        else:
            found[name] = score_la_2018(pred == index, reference == index)
    return found


_Pairs = Iterator[tuple[str, str, LabelMap, np.ndarray, tuple[str, ...]]]
"""(case, prompts, prediction, truth, classes), truth in class indices."""


def _run_pairs(run_path: Path, cases: Collection[str], cleaned: Path | None) -> _Pairs:
    """These test cases of a run; of cleaned masks there is no bound."""
    run = RunFolder.open(run_path)
    prepared = run.open_prepared()
    folders = {"automatic": run.predictions, ORACLE: run.path / ORACLE}
    if cleaned is not None:
        folders = {"automatic": cleaned}
    for prompts, folder in folders.items():
        for case in sorted(cases):
            if (folder / f"{case}.nii.gz").exists():
                prediction, truth = _prepared_pair(folder, prepared, case)
                prompts = prompts if prompts == ORACLE else _prompts(folder, case)
                yield case, prompts, prediction, truth.voxels, prepared.classes


def _folder_pairs(pred: Path, truth: Path, numbering: Numbering, cases: Collection[str]) -> _Pairs:
    """These pairs of two folders."""
    pairing = pair_masks(pred, truth)
    for pair in pairing.pairs:
        if pair.case in cases:
            matched = match(pair, numbering, pairing.names, pairing.drawn_names)
            prompts = _prompts(pair.prediction.path.parent, pair.case)
            yield pair.case, prompts, matched.prediction, matched.truth, matched.classes


def _test_cases(run: RunFolder, prepared: Prepared) -> list[str]:
    cases = [case for case in run.read_split().test if prepared.cases[case].complete]
    if not cases:
        raise BadDataset(
            "no test case has a complete mask, so there is nothing to score on",
            where=str(prepared.folder),
            fix=(
                "put cases with complete masks under test in split.toml, and prepare with "
                "`masks=complete`"
            ),
            code="S04",
        )
    return cases


def _prepared_pair(folder: Path, prepared: Prepared, case: str) -> tuple[LabelMap, LabelMap]:
    """A test case's prediction in `folder` and its truth, on the same grid."""
    path = folder / f"{case}.nii.gz"
    truth = read_truth(prepared, case)
    prediction = read_labels(path).in_plane(truth.grid.plane)
    check_same_grid(truth.grid, prediction.grid, prepared.folder / case, path)
    return prediction, truth


def _score_prepared(folder: Path, prepared: Prepared, case: str) -> list[CaseScore]:
    prediction, truth = _prepared_pair(folder, prepared, case)
    return score_case(
        case,
        prediction.voxels,
        truth.voxels,
        truth.spacing_mm,
        prepared.classes,
        prompts=_prompts(folder, case),
    )


def _prompts(folder: Path, case: str) -> str:
    """`automatic`, or `tags` for a mask whose network was told what slices hold."""
    return read_known_note(folder, case).prompts


def _score_oracle(
    predictor: Predicts,
    volume: Volume,
    truth: LabelMap,
    classes: tuple[str, ...],
    out: Path,
    case: str,
) -> list[CaseScore]:
    boxes = np.full((len(truth.voxels), len(classes), 4), np.nan)
    for d, labels in enumerate(truth.voxels):
        for k in range(len(classes)):
            boxes[d, k] = box_edges(labels == k + 1)
    prediction = predictor.volume_with_boxes(volume, boxes)
    make_folder(out)
    write_prediction(out, case, prediction)
    scores = score_case(case, prediction.label_map.voxels, truth.voxels, truth.spacing_mm, classes)
    return [replace(score, prompts=ORACLE) for score in scores]


def _score_matched(pair: MaskPair, matched: Matched) -> list[CaseScore]:
    return score_case(
        pair.case,
        matched.prediction.voxels,
        matched.truth,
        matched.prediction.spacing_mm,
        matched.classes,
        prompts=_prompts(pair.prediction.path.parent, pair.case),
    )
