"""Which rule of `fewmask next` is worth its name? A simulation on scans with complete masks.

It begins with a few slices that the rule picks, trains, asks the rule for the next, reveals just
these, trains anew from the same start for as many steps, and so on through the budgets. A rule sees
tags, and what the network of the budget before says of the scans; never a mask. What it asks for
stands in a budget file, and the gate of training (`LabelGuard`) grants exactly that: a slice that
turns out to be empty counts as outlined, as it would cost a person a look.

It goes on where it stopped, as a sweep does, and its rows are those of a sweep, with `rule=NAME`
among the settings; a sweep of its own would not do, since each budget depends on the run before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fewmask.benchmark.domains import score_home
from fewmask.benchmark.plan import HOME, Plan, RunGrid
from fewmask.benchmark.rows import (
    FinishedRun,
    RunKey,
    RunRow,
    add_rows,
    as_rows,
    domains_done,
    outcome,
    read_rows,
)
from fewmask.benchmark.sweep import check_outputs, prepare_plan, settle_amp
from fewmask.core.budget import Budget
from fewmask.core.config import parse, settings_text
from fewmask.core.errors import BadConfig, BadDataset, NoRoom
from fewmask.core.progress import OnMessage, OnProgress, ignore_progress
from fewmask.core.signals import stopping
from fewmask.io.atomic import make_folder
from fewmask.io.lock import folder_lock, waiting_lock
from fewmask.io.prepared import Prepared, read_budget, write_budget
from fewmask.io.run import RunFolder
from fewmask.io.text import read_toml
from fewmask.predict import load_predictor, open_cleanup
from fewmask.predict.entropy import suggest, views_of
from fewmask.quality.next import PER_SCAN, RULES, Rule, Suggestion, choose
from fewmask.training import TrainRequest, train


@dataclass(frozen=True)
class NextPlan:
    """A file of a simulation. Paths are relative to the data folder; what stands in a sweep file
    too means the same there. The test part are patients to choose a rule by: kept aside of the
    training patients, never those that results are told of.
    """

    data: str
    label: list[str]
    split: dict[str, list[str]]
    recipe: str = "auto"
    size: int = 0
    tags: Literal["from-masks", False] = "from-masks"
    amp: Literal["auto", "on", "off"] = "auto"
    method: str = "lite_unet"
    set: dict[str, Any] = field(default_factory=dict)
    steps: int = 300
    budgets: list[int] = field(default_factory=lambda: [5, 10, 20, 50])
    rules: list[str] = field(default_factory=lambda: list(RULES))
    draws: list[int] = field(default_factory=lambda: [0, 1, 2])
    """Of the rule's noise and of the training."""

    @property
    def as_sweep(self) -> Plan:
        """What a sweep needs to know to prepare and score."""
        grid = RunGrid([self.method], self.budgets, steps=self.steps, set=self.set)
        return Plan(
            self.data,
            self.label,
            [grid],
            recipe=self.recipe,
            size=self.size,
            tags=self.tags,
            split=self.split,
            amp=self.amp,
        )


def read_next_plan(path: Path) -> NextPlan:
    """A file of a simulation, strictly. Raises `BadConfig` naming the nearest key."""
    plan = parse(NextPlan, read_toml(path, kind=BadConfig), path.name)
    wrong = [rule for rule in plan.rules if rule not in RULES]
    rising = all(a < b for a, b in zip([0, *plan.budgets], plan.budgets, strict=False))
    if wrong or not (plan.rules and plan.budgets and plan.draws and rising) or plan.steps < 1:
        raise BadConfig(
            f"{path.name} knows no rule {wrong[0]!r}" if wrong else f"{path.name} asks for nothing",
            where=str(path),
            fix=f"name rules ({', '.join(RULES)}), rising budgets, draws and steps",
            code="C02",
        )
    return plan


@dataclass
class NextSummary:
    """What came of a simulation: names of runs."""

    done: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    """Whose rows were there already."""
    elsewhere: list[str] = field(default_factory=list)
    """In work by another process."""


def simulate(
    plan: NextPlan,
    data: Path,
    work: Path,
    rows: Path,
    *,
    threads: int | None = None,
    device: str | None = None,
    say: OnMessage = print,
    progress: OnProgress = ignore_progress,
) -> NextSummary:
    """Make the runs whose rows are not there: all rules and budgets of the first draw, then of the
    next. Several processes may share one folder.

    Raises `Interrupted` on a signal, after saving, and what a training raises.
    """
    sweep = plan.as_sweep
    check_outputs(sweep, data, work, rows)
    make_folder(work)
    with stopping("preparing", work), waiting_lock(work, "next: prepare", 3600.0):
        prepared = prepare_plan(sweep, data, work)
        amp = settle_amp(sweep, prepared, work, device, threads)
    one = _Simulation(plan, prepared, work, rows, amp, device, threads, say, progress)
    summary = NextSummary()
    for draw in plan.draws:
        for rule in plan.rules:
            one.follow(rule, draw, summary)  # type: ignore[arg-type]
    return summary


