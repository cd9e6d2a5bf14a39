"""What a reviewer asks of a run, a sweep or lists of scans, and what the files say to it."""

from pathlib import Path

from fewmask.benchmark.audit.answer import Answer, Verdict
from fewmask.benchmark.audit.lists import ENDINGS, audit_lists, holds_lists
from fewmask.benchmark.audit.run import audit_run
from fewmask.benchmark.audit.table import audit_table, runs_in
from fewmask.benchmark.plan import Plan, read_plan
from fewmask.benchmark.rows import RunRow, read_rows
from fewmask.core.errors import BadConfig, FewmaskError, saying

__all__ = ["Answer", "Verdict", "audit"]

RUN, SWEEP, TABLE = "a run folder", "a sweep's folder of runs", "a table of rows"
LISTS = "lists of scans"
_READ_BY = {"plan": (SWEEP, TABLE), "rows": (SWEEP,), "patients": (LISTS,)}
"""What may be given -> for which kinds of path."""


def audit(
    path: Path,
    *,
    plan: Path | None = None,
    rows: Path | None = None,
    patients: str | None = None,
) -> list[Answer]:
    """Answers of a run folder, a sweep (its work folder, or its table), or lists of other programs.

    `plan` is the sweep's file (default: `NAME.toml` in the folder above that of `NAME.csv`);
    `rows` its table, where `path` is its work folder (default: rows of the runs themselves);
    `patients` a regular expression with one group over names in lists. Raises `BadConfig` (C02) for
    a path that is nothing of these, or whose kind has no use for what else is given, and as the
    readers of these files do.
    """
    with saying("nothing was audited"):
        kind = _kind_of(path)
        _refuse_idle(kind, path, plan=plan, rows=rows, patients=patients)
        if kind == RUN:
            return audit_run(path)
        if kind == LISTS:
            return audit_lists(path, patients)
        if kind == TABLE:
            return audit_table(_some(read_rows(path), path), _plan(plan, path), None, _beside(path))
        table = _rows_of_runs(path) if rows is None else read_rows(rows)
        return audit_table(_some(table, path), _plan(plan, rows), path, _beside(rows))


def _kind_of(path: Path) -> str:
    if (path / "config.json").exists():
        return RUN
    if path.is_dir() and runs_in(path):
        return SWEEP
    if path.suffix.lower() == ".csv":
        return TABLE
    named = path.suffix.lower() == ".json" or path.suffix in ENDINGS
    if named or (path.is_dir() and holds_lists(path)):
        return LISTS
    raise BadConfig(
        f"not a run, sweep, table of rows or list of scans: {path}",
        fix="give a run folder, a sweep's folder or .csv, splits_final.json, or the folder of "
        "train.list",
        code="C02",
    )


def _refuse_idle(kind: str, path: Path, **given: object) -> None:
    """Raise `BadConfig` (C02) for what this kind would leave unread."""
    for name, value in given.items():
        if value is not None and kind not in _READ_BY[name]:
            raise BadConfig(
                f"this is {kind}, of which `{name}` says nothing",
                where=str(path),
                fix=f"leave `{name}` out; it is for {' or '.join(_READ_BY[name])}",
                code="C02",
            )


def _rows_of_runs(work: Path) -> list[RunRow]:
    """Of the runs that are scored."""
    rows = []
    for path in runs_in(work):
        try:
            rows += read_rows(path)
        except FewmaskError as error:
            if error.code != "S04":
                raise
    return rows


def _plan(given: Path | None, rows: Path | None) -> Plan | None:
    beside = None if rows is None else rows.parent.parent / f"{rows.stem}.toml"
    path = given or (beside if beside is not None and beside.exists() else None)
    return None if path is None else read_plan(path)


def _beside(rows: Path | None) -> list[Path]:
    """Other tables of the same folder."""
    if rows is None:
        return []
    others = (path for path in sorted(rows.parent.glob("*.csv")) if path.name != rows.name)
    return [path for path in others if path.is_file()]


def _some(rows: list[RunRow], path: Path) -> list[RunRow]:
    if rows:
        return rows
    raise BadConfig(
        "there are no scores to audit",
        where=str(path),
        did="nothing was audited",
        fix="score the runs first, or give their table with `rows`",
        code="C02",
    )
