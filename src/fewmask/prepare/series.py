"""Which DICOM series of a folder become cases: a PACS export holds scouts, reports and several
scans of one patient. Headers only; case names come from folders, never from headers.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from fewmask.core.errors import FewmaskError
from fewmask.core.words import count
from fewmask.io.dicom import list_series
from fewmask.io.instance import MASKS
from fewmask.prepare.dicommasks import is_for_masks
from fewmask.prepare.folder import FolderTree, printable
from fewmask.prepare.layout import LEFT_OUT, MaskProblem, Pair
from fewmask.prepare.names import bare, identifying
from fewmask.prepare.seriespatients import name_patients
from fewmask.prepare.seriesrows import Entry, persons_in, rows_of
from fewmask.prepare.seriesrules import is_certain, why_left_out
from fewmask.prepare.seriestable import SeriesRow, is_table, read_keeps

_LONGEST, _SHOWN = 40, 20


@dataclass
class Parted:
    """What becomes of the DICOM series of a folder."""

    pairs: list[Pair]
    rows: tuple[SeriesRow, ...] = ()
    left: dict[Path, str] = field(default_factory=dict)
    """Files of series that are no cases, and why."""
    notes: list[str] = field(default_factory=list)
    persons: frozenset[str] = frozenset()
    """Fingerprints of the names in headers, which names of folders may repeat."""


def part_series(
    tree: FolderTree, pairs: Sequence[Pair], series: str | None, problems: list[FewmaskError]
) -> Parted:
    """Pairs of which a DICOM folder with several usable series is one pair per series.

    `series` is one that is meant in every folder, or a table (`series.csv`); None leaves out by
    rule what is no scan. Raises `BadDataset` for a table that does not fit.
    """
    entries = _list_entries(tree, pairs)
    if not entries:
        if is_table(series):
            read_keeps(Path(str(series)), [])
        return Parted(list(pairs))
    _apply_rules(entries)
    rows = rows_of(entries)
    if is_table(series):
        _apply_table(entries, rows, Path(str(series)))
    elif series is not None:
        _apply_word(entries, series)
    parted = Parted([], tuple(rows), persons=persons_in(entries))
    named = _name_cases(entries, {pair.case for pair in pairs}, parted.persons)
    for pair in pairs:
        own = [entry for entry in entries if entry.pair is pair]
        parted.pairs += _cases_of(pair, own, named, parted, problems) if own else [pair]
    _link(parted, entries)
    parted.notes += _left_notes(tree.root, entries, rows, parted.persons)
    parted.notes += _part_notes(parted.pairs, parted.persons)
    return parted


def _list_entries(tree: FolderTree, pairs: Sequence[Pair]) -> list[Entry]:
    """The series of all pairs; of a folder that cannot be read none: its reader says why."""
    entries: list[Entry] = []
    for pair in pairs:
        if pair.image not in tree.files:
            continue
        with suppress(FewmaskError):
            found = list_series(pair.image)
            scans = [one for one in found if not is_for_masks(one.files[0].parent, pair.image)]
            entries += [Entry(pair, series) for series in scans or found]
    name_patients(entries)
    return entries


def _apply_rules(entries: Sequence[Entry]) -> None:
    """Decide within each patient; where no series is left, those stay that may be a scan."""
    groups = defaultdict(list)
    for entry in entries:
        groups[entry.patient].append(entry)
    for group in groups.values():
        for entry in group:
            entry.why = why_left_out(entry.series, [one.series for one in group if one != entry])
        if all(entry.why for entry in group):
            for entry in group:
                entry.why = entry.why if is_certain(entry.why) else ""
    if all(entry.why for entry in entries):
        for entry in entries:
            entry.why = ""  # the reader says what is wrong with each


def _apply_table(entries: Sequence[Entry], rows: Sequence[SeriesRow], path: Path) -> None:
    keeps = read_keeps(path, rows)
    for entry, row in zip(entries, rows, strict=True):
        if row.key not in keeps:
            entry.why = entry.why or f"{printable(path.name)} does not list it"
        else:
            entry.why = "" if keeps[row.key] else f"{printable(path.name)} says so"


def _apply_word(entries: Sequence[Entry], word: str) -> None:
    """One series is meant in every folder; where none is called so, the reader says what is."""
    for pair in {id(entry.pair): entry.pair for entry in entries}.values():
        own = [entry for entry in entries if entry.pair is pair]
        meant = [entry for entry in own if entry.series.answers(word)]
        for entry in own:
            entry.why = "" if entry in meant or not meant else f"`series` is {word!r}"
        if len(meant) < 2:
            for entry in own:
                entry.whole = True


def _cases_of(
    pair: Pair,
    own: Sequence[Entry],
    named: Mapping[int, str],
    parted: Parted,
    problems: list[FewmaskError],
) -> list[Pair]:
    """The pair as it is where its folder holds one scan; else one per series that is kept."""
    kept = [entry for entry in own if not entry.why]
    scans = [entry for entry in own if not entry.series.is_no_scan]
    if any(entry.whole for entry in own) or (kept and scans == kept and len(kept) == 1):
        return [pair]
    if len(kept) == len(own) and not scans:
        return [pair]
    for entry in own:
        if entry.why:
            parted.left |= dict.fromkeys(entry.series.files, LEFT_OUT + entry.why)
    if pair.has_mask and len(kept) > 1:
        problems.append(_whose_mask(pair, [named[id(entry)] for entry in kept]))
        pair = replace(pair, mask=None, parts={})
    return [
        replace(
            pair,
            case=named[id(entry)],
            image=entry.folder,
            patient=entry.patient,
            slices=entry.series.files,
            home=_home(entry, kept),
        )
        for entry in kept
    ]


def _whose_mask(pair: Pair, cases: Sequence[str]) -> MaskProblem:
    files = [pair.mask] if pair.mask else list(pair.parts.values())
    return MaskProblem(
        f"a mask of {printable(pair.case)}, whose folder holds {len(cases)} scans",
        where=[printable(path.name) for path in files[:_SHOWN]] + list(cases[:_SHOWN]),
        did="the mask was left out, the scans were used",
        fix=f"name it after its scan, such as {cases[0]}{_ending(files[0])}; or keep one of the "
        "scans in a table for `series`, or put the mask in its folder",
        code="M15",
        files=files,
    )


def _ending(path: Path) -> str:
    """The image ending of a mask's name."""
    return path.name[len(bare(path)) :]


