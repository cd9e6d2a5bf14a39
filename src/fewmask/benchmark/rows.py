"""One row per run, scan, structure and kind of prompts: what sweeps write, what people commit, what
`compare` reads.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from fewmask.cleanup.beside import read_cleaning
from fewmask.core.config import settings_text
from fewmask.core.errors import BadDataset
from fewmask.core.renamed import todays_words
from fewmask.core.run_record import RunRecord
from fewmask.core.words import command
from fewmask.evaluate.protocols import Protocol
from fewmask.evaluate.scores import (
    CaseScore,
    Status,
    Unfit,
    numbers_to,
    read_scores,
    read_status,
)
from fewmask.io.atomic import make_folder
from fewmask.io.lock import waiting_lock
from fewmask.io.run import RunFolder
from fewmask.io.tables import read_csv, write_csv
from fewmask.io.text import expecting
from fewmask.report.changes import changes_of

AUTOMATIC = "automatic"
"""Kind of prompts: nobody helped. Masks that a person's tags helped are another kind."""
ORACLE = "oracle-box"
"""Kind of prompts, and folder of a run: the same model prompted with true boxes."""


RAW, LEARNED, GIVEN = "none", "learned", "given"
"""What a run's masks were cleaned by."""


class RunKey(NamedTuple):
    """What makes a run another run."""

    method: str
    settings: str
    """Those that differ from the method's defaults: `tune=lora warmup_prompts=0`."""
    slices: int | None
    """The budget, in outlined slices or in whole masks (`volumes`); the other one is None."""
    volumes: int | None
    draw: int
    seed: int
    minutes: float | None
    steps: int | None
    """None where minutes were asked for: then the machine says how many they are."""


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """What all rows of a run share."""

    method: str
    settings: str
    slices: int | None
    volumes: int | None
    draw: int
    seed: int
    minutes: float | None
    steps: int
    precision: str = ""
    """`float32`, `bfloat16` or `float16`; empty in older tables."""
    stride: str = ""
    """Voxels `d,h,w` between windows of 3D methods; empty: half a window."""

    @property
    def key(self) -> RunKey:
        """Equal for two trials of one run."""
        return RunKey(
            self.method,
            self.settings,
            self.slices,
            self.volumes,
            self.draw,
            self.seed,
            self.minutes,
            self.steps if self.minutes is None else None,
        )


@dataclass(frozen=True, kw_only=True)
class RunRow(FinishedRun):
    """Scores of one structure in one scan, as one run segments it; None where a table says nothing
    (of a protocol that was not scored, in a column that is younger than the table).
    """

    domain: str
    """`test`, or the name of other scans."""
    patient: str
    case: str
    label: str
    """Class name; the column is called `class`."""
    prompts: str
    """`automatic`, or `oracle-box` for the upper bound."""
    cleanup: str = RAW
    """`none`; `learned` where masks were cleaned by the run's own rule, `given` by another."""
    status: Status
    dice: float
    """This and the next five as in `CaseScore`: NaN where a number has no meaning."""
    nsd: float
    hd95_mm: float
    hd_mm: float
    assd_mm: float
    volume_error_ml: float
    sam_mix_dice: float | None = None
    sam_mix_hd_px: float | None = None
    sam_mix_slices: int | None = None
    """Slices that hold the structure."""
    sam_mix_missed: int | None = None
    """Those of them without a prediction."""
    la_2018_dice: float | None = None
    la_2018_jaccard: float | None = None
    la_2018_hd95_voxel: float | None = None
    la_2018_asd_voxel: float | None = None
    others: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Columns that people added to a table; they are kept."""

    def number(self, column: str) -> float | None:
        """The value of a column of numbers; None where it is not there or has no meaning (NaN)."""
        value: float | None = getattr(self, column)
        return None if value is None or math.isnan(value) else float(value)


@dataclass(frozen=True)
class Metric:
    """One number of a protocol."""

    column: str
    """Its name in rows and in `RunRow`."""
    name: str
    """Its name in the protocol's own scores (`CaseScore`, `SliceScores`, `VoxelScores`)."""
    head: str = ""
    """Above its column in printed tables; empty: it has none of its own."""
    digits: int = 1


