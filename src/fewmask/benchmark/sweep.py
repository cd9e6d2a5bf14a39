"""A table of runs from one file: methods x budgets x draws x seeds, trained, predicted and scored
in domain and elsewhere.

Every finished run appends its rows to one table: of its masks as drawn, and of the same masks after
the run's own clean-up. Rows that are there are not made again, a killed run is resumed, a run that
another process holds is left to it: so a sweep continues over days, and several processes or
machines may share it. A training that runs share is done once: where methods begin with the same
one (`canvas_sam`, and `cfr` with any term), and where settings differ that matter only when a scan
is predicted (`presence` of `sam_mix`).
"""

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fewmask.benchmark.rows import (
    LEARNED,
    ORACLE,
    RAW,
    FinishedRun,
    RunKey,
    RunRow,
    add_rows,
    as_rows,
    domains_done,
    outcome,
    read_rows,
)
from fewmask.benchmark.score import (
    protocol_lines,
    score_bound,
    score_cleaned,
    score_folders,
    score_run,
)
from fewmask.core.budget import Split
from fewmask.core.config import parse, settings_text
from fewmask.core.errors import BadConfig, BadDataset, FewmaskError, Interrupted, NoRoom
from fewmask.core.progress import OnMessage, OnProgress, ignore_progress
from fewmask.core.renamed import todays_words
from fewmask.evaluate.scores import CaseScore
from fewmask.io.lock import folder_lock, waiting_lock
from fewmask.io.prepared import Prepared, write_split
from fewmask.io.run import RunFolder
from fewmask.io.text import read_json, read_toml, write_json
from fewmask.predict import Predicts, load_predictor, open_cleanup, predict_folder
from fewmask.predict.folder import clean_folder
from fewmask.prepare.build import prepare
from fewmask.prepare.mapping import parse_labels
from fewmask.prepare.options import PrepareOptions
from fewmask.training import TrainRequest, train

HOME = "test"
"""The domain of the prepared data's own test cases."""
CLEANED = "cleaned"
"""Folder of a run's masks after clean-up, as `predictions` has them as drawn."""
Scored = dict[str, tuple[list[CaseScore], list[dict[str, Any]]]]
"""Clean-up -> scores, and lines of the protocol."""
Labels = dict[str, tuple[int | str, ...]]


@dataclass(frozen=True)
class RunGrid:
    """Every combination of these is a run."""

    method: list[str]
    slices: list[int] = field(default_factory=list)
    """Budgets in outlined slices."""
    volumes: list[int] = field(default_factory=list)
    """Budgets in whole masks."""
    draw: list[int] = field(default_factory=lambda: [0])
    seed: list[int] = field(default_factory=lambda: [0])
    minutes: float | None = None
    steps: int | None = None
    set: dict[str, Any] = field(default_factory=dict)
    """Settings of the method."""


@dataclass(frozen=True)
class Elsewhere:
    """Scans that are scored and never learned from."""

    name: str
    images: str
    truth: str
    label: list[str]


@dataclass(frozen=True)
class Plan:
    """A sweep file. Paths are relative to the data folder."""

    data: str
    label: list[str]
    runs: list[RunGrid]
    recipe: str = "auto"
    size: int = 0
    """Side of the networks' grid in pixels; 0 = the recipe's own."""
    masks: Literal["partial", "complete"] = "complete"
    tags: str | None = "from-masks"
    split: dict[str, list[str]] = field(default_factory=dict)
    protocol: Literal["sam-mix", "la-2018"] = "sam-mix"
    """The literature's way of counting that stands beside ours in every row."""
    stride: tuple[int, int, int] | None = None
    """Voxels (d, h, w) between windows of 3D methods; half a window if nothing is said. Rows of
    another are made again.
    """
    in_order: bool = False
    """Labelled volumes are taken in the order of the training list."""
    elsewhere: list[Elsewhere] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """One run of a plan."""

    method: str
    slices: int | None
    volumes: int | None
    draw: int
    seed: int
    minutes: float | None
    steps: int | None
    settings: tuple[str, ...]

    @property
    def key(self) -> RunKey:
        """As its rows have it."""
        return RunKey(**{**asdict(self), "settings": " ".join(self.settings)})

    def request(self, prepared: Path, out: Path) -> TrainRequest:
        """As `train` takes it."""
        return TrainRequest(prepared=prepared, out=out, **asdict(self))

    @property
    def name(self) -> str:
        """Its folder."""
        budget = f"{self.slices}s" if self.slices is not None else f"{self.volumes}v"
        time = f"{self.minutes:g}min" if self.minutes is not None else f"{self.steps}steps"
        words = [self.method, *self.settings, budget, f"draw{self.draw}", f"seed{self.seed}", time]
        return "-".join(words).replace("/", "_")


