"""Patients and splits: no patient, and no scan under two names, in two parts."""

import re
from collections.abc import Mapping
from pathlib import Path

from fewmask.core.budget import Split
from fewmask.core.errors import BadConfig, BadDataset
from fewmask.core.randomness import permutation
from fewmask.core.words import count
from fewmask.io.prepared import CaseRow
from fewmask.prepare.lines import read_lines

_TEST_SHARE = 0.3


def patients_of(
    cases: list[str], source: Path | str | None, folders: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Case -> patient from a table `case,patient`, a regular expression with one group, or what
    the `folders` of the scans say, else the case id itself.
    """
    if source is None:
        return {case: (folders or {}).get(case) or case for case in cases}
    if isinstance(source, Path):
        lines, _ = read_lines(source, ["case", "patient"], cases, once=lambda _: "")
        table = {case: line["patient"] for case, line in lines}
        absent = [case for case in cases if not table.get(case)]
        if absent:
            raise BadDataset(
                f"{count(len(absent), 'case')} without a patient: {', '.join(absent[:5])}",
                where=str(source),
                fix="add a line for each of them",
                code="S01",
            )
        return {case: table[case] for case in cases}
    try:
        pattern = re.compile(source)
    except re.error as error:
        raise BadConfig(
            f"`patients` {source!r} is no regular expression: {error}",
            fix=r"write such as '(P[0-9]+)_', or the path of a table case,patient",
            code="C02",
        ) from error
    found = {case: pattern.search(case) for case in cases}
    absent = [case for case, match in found.items() if match is None or not match.groups()]
    if absent or pattern.groups != 1:
        raise BadConfig(
            f"`patients` {source!r} finds no patient in {', '.join(absent[:3]) or 'any case'}",
            fix="write one group, such as '^(p[0-9]+)'",
            code="S01",
        )
    return {case: match[1] for case, match in found.items() if match}


def choose_split(rows: Mapping[str, CaseRow], given: Split | None) -> Split:
    """The split that a person gave, or one drawn by patient (seed 0).

    Drawn: 30 % of the patients whose masks are complete go to test, as long as three stay to learn
    from; without complete masks everything is training, since nothing could be scored. Raises
    `BadDataset` on leakage (S01, N44).
    """
    split = given or _draw(rows)
    split.check({case: row.patient for case, row in rows.items()})
    _check_duplicates(rows, split)
    return split


def _draw(rows: Mapping[str, CaseRow]) -> Split:
    kin = _kin(rows)
    scored = sorted({kin[row.patient] for row in rows.values() if row.complete and row.present})
    tested = min(round(_TEST_SHARE * len(scored)), max(0, len(set(kin.values())) - 3))
    chosen = {scored[i] for i in permutation(len(scored), 0, "split")[:tested]}
    test = {case for case, row in rows.items() if kin[row.patient] in chosen}
    return Split(tuple(sorted(set(rows) - test)), (), tuple(sorted(test)))


def _kin(rows: Mapping[str, CaseRow]) -> dict[str, str]:
    """Patient -> the first of all patients that hang together by the same scan: it may stand under
    two names, even of two patients, and no scan is in two parts.
    """
    kin = {row.patient: row.patient for row in rows.values()}

    def first_of(patient: str) -> str:
        while kin[patient] != patient:
            kin[patient] = patient = kin[kin[patient]]
        return patient

    owner: dict[str, str] = {}
    for _, row in sorted(rows.items()):
        first = first_of(owner.setdefault(row.voxels_sha256, row.patient))
        kin[first_of(row.patient)] = first
    return {patient: first_of(patient) for patient in kin}


def _check_duplicates(rows: Mapping[str, CaseRow], split: Split) -> None:
    part_of = {case: part for part in ("train", "val", "test") for case in getattr(split, part)}
    seen: dict[str, str] = {}
    pairs = []
    for case in sorted(part_of):
        other = seen.setdefault(rows[case].voxels_sha256, case)
        if part_of[other] != part_of[case]:
            pairs.append(f"{other} ({part_of[other]}) = {case} ({part_of[case]})")
    if pairs:
        raise BadDataset(
            "the same scan stands in two parts of the split under two names",
            where=pairs[:10],
            did="no dataset was made",
            fix="remove one of each pair, or put both in one part",
            code="N44",
        )