METRICS: dict[Protocol, tuple[Metric, ...]] = {
    "default": (
        Metric("dice", "dice", "Dice", digits=3),
        Metric("hd95_mm", "hd95_mm", "HD95 mm"),
    ),
    "sam-mix": (
        Metric("sam_mix_dice", "dice", "Dice", digits=3),
        Metric("sam_mix_hd_px", "hd_px", "HD px"),
        Metric("sam_mix_slices", "n"),
        Metric("sam_mix_missed", "n_missed"),
    ),
    "la-2018": (
        Metric("la_2018_dice", "dice", "Dice", digits=3),
        Metric("la_2018_jaccard", "jaccard", "Jaccard", digits=3),
        Metric("la_2018_hd95_voxel", "hd95_voxel", "95HD voxels"),
        Metric("la_2018_asd_voxel", "asd_voxel", "ASD voxels"),
    ),
}
"""Protocol -> its numbers, an overlap first. The default's stand in every row, those of the
literature where they were asked for.
"""
UNLIKE = {"precision": "not said", "stride": "half a window"}
"""What may tell runs apart without making them other runs -> what an empty field means."""
_SCORES = (
    "case",
    "class",
    "prompts",
    "status",
    "dice",
    "nsd",
    "hd95_mm",
    "hd_mm",
    "assd_mm",
    "volume_error_ml",
)
_NEEDED = (*RunKey._fields, "domain", "patient", *_SCORES)
_LITERATURE = (*METRICS["sam-mix"], *METRICS["la-2018"])
COLUMNS = (*_NEEDED, *UNLIKE, "cleanup", *(metric.column for metric in _LITERATURE))
"""Of a table, in their order. Older tables lack some after those that are needed."""
_FIELDS = {("label" if column == "class" else column): column for column in COLUMNS}
"""Field of `RunRow` -> column."""


def outcome(record: RunRecord) -> dict[str, Any]:
    """What the machine settled: steps and precision."""
    return {"steps": record.all_steps, "precision": record.precision}


def finished_run(run_path: Path) -> FinishedRun:
    """What a run folder says of itself; `settings` are what differs from the method's defaults."""
    run = RunFolder.open(run_path)
    record, budget = run.read_record(), run.read_budget()
    return FinishedRun(
        method=record.method,
        settings=settings_text(changes_of(record.method, record.config)),
        slices=budget.masks if budget.kind == "slices" else None,
        volumes=budget.masks if budget.kind == "volumes" else None,
        draw=budget.draw,
        seed=record.seed,
        minutes=record.minutes,
        **outcome(record),
    )


def as_rows(
    run: FinishedRun,
    domain: str,
    scores: Sequence[CaseScore],
    paper: Sequence[Mapping[str, Any]],
    patients: Mapping[str, str],
    cleanup: str = RAW,
) -> list[RunRow]:
    """Rows of one run in one domain. `paper` holds lines of a protocol of the literature
    (`score.protocol_lines`), or none; `cleanup` is as in `RunRow`.
    """
    of_paper = {(line["case"], line["class"], line["prompts"]): line for line in paper}
    rows = []
    for score in scores:
        line = of_paper.get((score.case, score.label, score.prompts))
        numbers = {}
        if line is not None:
            numbers = {metric.column: line[metric.name] for metric in METRICS[line["protocol"]]}
        rows.append(
            RunRow(
                **vars(run),
                domain=domain,
                patient=patients.get(score.case, score.case),
                case=score.case,
                label=score.label,
                prompts=score.prompts,
                cleanup=cleanup,
                status=score.status,
                dice=score.dice,
                nsd=score.nsd,
                hd95_mm=score.hd95_mm,
                hd_mm=score.hd_mm,
                assd_mm=score.assd_mm,
                volume_error_ml=score.volume_error_ml,
                **numbers,
            )
        )
    return rows


def to_texts(row: RunRow) -> dict[str, str]:
    """A line of a table: column -> text, empty for None; numbers are written in full."""
    texts: dict[str, str] = {}
    for name, column in _FIELDS.items():
        value = getattr(row, name)
        texts[column] = "" if value is None else str(value)
    return texts | dict(row.others)


def from_texts(texts: Mapping[str, str]) -> RunRow:
    """The inverse of `to_texts`; what a table may lack keeps its default, and settings by an
    earlier version's names are today's. Raises `ValueError` for what is no number, or none that it
    can be.
    """
    values: dict[str, Any] = {}
    for name, column in _FIELDS.items():
        if column in texts:
            try:
                values[name] = value = _READ_AS[name](texts[column])
            except Unfit:
                raise
            except ValueError as error:
                raise Unfit(column, texts[column], numbers_to(_HIGHEST.get(name))) from error
            highest = _HIGHEST.get(name)
            if highest is not None and value is not None and (value < 0 or value > highest):
                raise Unfit(column, texts[column], numbers_to(highest))
    if (values["slices"] is None) == (values["volumes"] is None):
        raise ValueError("one of slices and volumes is needed, not both")
    values["cleanup"] = values.get("cleanup") or RAW
    others = {column: text for column, text in texts.items() if column not in COLUMNS}
    values["settings"] = " ".join(todays_words(values["method"], values["settings"].split()))
    return RunRow(**values, others=others)


