"""What a sweep file asks for: grids of runs, and means of them."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fewmask.benchmark.rows import RunKey
from fewmask.core.budget import Split
from fewmask.core.config import parse, settings_text
from fewmask.core.errors import BadConfig
from fewmask.core.names import check_name, printable
from fewmask.core.renamed import todays_words
from fewmask.io.prepared import Prepared
from fewmask.io.text import read_toml
from fewmask.predict.predictor import no_windows
from fewmask.predict.windows import Windows
from fewmask.prepare.mapping import parse_labels
from fewmask.prepare.options import PrepareOptions
from fewmask.training import TrainRequest
from fewmask.training.budget import patch_of
from fewmask.training.stages import plan_stages

HOME = "test"
"""The domain of the prepared data's own test cases."""
_RUN_HAS = ("run", HOME, "stride.json")
"""What stands in the folder of a run of a sweep, beside folders of masks of other scans."""
_ENDINGS = ("-cleaned", "-oracle-box")
_MAX_RUNS = 100_000
MEAN = "mean"
"""What stands as method in the rows of a mean."""


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
    name: str = ""
    """What `[[means]]` call these runs; then there is one method."""


@dataclass(frozen=True)
class MeanGrid:
    """For every budget, draw and seed that they share, the mean of the runs of two or more grids
    scores as one more run.
    """

    of: list[str]
    """Names of grids; the first one's clean-up cleans."""


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
    means: list[MeanGrid] = field(default_factory=list)
    recipe: str = "auto"
    size: int = 0
    """Side of the networks' grid in pixels; 0 = the recipe's own."""
    masks: Literal["partial", "complete"] = "complete"
    tags: str | Literal[False] = "from-masks"
    """A table, or tags read off the masks, or `false`: none."""
    tags_off: int = 0
    """Slices by which both ends of tags read off masks are wrong."""
    split: dict[str, list[str]] = field(default_factory=dict)
    protocol: Literal["sam-mix", "la-2018"] = "sam-mix"
    """The literature's way of counting that stands beside ours in every row."""
    stride: tuple[int, int, int] | None = None
    """Voxels (d, h, w) between windows of 3D methods; half a window if nothing is said. Rows of
    another are made again.
    """
    amp: Literal["auto", "on", "off"] = "auto"
    """bfloat16 in training. What `auto` finds depends on the machine and its load: say it, so that
    all rows have one precision.
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


@dataclass(frozen=True)
class Mean:
    """A mean of finished runs."""

    run: Run
    """As its rows have it: method `mean`, the names as settings, all the time that its runs had."""
    members: tuple[Run, ...]


def read_plan(path: Path) -> Plan:
    """A sweep file, strictly. Raises `BadConfig` naming the nearest key."""
    plan = parse(Plan, read_toml(path, kind=BadConfig), path.name)
    _check_names(plan, path)
    _check_paths(plan, path)
    _check_size(plan, path)
    _check_contents(plan, path)
    runs = plan_runs(plan)
    if not runs or len({run.name for run in runs}) < len(runs):
        raise BadConfig(
            f"{path.name} names no run" if not runs else f"{path.name} names a run twice",
            fix="give each [[runs]] a method and slices or volumes, no combination twice",
            code="C02",
        )
    plan_means(plan)
    return plan


def _check_names(plan: Plan, path: Path) -> None:
    """Raise `BadConfig` for names that cannot be those of folders beside a run's own (N45)."""
    names = [other.name for other in plan.elsewhere]
    for name in [*names, *(case for cases in plan.split.values() for case in cases)]:
        check_name(name, "a data set or case", str(path))
    taken = [*_RUN_HAS, *(f"{name}{ending}" for name in [HOME, *names] for ending in _ENDINGS)]
    for name in names:
        if name in taken or names.count(name) > 1:
            raise BadConfig(
                f"[[elsewhere]] name {name!r} is taken already",
                where=str(path),
                fix="choose a name of its own",
                code="N45",
            )