@dataclass
class SweepSummary:
    """What came of a sweep."""

    done: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    """Whose rows were there already."""
    elsewhere: list[str] = field(default_factory=list)
    """In work by another process."""
    failed: list[dict[str, Any]] = field(default_factory=list)


def read_plan(path: Path) -> Plan:
    """A sweep file, strictly. Raises `BadConfig` naming the nearest key."""
    plan = parse(Plan, read_toml(path, kind=BadConfig), path.name)
    runs = plan_runs(plan)
    if not runs or len({run.name for run in runs}) < len(runs):
        raise BadConfig(
            f"{path.name} names no run" if not runs else f"{path.name} names a run twice",
            fix="give each [[runs]] a method and slices or volumes, no combination twice",
            code="C02",
        )
    return plan


def plan_runs(plan: Plan) -> list[Run]:
    """Every run: all of the first seed and draw in the order of the file, then the next, so that
    half a sweep says much.
    """
    runs: list[Run] = []
    for grid in plan.runs:
        runs += _combine(grid)
    return sorted(runs, key=lambda run: (run.seed, run.draw))


def run_sweep(
    plan: Plan,
    data: Path,
    work: Path,
    rows: Path,
    *,
    part: tuple[int, int] = (1, 1),
    device: str | None = None,
    threads: int | None = None,
    say: OnMessage = print,
    progress: OnProgress = ignore_progress,
) -> SweepSummary:
    """Make the runs of `plan` whose rows are not there; one that fails is told and the others go
    on.

    `part` (i, n) takes every n-th run from the i-th on. Raises `Interrupted` on a signal, after
    saving.
    """
    work.mkdir(parents=True, exist_ok=True)
    with waiting_lock(work, "sweep: prepare", 3600.0):
        prepared = _prepare(plan, data, work)
    sweep = _Sweep(plan, prepared, data, work, rows, device, threads, say, progress)
    summary = SweepSummary()
    for run in plan_runs(plan)[part[0] - 1 :: part[1]]:
        try:
            made = sweep.make(run)
            (summary.done if made else summary.there).append(run.name)
        except Interrupted:
            raise
        except NoRoom as error:
            if error.code != "F12":
                raise
            summary.elsewhere.append(run.name)
        except FewmaskError as error:
            summary.failed.append({"case": run.name, **error.as_dict()})
            say(f"{run.name}: {error.what}")
    return summary


@dataclass(frozen=True)
class _Sweep:
    """What all runs of a sweep share."""

    plan: Plan
    prepared: Prepared
    data: Path
    work: Path
    """Folder of the runs."""
    rows: Path
    device: str | None
    threads: int | None
    say: OnMessage
    progress: OnProgress

    def make(self, run: Run) -> bool:
        """Train, predict and score a run; False if its rows are there. Raises `NoRoom` (F12) if
        another process holds it.
        """
        folder = self.work / run.name
        folder.mkdir(exist_ok=True)
        with folder_lock(folder, "sweep"):
            done = domains_done(read_rows(self.rows), run.key, _stride(self.plan))
            if _wanted(self.plan) <= done:
                return False
            self.say(run.name)
            request = replace(
                run.request(self.prepared.folder, folder / "run"),
                in_order=self.plan.in_order,
                device=self.device,
                threads=self.threads,
                reuse_from=self.work,
            )
            add_rows(self.rows, self.score(run, train(request, self.progress)))
            return True

    def score(self, run: Run, path: Path) -> list[RunRow]:
        """Predict and score the run folder `path` in every domain, as drawn and after clean-up; the
        rows.
        """
        plan, predictor = self.plan, load_predictor(path)
        if plan.stride is not None:
            predictor = predictor.with_windows(plan.stride)
        _forget_others(plan, path)
        settled = outcome(RunFolder.open(path).read_record())
        finished = FinishedRun(**{**run.key._asdict(), **settled}, stride=_stride(plan))
        rows: list[RunRow] = []
        for by, (scores, paper) in _score_home(predictor, path, plan.protocol).items():
            rows += as_rows(finished, HOME, scores, paper, self.prepared.patients, by)
        for other in plan.elsewhere:
            found = _score_elsewhere(predictor, other, self.data, path, plan.protocol)
            for by, (scores, paper) in found.items():
                rows += as_rows(finished, other.name, scores, paper, {}, by)
        return rows