def read_rows(path: Path) -> list[RunRow]:
    """Rows of a table of runs, or of a scored run folder; none where a table is not there yet.

    Raises `BadDataset` for a run without scores, and for a table with a column missing, a line
    that cannot be read, or one score twice.
    """
    if path.is_dir():
        return _rows_of_run(path)
    if not path.exists():
        return []
    rows: list[RunRow] = []
    places: list[int] = []
    for texts, line in zip(read_csv(path, _NEEDED, places=places), places, strict=True):
        try:
            rows.append(from_texts(texts))
        except (ValueError, KeyError, TypeError) as error:
            told = [str(error)]
            if isinstance(error, Unfit):
                told = [f"got     {error.got}", f"wanted  {error.wanted}"]
            raise BadDataset(
                f"{path.name} line {line}: the row of {texts['method']}, {texts['case']}, "
                f"{texts['class']} holds what it cannot",
                where=[f"file  {path}", *told],
                fix="mend that line, or delete it and run the sweep again",
                code="C03",
            ) from error
    _check_once(path, rows, places)
    return rows


def read_scored(paths: Sequence[Path]) -> list[RunRow]:
    """Rows of tables and of scored run folders. Raises `BadDataset` (S04) for a table without a
    row, and as `read_rows` does.
    """
    found = {path: read_rows(path) for path in paths}
    empty = [str(path) for path, rows in found.items() if not rows]
    if empty:
        raise BadDataset(
            "the table holds no score",
            where=empty,
            fix="give a table that a sweep has written rows to, or scored run folders",
            code="S04",
        )
    return [row for path in paths for row in found[path]]


def _check_once(path: Path, rows: Sequence[RunRow], places: Sequence[int]) -> None:
    first: dict[tuple[Any, ...], int] = {}
    for row, line in zip(rows, places, strict=True):
        own = (row.key, row.steps, row.precision, row.stride, row.cleanup, row.prompts)
        scan = (row.domain, row.patient, row.case, row.label)
        before = first.setdefault((*own, *scan), line)
        if before != line:
            raise BadDataset(
                f"{path.name} has the score of {row.method}, {row.case}, {row.label} twice",
                where=[f"file  {path}", f"lines {before} and {line}"],
                fix="delete one of the two lines; the sweep makes both again if both are gone",
                code="C03",
            )


def add_rows(path: Path, rows: Sequence[RunRow]) -> None:
    """Add rows, all or none, in place of any of the same runs, clean-up and domains; several
    processes may do so at once.

    A table of an earlier version gets the columns it lacks.
    """
    make_folder(path.parent)
    with waiting_lock(path.parent, f"add to {path.name}"):
        # Written anew: of a run whose rows were appended by halves, the missing ones would never be
        # made.
        replaced = {(row.key, row.cleanup, row.domain) for row in rows}
        kept = [
            row for row in read_rows(path) if (row.key, row.cleanup, row.domain) not in replaced
        ]
        others = list(kept[0].others) if kept else []
        write_csv(path, [*COLUMNS, *others], [to_texts(row) for row in [*kept, *rows]])


def domains_done(rows: Iterable[RunRow], key: RunKey, stride: str) -> set[str]:
    """Domains in which the run of this key has been scored, with windows as far apart: as drawn,
    and after clean-up.
    """
    done = {(row.cleanup, row.domain) for row in rows if row.key == key and row.stride == stride}
    return {domain for _, domain in done if {(RAW, domain), (LEARNED, domain)} <= done}


def _rows_of_run(path: Path) -> list[RunRow]:
    """Rows of a run folder, from its `metrics.csv`."""
    run = RunFolder.open(path)
    run.check_own()
    if not run.metrics.exists():
        raise BadDataset(
            "the run has no scores yet",
            where=str(path),
            fix=command("evaluate", path),
            code="S04",
        )
    prepared = run.open_prepared()
    scores = read_scores(run.metrics)
    with expecting(run.metrics, kind=BadDataset, fix=command("evaluate", path)):
        _ = [prepared.patients[score.case] for score in scores]
    finished, rows = finished_run(path), []
    for score in scores:
        cleaned = None
        if score.prompts != ORACLE:
            cleaned = read_cleaning(run.predictions, score.case)
        by = RAW if cleaned is None else LEARNED if cleaned.learned else GIVEN
        rows += as_rows(finished, "test", [score], [], prepared.patients, by)
    return rows


def _int_or_none(text: str) -> int | None:
    return int(text) if text else None


def _float_or_none(text: str) -> float | None:
    return float(text) if text else None


_CONVERT: dict[Any, Callable[[str], Any]] = {
    Status: read_status,
    int: int,
    float: float,
    int | None: _int_or_none,
    float | None: _float_or_none,
}
_READ_AS = {name: _CONVERT.get(kind, str) for name, kind in get_type_hints(RunRow).items()}
"""Field of `RunRow` -> how its text is read; what is no number stays text."""
_SHARES = ("dice", "nsd", "sam_mix_dice", "la_2018_dice", "la_2018_jaccard")
_COUNTS = ("slices", "volumes", "minutes", "steps", "hd95_mm", "hd_mm", "assd_mm")
_HIGHEST = {
    **dict.fromkeys((*_COUNTS, *(metric.column for metric in _LITERATURE)), math.inf),
    **dict.fromkeys(_SHARES, 1.0),
}
"""Field that is never below 0 -> what it is never above."""
