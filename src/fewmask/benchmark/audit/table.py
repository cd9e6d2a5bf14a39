"""What a table of runs says, with its plan and the folder of its runs where they are at hand."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from fewmask.benchmark.audit.answer import Answer, listed
from fewmask.benchmark.audit.data import PATIENTS, SCANS, same_name, same_patient, same_scan
from fewmask.benchmark.audit.run import (
    CHECKPOINT,
    COMPARISONS,
    DRAWS,
    MACHINE,
    PRECISION,
    SLICES,
    SUPERVISION,
    open_data,
    tell_empties,
    tell_prompts,
)
from fewmask.benchmark.compare import Setting, group
from fewmask.benchmark.plan import HOME, Plan, plan_means, plan_runs
from fewmask.benchmark.rows import AUTOMATIC, RunRow, read_rows
from fewmask.core.budget import Split
from fewmask.core.errors import FewmaskError
from fewmask.core.words import count
from fewmask.io.run import RunFolder

COMPLETE = "Does every planned run have its rows, and no other?"
_NO_PLAN = "the plan of the sweep is not at hand: give it with `plan`"
_NO_WORK = "rows do not say it: audit the folder of the runs, with this table as `rows`"


def audit_table(
    rows: Sequence[RunRow], plan: Plan | None, work: Path | None, beside: Sequence[Path] = ()
) -> list[Answer]:
    """Answers of rows (one or more). `work` is the folder of the sweep's runs; tables `beside`
    are searched for the same test patients.
    """
    runs = [] if work is None else [RunFolder.open(path) for path in runs_in(work)]
    return [
        *_about_split(rows, plan, work, runs),
        _chosen(runs),
        tell_prompts(Counter(row.prompts for row in rows)),
        _slices(rows),
        _provided(rows, plan),
        tell_empties(Counter(str(row.status) for row in rows)),
        draws(rows),
        comparisons(rows, beside),
        _complete(rows, plan),
        precision(rows),
        _machine(runs),
    ]


def runs_in(work: Path) -> list[Path]:
    """Run folders of a sweep's work folder."""
    return sorted(path.parent for path in work.glob("*/run/config.json"))


def draws(rows: Sequence[RunRow]) -> Answer:
    """One draw decides nothing; settings of a budget with other draws are not like for like."""
    sets = {setting: {(row.draw, row.seed) for row in own} for setting, own in group(rows).items()}
    told = ", ".join(
        f"{count(n, 'setting')} with {count(len(pairs), 'run')}"
        for pairs, n in Counter(frozenset(one) for one in sets.values()).items()
    )
    single = [_named(one) for one, pairs in sets.items() if len({draw for draw, _ in pairs}) < 2]
    if single:
        why = f"one draw decides nothing between methods: {listed(single, 3)}"
        return Answer.look(DRAWS, told, why)
    places = _at_budget(list(sets))
    unlike = [budget for budget, own in places if len({frozenset(sets[one]) for one in own}) > 1]
    if unlike:
        why = f"not the same draws and seeds at {listed(unlike)}: only those of both are compared"
        return Answer.look(DRAWS, told, why)
    return Answer.fine(DRAWS, told)


