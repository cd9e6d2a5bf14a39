"""A table of runs from one file: methods x budgets x draws x seeds, trained, predicted and scored
in domain and elsewhere.

Every finished run appends its rows to one table: of its masks as drawn, and of the same masks after
the run's own clean-up. Rows that are there are not made again, a killed run is resumed, a run that
another process holds is left to it: so a sweep continues over days, and several processes or
machines may share it. A training that runs share is done once: where methods begin with the same
one (`canvas_sam`, and `cfr` with any term), and where settings differ that matter only when a scan
is predicted (`presence` of `sam_mix`). Means of runs (`[[means]]`) come last, when all of their
runs are done.
"""

import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fewmask.benchmark.domains import Scored, score_elsewhere, score_home, score_mean_home
from fewmask.benchmark.plan import (
    HOME,
    Mean,
    Plan,
    Run,
    check_methods,
    check_stride,
    plan_means,
    plan_runs,
)
from fewmask.benchmark.rows import (
    FinishedRun,
    RunRow,
    add_rows,
    as_rows,
    domains_done,
    outcome,
    read_rows,
)
from fewmask.core.budget import Split
from fewmask.core.config import parse
from fewmask.core.errors import BadConfig, FewmaskError, Interrupted, NoRoom
from fewmask.core.names import check_name
from fewmask.core.progress import OnMessage, OnProgress, ignore_progress
from fewmask.core.signals import stopping
from fewmask.core.spread import Spread, one_by_one
from fewmask.io.atomic import make_folder
from fewmask.io.lock import folder_lock, waiting_lock
from fewmask.io.outputs import check_file, check_folder, claim
from fewmask.io.prepared import Prepared, write_split
from fewmask.io.run import RunFolder
from fewmask.io.text import expecting, read_json, write_json
from fewmask.methods import is_external
from fewmask.predict import (
    Cleanup,
    Predicts,
    load_mean,
    load_predictor,
    open_cleanup,
)
from fewmask.prepare.build import prepare
from fewmask.prepare.mapping import parse_labels
from fewmask.prepare.options import PrepareOptions
from fewmask.training import train
from fewmask.training.run import probe_precision

Outcome = Literal["done", "there", "elsewhere", "failed"]
"""What became of a run: the list of `SweepSummary` that it goes to."""


@dataclass(frozen=True)
class Made:
    """What became of a run, or of a mean of runs."""

    outcome: Outcome
    rows: list[RunRow] = field(default_factory=list)
    """Where it was made on another machine: rows that the table does not have yet."""
    failure: dict[str, Any] | None = None
    """The whole message."""


def name_of(item: Run | Mean) -> str:
    """Its folder."""
    return item.name if isinstance(item, Run) else item.run.name


@dataclass
class SweepSummary:
    """What came of a sweep."""

    done: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    """Whose rows were there already."""
    elsewhere: list[str] = field(default_factory=list)
    """In work by another process; means that wait for such a run."""
    failed: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, made: Made) -> None:
        """One run more."""
        if made.failure is not None:
            self.failed.append({"case": name, **made.failure})
        else:
            lists = {"done": self.done, "there": self.there, "elsewhere": self.elsewhere}
            lists[made.outcome].append(name)


def run_sweep(
    plan: Plan,
    data: Path,
    work: Path,
    rows: Path,
    *,
    part: tuple[int, int] = (1, 1),
    device: str | None = None,
    threads: int | None = None,
    log: str | None = None,
    spread: Spread = one_by_one,
    say: OnMessage = print,
    progress: OnProgress = ignore_progress,
) -> SweepSummary:
    """Make the runs of `plan` whose rows are not there; one that fails is told and the others go
    on.

    `part` (i, n) takes every n-th run from the i-th on; `spread` may make runs on other machines,
    which see the same folders: then this process alone writes the table. Raises `Interrupted` on a
    signal, after saving, and `BadConfig` before the first run if one asks for a method or a setting
    that does not exist.
    """
    check_methods(plan)
    check_inputs(plan, data)
    check_outputs(plan, data, work, rows)
    check_rows(plan, rows)
    make_folder(work)
    with stopping("preparing", work), waiting_lock(work, "sweep: prepare", 3600.0):
        _claim(plan, work)
        prepared = prepare_plan(plan, data, work)
        check_stride(plan, prepared)
        plan = replace(plan, amp=settle_amp(plan, prepared, work, device, threads))
    remote = spread is not one_by_one
    told = (_say_nothing, ignore_progress) if remote else (say, progress)
    shared = (plan, prepared, data, work, rows, device, threads, log)
    sweep = _Sweep(*shared, *told, sends=remote)
    summary = SweepSummary()
    mine = slice(part[0] - 1, None, part[1])
    # Means come when all runs are through: they are made of these.
    halves: tuple[Sequence[Run | Mean], ...] = (plan_runs(plan)[mine], plan_means(plan)[mine])
    for items in halves:
        with closing(spread(sweep.attempt, items)) as results:
            for item in items:
                name = name_of(item)
                with stopping(f"making {name}", work):
                    made = next(results)
                    if remote and isinstance(made, Made) and made.rows:
                        add_rows(rows, made.rows)
                        say(name)
                if isinstance(made, FewmaskError):
                    made = Made("failed", failure=made.as_dict())
                if made.failure:
                    say(f"{name}: {made.failure['what']}")
                summary.add(name, made)
    return summary


