"""Questions about data: does a patient, or a scan, stand in two parts of the split?"""

from collections.abc import Mapping, Sequence

from fewmask.benchmark.audit.answer import Answer, listed
from fewmask.core.budget import Split
from fewmask.core.words import count
from fewmask.io.prepared import Prepared
from fewmask.prepare.look_alikes import look_alikes

NAMES = "Does a scan's name stand in two parts of the split?"
PATIENTS = "Is a patient in two parts of the split?"
SCANS = "Is a scan in two parts under two names?"
PARTS = ("train", "val", "test")
_SAY_PATIENTS = "`fewmask prepare` with `patients` is told whose scans they are"


def by_part(split: Split) -> dict[str, Sequence[str]]:
    """Part -> its cases, of the parts that hold some."""
    return {part: cases for part in PARTS if (cases := getattr(split, part))}


def sizes(parts: Mapping[str, Sequence[str]]) -> str:
    """`12 train, 6 test`."""
    return ", ".join(f"{len(set(cases))} {part}" for part, cases in parts.items())


def same_name(parts: Mapping[str, Sequence[str]]) -> Answer:
    """Are parts disjoint, by the names in them?"""
    shared = _shared(parts, {})
    if shared:
        return Answer.look(
            NAMES, f"yes: {listed(shared)}", "what is scored was learned from: take them out of one"
        )
    return Answer.fine(NAMES, f"no: {sizes(parts)}")


def same_patient(
    parts: Mapping[str, Sequence[str]],
    patients: Mapping[str, str] | None,
    absent: str,
    said: bool = False,
) -> Answer:
    """Are parts disjoint, by patients? `patients` maps case to patient; None: nobody said it, for
    the reason `absent`. Where each is its own, somebody must have `said` so: it is the default.
    """
    if patients is None:
        return Answer.unknown(PATIENTS, absent)
    shared = _shared(parts, patients)
    if shared:
        why = "put all scans of one patient in one part, train and score again"
        return Answer.look(PATIENTS, f"yes: {listed(shared)}", why)
    cases = [case for part in parts.values() for case in part]
    owners = {part: [patients.get(case, case) for case in parts[part]] for part in parts}
    if not said and all(patients.get(case, case) == case for case in cases):
        why = f"every scan counts as a patient of its own, and nobody said so; {_SAY_PATIENTS}"
        return Answer.unknown(PATIENTS, why, f"no two scans are said to be one's: {sizes(owners)}")
    return Answer.fine(PATIENTS, f"no: patients {sizes(owners)}")


def same_scan(
    split: Split, digests: Mapping[str, str] | None, prepared: Prepared | None, absent: str
) -> Answer:
    """Equal voxels by their hashes, and scans that look alike by small pictures where the prepared
    dataset is at hand; else the reason is `absent`.
    """
    twins = _twins(split, digests or {})
    if twins:
        return Answer.look(SCANS, f"yes, to the voxel: {listed(twins)}", "take one of each out")
    if prepared is None:
        equal = "no two have equal voxels" if digests else "not said"
        return Answer.unknown(SCANS, f"near-duplicates need the prepared dataset: {absent}", equal)
    rows = prepared.cases
    known = Split(*(tuple(case for case in getattr(split, part) if case in rows) for part in PARTS))
    pictured = [c for part in by_part(known).values() for c in part if rows[c].thumbnails]
    total = sum(len(cases) for cases in by_part(split).values())
    if len(pictured) < total:
        why = f"{total - len(pictured)} of {count(total, 'scan')} have no small picture to compare"
        return Answer.unknown(SCANS, f"{why}: prepare the data again with this version")
    alike = [line.removeprefix("S02: ") for line in look_alikes(rows, known)]
    if alike:
        return Answer.look(SCANS, alike[0], f"{count(len(alike), 'pair')} of scans look alike")
    return Answer.fine(SCANS, f"no: none of {count(total, 'scan')} looks like one of another part")


def _shared(parts: Mapping[str, Sequence[str]], patients: Mapping[str, str]) -> list[str]:
    """`p1 (train, test)` for everybody who stands in two parts or more."""
    found: dict[str, list[str]] = {}
    for part, cases in parts.items():
        for owner in sorted({patients.get(case, case) for case in cases}):
            found.setdefault(owner, []).append(part)
    return [f"{owner} ({', '.join(names)})" for owner, names in found.items() if len(names) > 1]


def _twins(split: Split, digests: Mapping[str, str]) -> list[str]:
    seen: dict[str, tuple[str, str]] = {}
    twins = []
    for part, cases in by_part(split).items():
        for case in cases:
            if case not in digests:
                continue
            other, where = seen.setdefault(digests[case], (case, part))
            if where != part:
                twins.append(f"{other} ({where}) = {case} ({part})")
    return twins
