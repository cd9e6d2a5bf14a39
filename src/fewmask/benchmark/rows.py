"""One row per run, scan, structure and kind of prompts: what sweeps write, what people commit, what
`compare` reads.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fewmask.core.config import changed_settings, settings_text
from fewmask.core.errors import BadDataset
from fewmask.core.run_record import RunRecord
from fewmask.evaluate.scores import COLUMNS as SCORE_COLUMNS
from fewmask.evaluate.scores import CaseScore, from_row
from fewmask.io.lock import waiting_lock
from fewmask.io.run import PRECISIONS, RunFolder
from fewmask.io.tables import read_csv, write_csv
from fewmask.methods import config_class

KEYS = ("method", "settings", "slices", "volumes", "draw", "seed", "minutes")
"""What makes a run another run; `steps` joins them where no minutes were asked for."""
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
_PAPER = {
    "sam-mix": {
        "sam_mix_dice": "dice",
        "sam_mix_hd_px": "hd_px",
        "sam_mix_slices": "n",
        "sam_mix_missed": "n_missed",
    },
    "la-2018": {
        "la_2018_dice": "dice",
        "la_2018_jaccard": "jaccard",
        "la_2018_hd95_voxel": "hd95_voxel",
        "la_2018_asd_voxel": "asd_voxel",
    },
}
"""Protocol of the literature -> column -> its name in the lines of `score.protocol_lines`."""
_OURS = [*KEYS, "steps", "domain", "patient", *_SCORES]
UNLIKE = ("precision", "stride")
"""What may tell runs apart without making them other runs: how they learned, and the voxels between
windows (empty: half one).
"""
COLUMNS = [*_OURS, *UNLIKE, *(column for columns in _PAPER.values() for column in columns)]
Row = Mapping[str, str]


def outcome(record: RunRecord) -> dict[str, Any]:
    """What the machine settled: steps and precision."""
    return {"steps": record.steps, "precision": PRECISIONS[record.bf16]}


def key_of(run_path: Path) -> dict[str, Any]:
    """The key of a run folder, with what the machine settled; `settings` are what differs from the
    method's defaults.
    """
    run = RunFolder.open(run_path)
    record, budget = run.read_record(), run.read_budget()
    return {
        "method": record.method,
        "settings": settings_text(changed_settings(record.config, config_class(record.method)())),
        "slices": budget.masks if budget.kind == "slices" else "",
        "volumes": budget.masks if budget.kind == "volumes" else "",
        "draw": budget.draw,
        "seed": record.seed,
        "minutes": "" if record.minutes is None else record.minutes,
        **outcome(record),
    }


def as_rows(
    key: Mapping[str, Any],
    domain: str,
    scores: Sequence[CaseScore],
    paper: Sequence[Mapping[str, Any]],
    patients: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Rows of one run in one domain. `paper` holds lines of a protocol of the literature
    (`score.protocol_lines`), or none.
    """
    found = {(line["case"], line["class"], line["prompts"]): line for line in paper}
    rows = []
    for score in scores:
        line = found.get((score.case, score.label, score.prompts), {})
        rows.append(
            {
                **key,
                "domain": domain,
                "patient": patients.get(score.case, score.case),
                "class": score.label,
                **{name: getattr(score, name) for name in _SCORES if name != "class"},
                **{
                    column: line[name]
                    for column, name in _PAPER.get(line.get("protocol", ""), {}).items()
                },
            }
        )
    return rows


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a table of runs, or of a scored run folder; what a table does not hold of the
    literature's numbers is empty.

    Raises `BadDataset` where there is neither.
    """
    if path.is_dir():
        run = RunFolder.open(path)
        if not run.metrics.exists():
            raise BadDataset(
                "the run has no scores yet",
                where=str(path),
                fix=f"fewmask evaluate {path}",
                code="S04",
            )
        prepared = run.open_prepared()
        scores = [from_row(line) for line in read_csv(run.metrics, SCORE_COLUMNS)]
        rows = as_rows(key_of(path), "test", scores, [], prepared.patients)
        return [{name: str(row.get(name, "")) for name in COLUMNS} for row in rows]
    return (
        [{**dict.fromkeys(COLUMNS, ""), **row} for row in read_csv(path, _OURS)]
        if path.exists()
        else []
    )


def add_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows, all or none, in place of any of the same runs and domains; several processes may do
    so at once.

    A table of an earlier version gets the columns it lacks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with waiting_lock(path.parent, f"add to {path.name}"):
        # Written anew: of a run whose rows were appended by halves, the missing ones would never be
        # made.
        new = {_run(row) for row in rows}
        there = [
            row for row in (read_csv(path, _OURS) if path.exists() else []) if _run(row) not in new
        ]
        others = [name for name in (there[0] if there else ()) if name not in COLUMNS]
        write_csv(path, [*COLUMNS, *others], [*there, *rows])


def _run(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in (*KEYS, *_timed(row), "domain"))


def _timed(key: Mapping[str, Any]) -> list[str]:
    return [] if str(key["minutes"]) else ["steps"]


def domains_done(rows: Iterable[Row], key: Mapping[str, Any]) -> set[str]:
    """Domains in which the run of this key has been scored, with windows as far apart."""
    names = [*KEYS, "stride", *_timed(key)]
    return {row["domain"] for row in rows if all(row[name] == str(key[name]) for name in names)}