def _say_nothing(line: str) -> None:
    """On another machine nobody would read it."""


def check_inputs(plan: Plan, data: Path) -> None:
    """Raise `BadConfig` (M15) for a folder of scans or masks that is not there."""
    wanted = [plan.data, *(text for one in plan.elsewhere for text in (one.images, one.truth))]
    missing = [str(data / text) for text in wanted if not text or not (data / text).exists()]
    if missing:
        raise BadConfig(
            "the sweep names scans or masks that are not there",
            where=missing,
            fix="correct these paths in the sweep file, or `data`, the folder they start from",
            code="M15",
        )


def check_rows(plan: Plan, rows: Path) -> None:
    """Raise `BadConfig` (C06) where the table holds rows of these very runs over other test scans
    or structures: they are of another plan, and would be taken for this one's.
    """
    keys = {run.key for run in (*plan_runs(plan), *(mean.run for mean in plan_means(plan)))}
    mine = [row for row in read_rows(rows) if row.key in keys and row.domain == HOME]
    pairs = [("structures", {row.label for row in mine}, set(parse_labels(plan.label)))]
    if plan.split:
        pairs.append(("test scans", {row.case for row in mine}, set(plan.split.get("test", []))))
    unlike = [
        f"{what}: {', '.join(sorted(found - wanted)[:5])}"
        for what, found, wanted in pairs
        if found - wanted
    ]
    if unlike:
        raise BadConfig(
            f"{rows.name} holds rows of these runs on what the sweep file does not name",
            where=[str(rows), *unlike],
            did="no run was begun",
            fix="choose another `rows`, or the sweep file that these rows were made by",
            code="C06",
        )


_PREPARES = (
    *("data", "label", "recipe", "size", "masks", "tags", "tags_off", "split"),
    *("amp", "in_order"),
)
"""What all runs of a work folder share."""


def _claim(plan: Plan, work: Path) -> None:
    """Note what the runs of this work folder share, or raise `BadConfig` (C06) where it was begun
    with something else: what is there would be taken for this plan's.
    """
    changed = claim(work / "plan.json", {name: getattr(plan, name) for name in _PREPARES})
    if changed:
        raise BadConfig(
            "the work folder was begun with another sweep file",
            where=[str(work), *changed],
            did="no run was begun",
            fix="choose another `work` and another `rows`, or change the file back",
            code="C06",
        )


def check_outputs(plan: Plan, data: Path, work: Path, rows: Path) -> None:
    """Raise `BadConfig` (F11) where runs or rows would land in the scans, or on a file that is no
    table of rows.
    """
    inputs = [data / plan.data, *(data / one.images for one in plan.elsewhere)]
    inputs += [data / one.truth for one in plan.elsewhere]
    check_folder(work, inputs, name="work")
    check_file(rows, inputs, is_ours=_holds_rows, name="rows")


def _holds_rows(path: Path) -> bool:
    try:
        read_rows(path)
    except FewmaskError:
        return False
    return True