def _combine(grid: RunGrid) -> Iterator[Run]:
    budgets: list[tuple[int | None, int | None]] = [(n, None) for n in grid.slices]
    budgets += [(None, n) for n in grid.volumes]
    words = settings_text(grid.set).split()
    for method, (slices, volumes), draw, seed in itertools.product(
        grid.method, budgets, grid.draw, grid.seed
    ):
        settings = todays_words(method, words)
        yield Run(method, slices, volumes, draw, seed, grid.minutes, grid.steps, settings)


def _wanted(plan: Plan) -> set[str]:
    return {HOME, *(other.name for other in plan.elsewhere)}


def _prepare(plan: Plan, data: Path, work: Path) -> Prepared:
    split = None
    if plan.split:
        split = work / "split.toml"
        write_split(split, parse(Split, {"val": [], **plan.split}, "split"))
    tags: Any = data / plan.tags if plan.tags not in (None, "from-masks") else plan.tags
    options = PrepareOptions(
        labels=parse_labels(plan.label),
        recipe=plan.recipe,
        size=plan.size,
        masks=plan.masks,
        tags=tags,
        split=split,
        jobs=2,
    )
    prepare(data / plan.data, work / "prepared", options)
    return Prepared.open(work / "prepared")


def _stride(plan: Plan) -> str:
    """As its rows have it."""
    return ",".join(map(str, plan.stride or ()))


def _forget_others(plan: Plan, path: Path) -> None:
    """Masks of a run that were drawn with windows in other places are drawn again."""
    note, stride = path.parent / "stride.json", list(plan.stride or ())
    before = read_json(note)["stride"] if note.exists() else []
    if before == stride:
        return
    shutil.rmtree(RunFolder.open(path).predictions, ignore_errors=True)
    for other in plan.elsewhere:
        shutil.rmtree(path.parent / other.name, ignore_errors=True)
    write_json(note, {"stride": stride})


def _score_home(predictor: Predicts, path: Path, protocol: str) -> Scored:
    """Of the prepared data's test cases. They are predicted once: the drawn masks are cleaned."""
    home = score_run(path, oracle_box=predictor.promptable, predictor=predictor, raw=True)
    cases = {score.case for score in home.scores}
    drawn = (home.scores, protocol_lines(path, None, None, protocol, cases))
    out = path / CLEANED
    cleaned = score_cleaned(path, open_cleanup(path), out)
    return {RAW: drawn, LEARNED: (cleaned, protocol_lines(path, None, None, protocol, cases, out))}


def _score_elsewhere(
    predictor: Predicts, other: Elsewhere, data: Path, path: Path, protocol: str
) -> Scored:
    """Of other scans, with the bound where there is one; masks go beside the run folder `path`."""
    images, truth = data / other.images, data / other.truth
    folder, labels = path.parent, parse_labels(other.label)
    out, cleaned = folder / other.name, folder / f"{other.name}-{CLEANED}"
    summary = predict_folder(predictor, images, out)
    if summary.refused:
        refused = summary.refused[0]
        raise BadDataset(
            f"{other.name}: {refused['case'] or 'folder'}: {refused['what']}",
            where=str(images),
            did="no row was written",
            fix=f"fewmask check {images}",
            code="M15",
        )
    clean_folder(out, summary.written, open_cleanup(path), cleaned)
    drawn, lines = _score_masks(other.name, out, truth, labels, protocol)
    if predictor.promptable:
        bound = folder / f"{other.name}-{ORACLE}"
        of_bound = score_bound(predictor, images, truth, labels, bound)
        cases = {score.case for score in of_bound}
        marked = protocol_lines(bound, truth, labels, protocol, cases)
        drawn, lines = drawn + of_bound, lines + [{**line, "prompts": ORACLE} for line in marked]
    return {
        RAW: (drawn, lines),
        LEARNED: _score_masks(other.name, cleaned, truth, labels, protocol),
    }


def _score_masks(
    name: str, masks: Path, truth: Path, labels: Labels, protocol: str
) -> tuple[list[CaseScore], list[dict[str, Any]]]:
    """Scores of a folder of masks and lines of the protocol."""
    scored = score_folders(masks, truth, labels)
    if scored.refused:
        raise BadDataset(f"{name}: {scored.refused[0]['what']}", where=str(masks), code="M15")
    cases = {score.case for score in scored.scores}
    return scored.scores, protocol_lines(masks, truth, labels, protocol, cases)