def _home(entry: Entry, kept: Sequence[Entry]) -> Path | None:
    """The highest folder in which this is the only scan; None where another one lies beside it."""
    others = [path for one in kept if one is not entry for path in one.series.files]
    home, folder = None, entry.folder
    while not any(path.is_relative_to(folder) for path in others):
        home = folder
        if folder == entry.pair.image:
            break
        folder = folder.parent
    return home


def _name_cases(
    entries: Sequence[Entry], taken: Iterable[str], persons: frozenset[str]
) -> dict[int, str]:
    """A name for the case of each series that is kept: its patient's, with what tells its folder
    from those of the patient's others.
    """
    names: dict[int, str] = {}
    used = {name.casefold() for name in taken}
    groups = defaultdict(list)
    for entry in entries:
        groups[id(entry.pair), entry.patient].append(entry)
    for group in groups.values():
        kept = [entry for entry in group if not entry.why]
        if len(kept) == 1:
            names[id(kept[0])] = kept[0].name
            continue
        ends = _ends(kept, persons)
        for n, entry in enumerate(group, start=1):
            if entry in kept:
                name = f"{entry.name}_{ends.get(id(entry)) or f's{n}'}"
                while name.casefold() in used:
                    name += f"_s{n}"
                used.add(name.casefold())
                names[id(entry)] = name
    return names


def _ends(kept: Sequence[Entry], persons: frozenset[str]) -> dict[int, str]:
    """What tells the folders of a patient's series apart, where that is short and says nothing of
    the person.
    """
    parts = {id(entry): entry.inner for entry in kept}
    places = Counter(parts.values())
    for at in (-1, 0):
        while min(map(len, parts.values()), default=0) > 1 and (
            len({own[at] for own in parts.values()}) == 1
        ):
            parts = {key: own[:-1] if at else own[1:] for key, own in parts.items()}
    ends = {}
    for entry in kept:
        end = "_".join(part.strip(". ") for part in parts[id(entry)])
        usable = end and len(end) <= _LONGEST and end.isprintable()
        if usable and not identifying(end, persons) and places[entry.inner] == 1:
            ends[id(entry)] = end
    return ends if len(set(ends.values())) == len(kept) else {}


def _link(parted: Parted, entries: Sequence[Entry]) -> None:
    """Folders of one patient, as their studies say, are one patient."""
    folders = defaultdict(set)
    for entry in entries:
        folders[entry.patient].add(id(entry.pair))
    whose = {entry.pair.case: entry.patient for entry in entries if len(folders[entry.patient]) > 1}
    parted.pairs = [
        replace(pair, patient=whose[pair.case]) if pair.case in whose and not pair.patient else pair
        for pair in parted.pairs
    ]


def _left_notes(
    root: Path, entries: Sequence[Entry], rows: Sequence[SeriesRow], persons: frozenset[str]
) -> list[str]:
    """A line per reason, with the series."""
    groups = defaultdict(list)
    for entry, row in zip(entries, rows, strict=True):
        # Masks are told of where they are given to scans.
        if entry.why and not entry.whole and entry.series.modality not in MASKS:
            place = printable(entry.folder.relative_to(root))
            place = "/".join(row.key) if identifying(place, persons) else place
            groups[entry.why].append(f"{place}: series {printable(entry.series.number) or '?'}")
    lines = []
    for why, series in groups.items():
        shown = ", ".join(series[:_SHOWN])
        more = f" and {len(series) - _SHOWN} more" if len(series) > _SHOWN else ""
        lines.append(f"{len(series)} series left out, {why} ({shown}{more})")
    return lines


def _part_notes(pairs: Sequence[Pair], persons: frozenset[str]) -> list[str]:
    counts = Counter(pair.patient for pair in pairs if pair.slices)
    several = [name for name, count in counts.items() if count > 1]
    if not several:
        return []
    known = [name for name in several if not identifying(name, persons)]
    shown = ", ".join(known[:3]) + (" ..." if len(several) > len(known[:3]) else "")
    shown = f" ({shown})" if known else ""
    return [
        f"{count(len(several), 'patient has', 'patients have')} several DICOM scans: each is a "
        f"case of its own, and no split divides a patient{shown}; `fewmask check DATA "
        "write_series=series.csv` lists them, and `series=series.csv` takes what is kept there"
    ]