@dataclass(frozen=True)
class _Simulation:
    """What all runs share."""

    plan: NextPlan
    prepared: Prepared
    work: Path
    rows: Path
    amp: Literal["on", "off"]
    device: str | None
    threads: int | None
    say: OnMessage
    progress: OnProgress

    def follow(self, rule: Rule, draw: int, summary: NextSummary) -> None:
        """One person who asks this rule, through all budgets, or to where another process works."""
        before: Path | None = None
        for n in self.plan.budgets:
            name = f"{rule}-{n}s-draw{draw}"
            folder = self.work / name
            make_folder(folder)
            try:
                with stopping(f"making {name}", folder), folder_lock(folder, "next"):
                    made = self._make(rule, draw, n, folder, before)
            except NoRoom as error:
                if error.code != "F12":
                    raise
                summary.elsewhere.append(name)
                return
            (summary.done if made else summary.there).append(name)
            before = folder

    def _make(self, rule: Rule, draw: int, n: int, folder: Path, before: Path | None) -> bool:
        """Train and score one run; False where its rows are there already."""
        key = self._key(rule, draw, n)
        budget = folder / "budget.toml"
        if HOME in domains_done(read_rows(self.rows), key, "") and budget.exists():
            return False
        if not budget.exists():
            write_budget(budget, self._ask(rule, draw, n, before))
        self.say(folder.name)
        run = train(self._request(folder, draw), self.progress)
        add_rows(self.rows, self._score(run, key))
        return True

    def _ask(self, rule: Rule, draw: int, n: int, before: Path | None) -> Budget:
        """The budget of the run before, and what the rule asks for after it."""
        if before is None:
            old: tuple[tuple[str, int], ...] = ()
            first: Rule = {"entropy": "random", "mixed": "spread"}.get(rule, rule)  # type: ignore[assignment]
            views = views_of(self.prepared, {})
            found = choose(views, self.prepared.classes, n, first, draw, self._per_scan(n))
        else:
            old = read_budget(before / "budget.toml").slices
            found = self._suggest(before / "run", rule, draw, n - len(old), old)
        if len(old) + len(found) < n:
            raise BadDataset(
                f"{n} slices asked for, the rule {rule} finds {len(old) + len(found)}",
                where=str(self.prepared.folder),
                fix="name smaller budgets, or more training scans",
                code="S04",
            )
        slices = (*old, *((one.case, one.d) for one in found))
        return Budget("slices", draw, slices)

    def _suggest(
        self, run: Path, rule: Rule, draw: int, more: int, old: tuple[tuple[str, int], ...]
    ) -> list[Suggestion]:
        known: dict[str, set[int]] = {}
        for case, d in old:
            known.setdefault(case, set()).add(d)
        return suggest(
            run,
            self.prepared.folder,
            more,
            rule,
            draw,
            known=known,
            per_scan=self._per_scan(more),
            device=self.device,
        )

    def _per_scan(self, more: int) -> int:
        """As many of a scan as are needed where there are few scans."""
        return max(PER_SCAN, -(-2 * more // len(self.prepared.split.train)))

    def _request(self, folder: Path, draw: int) -> TrainRequest:
        return TrainRequest(
            prepared=self.prepared.folder,
            out=folder / "run",
            method=self.plan.method,
            budget=folder / "budget.toml",
            seed=draw,
            steps=self.plan.steps,
            settings=tuple(settings_text(self.plan.set).split()),
            amp=self.amp,
            device=self.device,
            threads=self.threads,
            reuse_from=self.work,
        )

    def _key(self, rule: Rule, draw: int, n: int) -> RunKey:
        settings = " ".join([f"rule={rule}", *settings_text(self.plan.set).split()])
        return RunKey(self.plan.method, settings, n, None, draw, draw, None, self.plan.steps)

    def _score(self, run: Path, key: RunKey) -> list[RunRow]:
        settled: Mapping[str, Any] = outcome(RunFolder.open(run).read_record())
        finished = FinishedRun(**{**key._asdict(), **settled})
        rows: list[RunRow] = []
        protocol = self.plan.as_sweep.protocol
        scored = score_home(load_predictor(run, self.device), run, open_cleanup(run), protocol)
        for by, (scores, paper) in scored.items():
            rows += as_rows(finished, HOME, scores, paper, self.prepared.patients, by)
        return rows
