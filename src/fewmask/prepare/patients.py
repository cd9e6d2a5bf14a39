"""Whose the scans of a folder are, as far as folders and names tell."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from fewmask.core.words import count
from fewmask.prepare.layout import Pair
from fewmask.prepare.names import says_scan_only, stem

SUBJECT = re.compile(r"sub-[^_/.]+", re.IGNORECASE)
SETS = {"train", "training", "val", "validation", "valid", "test", "testing", "data", "raw"}
"""Folders of parts of a data set: they say nothing of a scan."""
_VISIT = re.compile(
    r"(v|visit|scan|series|s|ses|session|t|tp|time(point)?|day|week|month|year|baseline|study"
    r"|follow[-_ ]?up|pre|post|before|after|phase|frame|img|image|vol|volume)?[-_ ]?\d{0,2}"
)
"""Names of the scans of one patient, and not of patients."""
_ENDS = re.compile(
    r"(.+?)[-_. ]+((early|late)[-_ ]?)?(art(erial)?|pvp?|portal|ven(ous)?|delay(ed)?|nativ(e)?|ncct"
    r"|cect|plain|noncontrast|pre|post|before|after|baseline|bl|follow[-_ ]?up|fu"
    r"|(v|visit|ses|session|tp|time(point)?|phase|day|week|month)[-_ ]?\d{1,3})([-_ ]?phase)?",
    re.IGNORECASE,
)
"""A case whose name ends in a phase or visit, and whose it is."""
_VISITS, _NAMED_VISITS = 12, 4
"""Scans in a folder, beyond which it is a site or a set, and no patient: of scans that are called
alike in every folder, and of those with names of their own.
"""


def read_owners(scans: Sequence[Path], top: Path) -> dict[Path, str]:
    """Whose each scan is: the subject of BIDS; a folder that the file is called after; else the
    first folder that holds no more scans than a patient has visits. Nothing: a patient of its own.
    """
    places = {path: _places(path, top) for path in scans}
    if len({parts[:1] for parts in places.values()}) == 1:
        # One folder around all scans says nothing of patients.
        places = {path: parts[1:] for path, parts in places.items()}
    sizes = Counter(parts[:n] for parts in places.values() for n in range(1, len(parts) + 1))
    names = Counter(stem(path).casefold() for path in scans)
    returning = _returning(scans)
    whose = {}
    for path, parts in places.items():
        name = stem(path).casefold()
        if path in returning:
            whose[path] = stem(path)
            continue
        most = _VISITS if says_scan_only(path) or names[name] > 1 else _NAMED_VISITS
        after = [part for part in parts if len(part) > 1 and name.startswith(part.casefold())]
        small = [parts[:n] for n in range(1, len(parts) + 1) if sizes[parts[:n]] <= most]
        subject = SUBJECT.match(stem(path))
        whose[path] = (
            subject[0] if subject else after[0] if after else "_".join(small[0]) if small else ""
        )
    return whose


def _returning(scans: Iterable[Path]) -> set[Path]:
    """Scans whose name says whose they are, though their folder does not: `venous/p1` beside
    `arterial/p1`. Side by side there are more names than folders, and no name is that of a visit.
    """
    beside: dict[Path, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path in scans:
        beside[path.parent.parent][stem(path).casefold()].append(path)
    found: set[Path] = set()
    for names in beside.values():
        shared = {name: paths for name, paths in names.items() if len(paths) > 1}
        folders = {path.parent for paths in shared.values() for path in paths}
        visits = any(says_scan_only(Path(name)) or _VISIT.fullmatch(name) for name in shared)
        if len(shared) > len(folders) and not visits:
            found |= {path for paths in shared.values() for path in paths}
    return found


def join_visits(pairs: Sequence[Pair]) -> tuple[list[Pair], list[str]]:
    """Cases that differ in a phase or visit at the end of their names (`p1_art`, `p1_venous`) are
    one patient's, where nothing else says whose they are; and what to say of it.
    """
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for one in pairs:
        if not one.patient:
            found = _ENDS.fullmatch(one.case)
            name = found[1] if found else one.case
            groups[name.casefold()].append((one.case, name))
    several = [group for group in groups.values() if len(group) > 1]
    whose = {case: group[0][1] for group in several for case, _ in group}
    notes = []
    if whose:
        names = list(dict.fromkeys(whose.values()))
        shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
        notes = [
            f"{count(len(names), 'patient has', 'patients have')} several scans, by the phase or "
            f"visit in their names, and no split divides them ({shown}); `patients` says otherwise"
        ]
    return [replace(one, patient=whose.get(one.case, one.patient)) for one in pairs], notes


def _places(path: Path, top: Path) -> tuple[str, ...]:
    parts = path.parent.relative_to(top).parts
    return tuple(part for part in parts if part.casefold() not in SETS)


def patient_notes(pairs: Sequence[Pair]) -> list[str]:
    """Who is taken for one patient with several scans: by a folder, or by a name in several."""
    folders: dict[str, set[Path]] = defaultdict(set)
    for one in pairs:
        if one.patient:
            folders[one.patient].add(one.image)
    several = [name for name, images in folders.items() if len(images) > 1]
    named = [name for name in several if {stem(path) for path in folders[name]} == {name}]
    notes = []
    for names, holds, hold in (
        ([name for name in several if name not in named], "folder holds", "folders hold"),
        (named, "name has", "names have"),
    ):
        if names:
            shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
            notes.append(
                f"{count(len(names), holds, hold)} several scans, taken for one patient each, whom "
                f"no split divides ({shown}); `patients` says otherwise"
            )
    return notes