def _check_paths(plan: Plan, path: Path) -> None:
    """Raise `BadConfig` (C05) for a path that leaves the data folder, which only the command line
    may name.
    """
    inside = [plan.data, *(text for one in plan.elsewhere for text in (one.images, one.truth))]
    inside += [plan.tags] if plan.tags and plan.tags != "from-masks" else []
    for text in filter(None, inside):
        if Path(text).is_absolute() or ".." in Path(text).parts or "\\" in text:
            raise BadConfig(
                f"{path.name} names {printable(text)!r}, which leaves the data folder",
                where=str(path),
                fix="write paths relative to the data folder, without `..`",
                code="C05",
            )


def _check_size(plan: Plan, path: Path) -> None:
    """Raise `BadConfig` for more runs than anybody can want, before one of them is built."""
    count = sum(
        len(grid.method) * (len(grid.slices) + len(grid.volumes)) * len(grid.draw) * len(grid.seed)
        for grid in plan.runs
    )
    if count > _MAX_RUNS:
        raise BadConfig(
            f"{path.name} asks for {count:,} runs, at most {_MAX_RUNS:,} are made",
            where=str(path),
            fix="name fewer methods, budgets, draws or seeds",
            code="C02",
        )


def _check_contents(plan: Plan, path: Path) -> None:
    """Raise `BadConfig` for numbers that mean nothing, a recipe or size that there is not, no test
    scans, and other scans with other structures: else that is found after the first training.
    """
    classes = set(parse_labels(plan.label))
    _ = PrepareOptions(recipe=plan.recipe, size=plan.size).wanted_recipe
    wrong = [] if classes else ["label names no structure"]
    for grid in plan.runs:
        if grid.minutes is None and grid.steps is None:
            wrong.append(f"[[runs]] of {', '.join(grid.method)} have no minutes and no steps")
        budgets = [f"{n} slices or volumes" for n in (*grid.slices, *grid.volumes) if n < 0]
        wrong += budgets + [f"draw or seed {n}" for n in (*grid.draw, *grid.seed) if n < 0]
    if plan.tags_off < 0:
        wrong.append(f"tags_off = {plan.tags_off}")
    if plan.split:
        split = parse(Split, {"val": [], **plan.split}, f"{path.name}, split")
        both = (set(split.train) | set(split.val)) & set(split.test)
        wrong += [f"{case} is to be learned from and tested on" for case in sorted(both)]
        wrong += [] if split.test else ["split names no test scans"]
    for other in plan.elsewhere:
        theirs = set(parse_labels(other.label))
        if theirs != classes:
            names = ", ".join(sorted(theirs)), ", ".join(sorted(classes))
            wrong.append(f"{other.name} has labels of {names[0]}, the runs learn {names[1]}")
    if wrong:
        raise BadConfig(
            f"{path.name} asks for what cannot be",
            where=[str(path), *wrong[:10]],
            fix="mend these lines",
            code="C02",
        )


def plan_runs(plan: Plan) -> list[Run]:
    """Every run: all of the first seed and draw in the order of the file, then the next, so that
    half a sweep says much.
    """
    runs: list[Run] = []
    for grid in plan.runs:
        runs += _combine(grid)
    return sorted(runs, key=lambda run: (run.seed, run.draw))


def check_methods(plan: Plan) -> None:
    """Raise `BadConfig` naming every method, setting and length that cannot be: else a sweep may
    come to it after days.
    """
    bad: list[tuple[str, BadConfig]] = []
    for run in _one_of_each(plan):
        try:
            plan_stages(run.request(Path(), Path()))
        except BadConfig as error:
            bad.append((run.name, error))
    if bad:
        raise BadConfig(
            "the sweep asks for a method, a setting or a length that cannot be",
            where=[f"{name}: {error.what}; {error.fix}" for name, error in bad],
            did="no run was begun",
            fix="mend these lines of the sweep file; `fewmask info METHOD` lists the settings",
            code="C01",
        )


