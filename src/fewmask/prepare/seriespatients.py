"""Whose each DICOM series of a folder is. Folders say it; fingerprints of patient numbers and study
UIDs only join folders, or part one that holds several patients.
"""

from collections.abc import Sequence

from fewmask.prepare.seriesrows import Entry


def name_patients(entries: Sequence[Entry]) -> None:
    """Fill in `patient`, `name` and `level` of every entry."""
    pairs = list({id(entry.pair): entry.pair for entry in entries}.values())
    for pair in pairs:
        own = [entry for entry in entries if entry.pair is pair]
        persons = list(dict.fromkeys(entry.person for entry in own if entry.person))
        for entry in own:
            entry.name = pair.case
            # A patient may have got another number at a second visit; a folder of more is a site's.
            if len(persons) > (1 if len(pairs) == 1 else 2):
                _within(entry, own, persons, alone=len(pairs) == 1)
            entry.patient = entry.name
    _join(entries)


def _within(entry: Entry, own: Sequence[Entry], persons: Sequence[str], alone: bool) -> None:
    """Name the patient of a folder of several by the first folder that is all theirs."""
    parts = entry.folder.relative_to(entry.pair.image).parts
    start = [] if alone else [entry.pair.case]
    for level in range(1, len(parts) + 1):
        inside = [
            one
            for one in own
            if one.folder.relative_to(entry.pair.image).parts[:level] == parts[:level]
        ]
        if len({one.person for one in inside}) == 1:
            entry.name, entry.level = "_".join([*start, *parts[:level]]), level
            return
    number = 1 + persons.index(entry.person) if entry.person in persons else 0
    entry.name = f"{entry.pair.case}_p{number}"


def _join(entries: Sequence[Entry]) -> None:
    """One patient: folders with series of one study, or of one patient number. A number that all
    folders share tells nothing: de-identified data have one for everybody.
    """
    persons = {entry.person for entry in entries if entry.person}
    for marks in (
        [entry.study for entry in entries],
        [entry.person if len(persons) > 1 else "" for entry in entries],
    ):
        first: dict[str, Entry] = {}
        for mark, entry in zip(marks, entries, strict=True):
            known = first.setdefault(mark, entry) if mark else entry
            if known.patient != entry.patient:
                _rename(entries, entry.patient, known.patient)


def _rename(entries: Sequence[Entry], old: str, new: str) -> None:
    for entry in entries:
        if entry.patient == old:
            entry.patient = new
