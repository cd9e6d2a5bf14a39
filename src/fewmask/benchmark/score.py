"""Score a run on the patients it never saw, or a folder of masks against truth."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from fewmask.benchmark.rows import ORACLE
from fewmask.cleanup.beside import cleaning_path
from fewmask.core.errors import BadDataset, FewmaskError
from fewmask.core.placement import Placement
from fewmask.core.progress import OnMessage
from fewmask.core.recipe import RECIPES
from fewmask.core.signals import stopping
from fewmask.core.volume import LabelMap, Volume
from fewmask.evaluate.intervals import Summary, summarise
from fewmask.evaluate.protocols import SliceScores, VoxelScores, score_la_2018, score_sam_mix
from fewmask.evaluate.scores import COLUMNS, CaseScore, as_row, score_case
from fewmask.evaluate.surfaces import box_edges
from fewmask.io.atomic import make_folder
from fewmask.io.known import read_known_note
from fewmask.io.nifti import case_id_of, check_same_grid, read_labels
from fewmask.io.outputs import check_file
from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.io.tables import read_csv, write_csv
from fewmask.predict import Cleanup, Predicts, load_predictor, open_cleanup
from fewmask.predict.folder import (
    clean_folder,
    load_prepared,
    open_scans,
    predict_folder,
    write_prediction,
)
from fewmask.prepare.folder import walk_folder
from fewmask.prepare.mapping import map_labels
from fewmask.prepare.reading import spoils_one_case
from fewmask.report.run import read_truth


@dataclass(frozen=True)
class ScoreSummary:
    """What was scored and what could not be."""

    summaries: list[Summary]
    scores: list[CaseScore]
    refused: list[dict[str, Any]]
    unpredicted: tuple[str, ...] = ()
    """Cases with a truth and no mask: they count for nothing."""


def score_run(
    run_path: Path,
    *,
    oracle_box: bool = False,
    predictor: Predicts | None = None,
    raw: bool = False,
    say: OnMessage = lambda text: None,
) -> ScoreSummary:
    """Score the test part of a run's dataset and write `metrics.csv`; missing masks are predicted
    first, and cleaned by the run's rule.

    With `raw` no mask is cleaned, and one that was is predicted again; else masks that are there
    are scored as they are. By `predictor`, or by one that is opened where one is needed. With
    `oracle_box` the bound is added: the same model, prompted with each slice's true box; its masks
    go to the run's folder `oracle-box`. Raises `BadDataset` if no test case has a complete mask.
    """
    with stopping("scoring", run_path):
        return _score_run(run_path, oracle_box, predictor, raw, say)


def _score_run(
    run_path: Path,
    oracle_box: bool,
    predictor: Predicts | None,
    raw: bool,
    say: OnMessage,
) -> ScoreSummary:
    run = RunFolder.open(run_path)
    prepared = run.open_prepared()
    cases = _test_cases(run, prepared)
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
            on_progress=lambda event: say(f"predicted {event.item}"),
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
    return ScoreSummary(summarise(scores, prepared.patients), scores, [])


def score_cleaned(run_path: Path, cleanup: Cleanup, out: Path) -> list[CaseScore]:
    """Scores of the run's test part after clean-up of its masks as they are; cleaned ones go to
    `out`.
    """
    clean_folder(RunFolder.open(run_path).predictions, scored_cases(run_path), cleanup, out)
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
) -> ScoreSummary:
    """Score masks in `pred` against label maps of the same case id in `truth`; a bad pair is
    listed, the others are scored.

    `labels` maps classes to values in the truth; the predictions hold class indices in that order.
    Without it both hold the same values. Writes `out` if given. Raises `BadDataset` if no pair is
    found.
    """
    if out is not None:
        check_file(out, [pred, truth], is_ours=_holds_scores)
        make_folder(out.parent)
    truths = _by_case(truth)
    scores: list[CaseScore] = []
    trees = [walk_folder(folder) for folder in (pred, truth) if folder.is_dir()]
    refused = [{"case": "", **problem.as_dict()} for tree in trees for problem in tree.problems]
    with stopping("scoring", pred):
        for path in _nifti_files(pred):
            case = case_id_of(path)
            try:
                scores += _score_pair(case, path, truths, labels)
            except Exception as error:
                refusal = error if isinstance(error, FewmaskError) else spoils_one_case(error)
                if refusal is None:
                    raise
                refused.append({"case": case, **refusal.as_dict()})
    if not scores:
        raise BadDataset(
            "no prediction could be scored",
            where=[f"{line['case']}: {line['what']}" for line in refused[:5]]
            or [f"no NIfTI file in {pred}"],
            fix="predictions and truth are paired by file name",
            code="M15",
        )
    if out:
        write_csv(out, COLUMNS, [as_row(score) for score in scores])
    predicted = {case_id_of(path) for path in _nifti_files(pred)}
    return ScoreSummary(
        summarise(scores), scores, refused, tuple(sorted(truths.keys() - predicted))
    )


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
    truths = _by_case(truth)
    scores: list[CaseScore] = []
    for case, load in open_scans(images).found.items():
        path = _truth_of(case, truths, images)
        volume, reference = load(), read_labels(path)
        check_same_grid(volume.grid, reference.grid, images, path)
        mapped = map_labels(reference.voxels, dict(labels), {}, str(path)).voxels
        scores += _score_oracle(
            predictor, volume, LabelMap(mapped, volume.grid), tuple(labels), out, case
        )
    return scores


def protocol_lines(
    pred: Path,
    truth: Path | None,
    labels: Mapping[str, tuple[int | str, ...]] | None,
    protocol: str,
    cases: Collection[str],
    cleaned: Path | None = None,
) -> list[dict[str, Any]]:
    """For each of `cases` and each class the numbers of a named protocol of the literature; without
    `truth`, `pred` is a run, whose masks may also lie in `cleaned`.

    `sam-mix` scores on the paper's grid: every slice stretched to 256 x 256, nearest neighbour. Of
    a run its oracle-box masks are scored too, if there are any, and `prompts` says which is which.
    """
    if truth is None:
        pairs = _run_pairs(pred, cases, cleaned)
    else:
        pairs = _folder_pairs(pred, truth, labels, cases)
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


def _folder_pairs(
    pred: Path,
    truth: Path,
    labels: Mapping[str, tuple[int | str, ...]] | None,
    cases: Collection[str],
) -> _Pairs:
    """These pairs of two folders."""
    truths = _by_case(truth)
    for path in _nifti_files(pred):
        case = case_id_of(path)
        if case in cases:
            yield case, _prompts(pred, case), *_pair_voxels(path, truths[case], labels)


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
    prediction, truth = read_labels(path), read_truth(prepared, case)
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


def _score_pair(
    case: str,
    path: Path,
    truths: Mapping[str, Path],
    labels: Mapping[str, tuple[int | str, ...]] | None,
) -> list[CaseScore]:
    prediction, truth, classes = _pair_voxels(path, _truth_of(case, truths, path), labels)
    prompts = _prompts(path.parent, case)
    return score_case(
        case, prediction.voxels, truth, prediction.spacing_mm, classes, prompts=prompts
    )


def _by_case(folder: Path) -> dict[str, Path]:
    return {case_id_of(path): path for path in _nifti_files(folder)}


def _truth_of(case: str, truths: Mapping[str, Path], where: Path) -> Path:
    if case not in truths:
        raise BadDataset(f"no truth is called {case}", where=str(where), code="M15")
    return truths[case]


def _pair_voxels(
    pred: Path, truth: Path, labels: Mapping[str, tuple[int | str, ...]] | None
) -> tuple[LabelMap, np.ndarray, tuple[str, ...]]:
    prediction, reference = read_labels(pred), read_labels(truth)
    check_same_grid(reference.grid, prediction.grid, truth, pred)
    if labels:
        mapped = map_labels(reference.voxels, dict(labels), {}, str(truth)).voxels
        return prediction, mapped, tuple(labels)
    top = int(max(prediction.voxels.max(), reference.voxels.max()))
    return prediction, reference.voxels, tuple(str(value) for value in range(1, top + 1))


def _nifti_files(folder: Path) -> list[Path]:
    if not folder.exists():
        raise BadDataset(
            "no such file or folder", where=str(folder), fix="check the path", code="M15"
        )
    if not folder.is_dir():
        return [folder]
    return sorted(walk_folder(folder).nifti(folder))