def settle_amp(
    plan: Plan, prepared: Prepared, work: Path, device: str | None, threads: int | None
) -> Literal["on", "off"]:
    """One precision for all runs of a sweep, probed once and written down before the first: what a
    probe finds depends on the load of the machine, and would differ after a kill.
    """
    if plan.amp != "auto":
        return plan.amp
    path = work / "precision.json"
    if not path.exists():
        run = next((run for run in plan_runs(plan) if not is_external(run.method)), None)
        bf16 = False
        if run is not None:
            request = run.request(prepared.folder, work / run.name / "run")
            bf16 = probe_precision(replace(request, device=device, threads=threads))
        write_json(path, {"amp": "on" if bf16 else "off"})
    with expecting(path, fix="remove it: the precision is probed again"):
        settled: Literal["on", "off"] = {"on": "on", "off": "off"}[read_json(path)["amp"]]  # type: ignore[assignment]
    return settled


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
    log: str | None
    say: OnMessage
    progress: OnProgress
    sends: bool = False
    """Are rows sent to the process that began the sweep, not written here?"""

    def attempt(self, item: Run | Mean) -> Made:
        """Make a run or a mean; what fails is told, and one that is held is left alone."""
        try:
            return self.make(item) if isinstance(item, Run) else self.make_mean(item)
        except Interrupted:
            raise
        except NoRoom as error:
            if error.code != "F12":
                raise
            return Made("elsewhere")
        except FewmaskError as error:
            return Made("failed", failure=error.as_dict())

    def make(self, run: Run) -> Made:
        """Train, predict and score a run. Raises `NoRoom` (F12) if another process holds it."""

        def rows(folder: Path) -> list[RunRow]:
            request = replace(
                run.request(self.prepared.folder, folder / "run"),
                amp=self.plan.amp,
                in_order=self.plan.in_order,
                device=self.device,
                threads=self.threads,
                log=self.log,
                reuse_from=self.work,
            )
            return self.score(run, train(request, self.progress))

        return self._once(run, rows)

    def make_mean(self, mean: Mean) -> Made:
        """Predict and score the mean of runs, if all are finished. Raises as `make` does."""
        paths = [self.work / run.name / "run" for run in mean.members]
        if not all(RunFolder(path).weights.exists() for path in paths):
            return Made("elsewhere")
        return self._once(mean.run, lambda folder: self.score_mean(mean, paths, folder))

    def _once(self, run: Run, rows: Callable[[Path], list[RunRow]]) -> Made:
        """Add the rows that are made in the run's folder, or send them, unless they are there."""
        folder = self.work / run.name
        make_folder(folder)
        with folder_lock(folder, "sweep"):
            if _is_there(self.plan, run, read_rows(self.rows)):
                return Made("there")
            self.say(run.name)
            made = rows(folder)
            if self.sends:
                return Made("done", made)
            add_rows(self.rows, made)
            return Made("done")

    def score(self, run: Run, path: Path) -> list[RunRow]:
        """Predict and score the run folder `path` in every domain, as drawn and after clean-up; the
        rows.
        """
        plan, predictor, cleanup = self.plan, load_predictor(path), open_cleanup(path)
        if plan.stride is not None:
            predictor = predictor.with_windows(plan.stride)
        _forget_others(plan, path)
        settled = outcome(RunFolder.open(path).read_record())
        finished = FinishedRun(**{**run.key._asdict(), **settled}, stride=_stride(plan))
        home = score_home(predictor, path, cleanup, plan.protocol)
        return self._rows(finished, home, predictor, cleanup, path.parent)

    def score_mean(self, mean: Mean, paths: list[Path], folder: Path) -> list[RunRow]:
        """The same of the mean of the run folders `paths`; the first one's clean-up cleans, and
        masks go to `folder`.
        """
        plan, predictor, cleanup = self.plan, load_mean(paths), open_cleanup(paths[0])
        if plan.stride is not None:
            predictor = predictor.with_windows(plan.stride)
        settled = [outcome(RunFolder.open(path).read_record()) for path in paths]
        finished = FinishedRun(
            **{
                **mean.run.key._asdict(),
                "steps": sum(one["steps"] for one in settled),
                "precision": "+".join(sorted({one["precision"] for one in settled})),
            },
            stride=_stride(plan),
        )
        home = score_mean_home(predictor, paths[0], folder, cleanup, plan.protocol)
        return self._rows(finished, home, predictor, cleanup, folder)

    def _rows(
        self,
        finished: FinishedRun,
        home: Scored,
        predictor: Predicts,
        cleanup: Cleanup,
        folder: Path,
    ) -> list[RunRow]:
        """Of the scores at home and elsewhere; masks of other scans go to `folder`."""
        plan, scored = self.plan, {HOME: home}
        for other in plan.elsewhere:
            scored[other.name] = score_elsewhere(
                predictor, other, self.data, folder, cleanup, plan.protocol
            )
        rows: list[RunRow] = []
        for domain, found in scored.items():
            patients = self.prepared.patients if domain == HOME else {}
            for by, (scores, paper) in found.items():
                rows += as_rows(finished, domain, scores, paper, patients, by)
        return rows


def runs_left(plan: Plan, rows: Path) -> set[str]:
    """Names of the runs and means of `plan` that the table `rows` lacks, or has not in every
    domain.
    """
    known = read_rows(rows)
    runs = [*plan_runs(plan), *(mean.run for mean in plan_means(plan))]
    return {run.name for run in runs if not _is_there(plan, run, known)}


def _is_there(plan: Plan, run: Run, known: Sequence[RunRow]) -> bool:
    wanted = {HOME, *(other.name for other in plan.elsewhere)}
    return wanted <= domains_done(known, run.key, _stride(plan))


def prepare_plan(plan: Plan, data: Path, work: Path) -> Prepared:
    """The dataset of a plan, in `work / "prepared"`; what is there already is kept."""
    split = None
    if plan.split:
        split = work / "split.toml"
        write_split(split, parse(Split, {"val": [], **plan.split}, "split"))
    tags: Path | Literal["from-masks"] | None = None
    if plan.tags:
        tags = "from-masks" if plan.tags == "from-masks" else data / plan.tags
    options = PrepareOptions(
        labels=parse_labels(plan.label),
        recipe=plan.recipe,
        size=plan.size,
        masks=plan.masks,
        tags=tags,
        tags_off=plan.tags_off,
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
    for other in plan.elsewhere:  # a plan made in Python has passed no check yet
        check_name(other.name, "a data set", "elsewhere")
    note, stride = path.parent / "stride.json", list(plan.stride or ())
    with expecting(note, fix="remove it: the masks are drawn again"):
        before = read_json(note)["stride"] if note.exists() else []
    if before == stride:
        return
    shutil.rmtree(RunFolder.open(path).predictions, ignore_errors=True)
    for other in plan.elsewhere:
        shutil.rmtree(path.parent / other.name, ignore_errors=True)
    write_json(note, {"stride": stride})