def comparisons(rows: Sequence[RunRow], beside: Sequence[Path] = ()) -> Answer:
    """How often these test patients were looked at: settings side by side at one budget, and other
    tables on the same patients.
    """
    told, total = [], 0
    for domain in dict.fromkeys(row.domain for row in rows):
        own = [row for row in rows if row.domain == domain and row.prompts == AUTOMATIC]
        sizes = [len(settings) for _, settings in _at_budget(list(group(own)))]
        patients = len({row.patient for row in own})
        pairs = sum(n * (n - 1) // 2 for n in sizes)
        total += pairs
        told.append(
            f"{domain} ({count(patients, 'patient')}): {count(sum(sizes), 'setting')}, "
            f"{sum(n - 1 for n in sizes)} against one reference, {pairs} pairs"
        )
    others = _same_patients(rows, beside)
    if others:
        told.append(f"the same patients in {listed(others)}")
    if not total and not others:
        return Answer.fine(COMPARISONS, "; ".join(told))
    why = "p of one pair is too small: `fewmask compare` corrects (Holm) within a table, not over"
    return Answer.look(COMPARISONS, "; ".join(told), f"{why} tables")


def precision(rows: Sequence[RunRow]) -> Answer:
    """Mixed precisions tell runs apart that a table compares."""
    kinds = Counter(row.precision or "not said" for row in rows)
    told = ", ".join(f"{kind}: {count(n, 'row')}" for kind, n in kinds.items())
    if set(kinds) == {"not said"}:
        return Answer.unknown(PRECISION, "the table is older than its column `precision`")
    if len(kinds) > 1:
        return Answer.look(PRECISION, told, "compared runs may differ in it, not in the method")
    return Answer.fine(PRECISION, told)


def _about_split(
    rows: Sequence[RunRow], plan: Plan | None, work: Path | None, runs: Sequence[RunFolder]
) -> list[Answer]:
    """By the prepared dataset of the folder of runs, else by the plan's names."""
    if work is not None:
        prepared, absent = open_data(work / "prepared")
        if prepared is not None:
            parts = {"train": prepared.split.train, "test": prepared.split.test}
            digests = {case: row.voxels_sha256 for case, row in prepared.cases.items()}
            return [
                same_patient(parts, prepared.patients, absent),
                same_scan(prepared.split, digests, prepared, absent),
            ]
    why = "rows name the scored patients only: audit the folder of the runs"
    scored = sorted({row.case for row in rows if row.domain == HOME})
    if plan is None or not plan.split:
        return [Answer.unknown(PATIENTS, why), Answer.unknown(SCANS, why)]
    parts = {"train": tuple(plan.split.get("train", ())), "test": tuple(scored)}
    return [
        same_name(parts),
        same_patient(parts, {row.case: row.patient for row in rows}, why),
        same_scan(Split(**parts), None, None, why),
    ]


def _chosen(runs: Sequence[RunFolder]) -> Answer:
    if not runs:
        return Answer.unknown(CHECKPOINT, _NO_WORK)
    kinds = {run.path.parent.name: run.read_record().checkpoint for run in runs}
    others = [name for name, kind in kinds.items() if kind != "last"]
    if others:
        return Answer.look(CHECKPOINT, listed(others), "not by the last step: ask what chose them")
    return Answer.fine(CHECKPOINT, f"the last step of {count(len(runs), 'run')}; no score chose it")


def _slices(rows: Sequence[RunRow]) -> Answer:
    """Ours are whole scans; one protocol of the literature counts slices with the structure."""
    told = "Dice and HD95: all of each scan"
    if any(row.sam_mix_dice is not None for row in rows):
        told += "; sam_mix columns: slices that hold the structure only (easier: no false alarm)"
    return Answer.fine(SLICES, told)


def _provided(rows: Sequence[RunRow], plan: Plan | None) -> Answer:
    budgets = list(dict.fromkeys(setting.budget for setting in group(rows)))
    told = f"outlines: {listed(budgets, 8)}"
    if plan is None:
        why = f"whether tags and validation masks helped: {_NO_PLAN}"
        return Answer.unknown(SUPERVISION, why, told)
    told += f"; {count(len(plan.split.get('val', ())), 'validation scan')}"
    if not plan.tags:
        return Answer.fine(SUPERVISION, f"{told}; no tags")
    if plan.tags == "from-masks":
        why = "tags of all training scans were read off masks: count them as given by a person"
        off = f", {plan.tags_off} slices off at both ends" if plan.tags_off else ", exact"
        return Answer.look(SUPERVISION, f"{told}; tags from masks{off}", why)
    return Answer.fine(SUPERVISION, f"{told}; tags of {plan.tags}")


def _complete(rows: Sequence[RunRow], plan: Plan | None) -> Answer:
    if plan is None:
        return Answer.unknown(COMPLETE, _NO_PLAN)
    planned = {run.key for run in plan_runs(plan)} | {mean.run.key for mean in plan_means(plan)}
    made = {row.key for row in rows}
    told = f"{len(planned & made)} of {count(len(planned), 'planned run')} have rows"
    if made - planned:
        why = f"{count(len(made - planned), 'run')} in the table are not in the plan as it stands"
        return Answer.look(COMPLETE, told, f"{why}: were they tried first and left out after?")
    if planned - made:
        return Answer.look(COMPLETE, told, "the rest is not done, failed, or was left out")
    return Answer.fine(COMPLETE, told)


def _machine(runs: Sequence[RunFolder]) -> Answer:
    if not runs:
        return Answer.unknown(MACHINE, _NO_WORK)
    places = Counter(
        ", ".join(f"{key} {said[key]}" for key in ("device", "torch", "fewmask") if key in said)
        for said in (run.read_environment() for run in runs)
    )
    told = "; ".join(f"{place}: {count(n, 'run')}" for place, n in places.items())
    if len(places) > 1:
        return Answer.look(MACHINE, told, "minutes are not one machine's, and numbers may differ")
    return Answer.fine(MACHINE, told)


def _at_budget(settings: Sequence[Setting]) -> list[tuple[str, list[Setting]]]:
    """Settings that are like for like: of one budget, all as drawn or all cleaned."""

    def key(setting: Setting) -> tuple[str, str]:
        return setting.budget, setting.cleanup

    return [(place[0], list(own)) for place, own in groupby(sorted(settings, key=key), key)]


def _named(setting: Setting) -> str:
    return f"{setting.name}, {setting.budget}"


def _same_patients(rows: Sequence[RunRow], beside: Sequence[Path]) -> list[str]:
    """`ct-organs.csv (6)`: other tables that scored some of these patients, and how many."""
    mine, found = {row.patient for row in rows}, []
    for path in beside:
        try:
            theirs = {row.patient for row in read_rows(path)}
        except (FewmaskError, KeyError):  # a table of another kind
            continue
        if both := len(mine & theirs):
            found.append(f"{path.name} ({both})")
    return found
