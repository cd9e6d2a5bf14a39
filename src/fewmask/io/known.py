"""What a person said of a scan and its mask, in a small file beside the mask."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from fewmask.core.config import parse
from fewmask.core.errors import BadDataset
from fewmask.io.text import expecting, read_json, write_json

Prompts = Literal["automatic", "tags"]
_SAID = {
    "tags": "empty, but tags say it is there",
    "outlines": "empty beyond their outlines, but it goes on there",
}
_NAMED = 5


@dataclass(frozen=True)
class KnownNote:
    """What became of it in one scan; stands beside its mask as `CASE.known.json`."""

    put_in: bool = False
    """Were tags and outlines put into the mask?"""
    removed_voxels: int = 0
    """Of the network's mask, where tags deny the structure."""
    outlined: tuple[int, ...] = ()
    """Slices d that show their outline."""
    empty: dict[str, str] = field(default_factory=dict)
    """Structures of which the network drew nothing, and what says that they are there: `tags`,
    `outlines`, or nothing where the whole mask is empty.
    """
    prompts: Prompts = "automatic"
    """`tags`: a person's tags of this very scan told the network what slices hold."""

    @property
    def is_worth_a_file(self) -> bool:
        """Is there anything to say?"""
        return self != NOTHING_SAID


NOTHING_SAID = KnownNote()
"""Of most scans: there is no file."""


def write_known(folder: Path, case: str, note: KnownNote) -> None:
    """Before the mask is written: a note of an earlier mask must not stand beside a new one."""
    path = _path(folder, case)
    if note.is_worth_a_file:
        write_json(path, asdict(note))
    else:
        path.unlink(missing_ok=True)


def read_known_note(folder: Path, case: str) -> KnownNote:
    """The note beside the mask of a case; without one nothing was said."""
    path = _path(folder, case)
    if not path.exists():
        return NOTHING_SAID
    record: dict[str, Any] = read_json(path)
    with expecting(path, kind=BadDataset, fix="predict the scan again"):
        return parse(KnownNote, record, path.name)


def _path(folder: Path, case: str) -> Path:
    return folder / f"{case}.known.json"


@dataclass(frozen=True)
class PutIn:
    """What tags and outlines did to several masks."""

    removed_voxels: int
    removed_scans: int
    """Scans in which they removed something."""
    outlined_slices: int
    scans: int
    """Scans into whose masks they were put."""

    def __str__(self) -> str:
        show = "slice shows its" if self.outlined_slices == 1 else "slices show their"
        return (
            f"tags and outlines were put in: {_count(self.removed_voxels, 'voxel')} removed in "
            f"{self.removed_scans} of {_count(self.scans, 'scan')}, {self.outlined_slices} {show} "
            "outline"
        )


WHY_EMPTY = (
    "likely causes: the grey-level window of the prepared dataset does not show the structure, the "
    "scans have other grey values than those learned from, the values given for its label are not "
    "those of the masks, or the training was too short"
)
"""Said where a structure is found nowhere at all."""


def add_up(notes: Iterable[KnownNote]) -> PutIn | None:
    """Over scans; None where nothing was put in."""
    done = [note for note in notes if note.put_in]
    if not done:
        return None
    return PutIn(
        sum(note.removed_voxels for note in done),
        sum(note.removed_voxels > 0 for note in done),
        sum(len(note.outlined) for note in done),
        len(done),
    )


def tell_empty(notes: Mapping[str, KnownNote]) -> list[str]:
    """A sentence for every structure that is missing where someone said it is, and one if all masks
    are empty though nobody said anything. `notes` are those of all masks, by case.
    """
    told = []
    found: dict[tuple[str, str], list[str]] = {}
    for case, note in notes.items():
        for name, said in note.empty.items():
            found.setdefault((name, said), []).append(case)
    for (name, said), cases in found.items():
        if said:
            told.append(
                f"{name}: {len(cases)} of {_count(len(notes), 'mask')} {_SAID[said]} "
                f"({_names(cases)})"
            )
    if not told and notes and all(note.empty for note in notes.values()):
        told.append(f"{len(notes)} of {_count(len(notes), 'mask')} empty ({_names(list(notes))})")
    if any(len(cases) == len(notes) for cases in found.values()):
        told.append(f"F18: found nowhere; {WHY_EMPTY}")
    return told


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}{'s' if n != 1 else ''}"


def _names(cases: list[str]) -> str:
    return ", ".join(cases[:_NAMED]) + (" ..." if len(cases) > _NAMED else "")