def _one_of_each(plan: Plan) -> Iterable[Run]:
    """The first run of every method with its settings."""
    first: dict[tuple[str, tuple[str, ...]], Run] = {}
    for run in plan_runs(plan):
        first.setdefault((run.method, run.settings), run)
    return first.values()


def check_stride(plan: Plan, prepared: Prepared) -> None:
    """Raise `BadConfig` (C02) naming every method that has no windows for the plan's `stride`, or
    whose windows would leave gaps: else each is found after its training.
    """
    if plan.stride is None:
        return
    wrong = []
    for run in _one_of_each(plan):
        patch = patch_of(run.request(prepared.folder, Path()), prepared)
        try:
            if patch is None:
                raise no_windows()
            Windows(patch, plan.stride)
        except BadConfig as error:
            wrong.append(f"{run.name}: {error.what}")
    if wrong:
        raise BadConfig(
            f"the sweep's stride = {list(plan.stride)} does not fit its methods",
            where=wrong[:10],
            did="no run was begun",
            fix="change `stride` in the sweep file, or put 2D methods into a file of their own",
            code="C02",
        )


def plan_means(plan: Plan) -> list[Mean]:
    """Every mean of runs of the plan. Raises `BadConfig` for a name that no grid has, or one that
    stands for several methods or grids, and for grids that share no budget, draw and seed.
    """
    means: list[Mean] = []
    for grid in plan.means:
        if len(set(grid.of)) < max(2, len(grid.of)):
            raise BadConfig(
                f"[[means]] of = {grid.of} names no two runs",
                fix="name two or more [[runs]], each once",
                code="C02",
            )
        parts = [_named(plan, name) for name in grid.of]
        first, *others = [{_place(run): run for run in _combine(part)} for part in parts]
        shared = [place for place in first if all(place in other for other in others)]
        means += [_mean(grid.of, [runs[place] for runs in (first, *others)]) for place in shared]
        if not shared:
            raise BadConfig(
                f"{' and '.join(grid.of)} have no budget, draw and seed in common",
                fix="name two or more [[runs]] that have the same ones",
                code="C02",
            )
    return means


def _named(plan: Plan, name: str) -> RunGrid:
    found = [grid for grid in plan.runs if grid.name == name and name]
    if len(found) != 1 or len(found[0].method) != 1:
        raise BadConfig(
            f"[[means]] name {name!r}, and no single [[runs]] with one method is called so",
            fix=f'give these [[runs]] `name = "{name}"`, and no others',
            code="C02",
        )
    return found[0]


def _place(run: Run) -> tuple[int | None, int | None, int, int]:
    return run.slices, run.volumes, run.draw, run.seed


def _mean(names: list[str], runs: list[Run]) -> Mean:
    """Minutes are added up where all runs have minutes, and steps where all have steps."""
    minutes = [run.minutes for run in runs if run.minutes is not None]
    steps = [run.steps for run in runs if run.steps is not None]
    if len(runs) not in (len(minutes), len(steps)):
        raise BadConfig(
            f"of {' and '.join(names)} some have minutes and others steps",
            fix="give all of them minutes, or all of them steps",
            code="C02",
        )
    in_minutes = len(minutes) == len(runs)
    run = replace(
        runs[0],
        method=MEAN,
        minutes=sum(minutes) if in_minutes else None,
        steps=None if in_minutes else sum(steps),
        settings=(f"of={'+'.join(names)}",),
    )
    return Mean(run, tuple(runs))


def _combine(grid: RunGrid) -> Iterator[Run]:
    budgets: list[tuple[int | None, int | None]] = [(n, None) for n in grid.slices]
    budgets += [(None, n) for n in grid.volumes]
    words = settings_text(grid.set).split()
    for method, (slices, volumes), draw, seed in itertools.product(
        grid.method, budgets, grid.draw, grid.seed
    ):
        settings = todays_words(method, words)
        yield Run(method, slices, volumes, draw, seed, grid.minutes, grid.steps, settings)
