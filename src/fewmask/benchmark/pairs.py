"""Folders of masks and of truths: which belong together, by the keys with which scans and masks are
paired, and never by order.
"""

import difflib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fewmask.core.errors import BadDataset
from fewmask.io.image import case_id_of, is_image
from fewmask.prepare.datalist import read_list
from fewmask.prepare.dicommasks import masks_in
from fewmask.prepare.discover import discover
from fewmask.prepare.listed import described
from fewmask.prepare.mapping import Values
from fewmask.prepare.names import core_key, exact_key
from fewmask.prepare.pairing import shows_labels
from fewmask.prepare.search import MASK_FOLDERS, by_role

_PARTS = "segmentations"
"""TotalSegmentator's folder of one file per structure."""
_LISTED = 5
_PREDICTED = re.compile(r"[-_. ](?:pred|prediction|predicted|pred[-_]?mask|output)s?$")


@dataclass(frozen=True)
class MaskFiles:
    """The mask of one case."""

    case: str
    path: Path
    """The label map, or the folder of `parts`."""
    parts: Mapping[str, Path] = field(default_factory=dict)
    """One file per structure, by its name."""


@dataclass(frozen=True)
class MaskPair:
    """A predicted mask and its truth."""

    case: str
    prediction: MaskFiles
    truth: MaskFiles


@dataclass(frozen=True)
class Pairing:
    """What belongs together, and what is left over."""

    pairs: tuple[MaskPair, ...]
    ambiguous: tuple[BadDataset, ...] = ()
    """Files whose names mean the same case; none of them is used."""
    without_truth: tuple[str, ...] = ()
    without_mask: tuple[str, ...] = ()
    names: Mapping[str, Values] = field(default_factory=dict)
    """Structure name -> value of the truths, where a list or a description beside them says it."""
    drawn_names: Mapping[str, int] = field(default_factory=dict)
    """The same of the masks, where a label description lies beside them."""


def pair_masks(predictions: Path, truths: Path) -> Pairing:
    """Predicted masks with their truths; two single files are one pair, whatever their names.

    Of a folder: its own files, but not the scans among them; else its sub-folders
    `CASE/segmentations` with a file per structure; else the masks that `discover` finds in it.
    Raises `BadDataset` for what is not there, and if no two belong together, with the nearest
    names.
    """
    left, right = list_masks(predictions), list_masks(truths)
    names, drawn = declared_names(truths), described(_beside(predictions))
    if not predictions.is_dir() and not truths.is_dir():
        return Pairing((MaskPair(left[0].case, left[0], right[0]),), names=names, drawn_names=drawn)
    problems: list[BadDataset] = []
    left, right = _unique(left, problems), _unique(right, problems)
    chosen = match_names([mask.case for mask in left], [mask.case for mask in right])
    by_case = {mask.case: mask for mask in right}
    pairs = tuple(
        MaskPair(mask.case, mask, by_case[chosen[mask.case]])
        for mask in left
        if mask.case in chosen
    )
    lonely = tuple(mask.case for mask in left if mask.case not in chosen)
    rest = tuple(sorted(by_case.keys() - chosen.values()))
    if not pairs and not problems:
        raise _no_pair(lonely, rest, predictions, truths)
    return Pairing(pairs, tuple(problems), lonely, rest, names, drawn)


def declared_names(truths: Path) -> Mapping[str, Values]:
    """What the data set's `dataset.json` calls the values of these masks: the file in their folder,
    or beside it where the folder is one of masks (`labelsTr`); else a label description in their
    folder. Empty without; raises `BadDataset` for a `dataset.json` that is damaged.
    """
    folder = (truths if truths.is_dir() else truths.parent).absolute()
    is_of_masks = folder.name.casefold() in (*MASK_FOLDERS, "labelsts")
    for place in (folder, *([folder.parent] if is_of_masks else [])):
        if (place / "dataset.json").is_file():
            return read_list(place / "dataset.json").names
    return dict(described(_beside(truths)))


def _beside(masks: Path) -> list[Path]:
    """The files of the folder of masks, or of the one that a single mask lies in."""
    return sorted((masks if masks.is_dir() else masks.parent).iterdir())


def list_masks(place: Path) -> list[MaskFiles]:
    """The masks of a file or folder, sorted by case. Raises `BadDataset` if there is none."""
    if not place.exists():
        raise BadDataset(
            "no such file or folder", where=str(place), fix="check the path", code="M15"
        )
    if not place.is_dir():
        return [MaskFiles(case_id_of(place), place)]
    inside = sorted(place.iterdir())
    images = [path for path in inside if path.is_file() and is_image(path)]
    masks = [MaskFiles(case_id_of(path), path) for path in (*images, *masks_in(inside))]
    if _holds_scans(images):
        masks = _of_scans(place) or masks
    masks = masks or _in_parts(place) or _of_scans(place)
    if not masks:
        raise BadDataset(
            "no mask in this folder",
            where=str(place),
            fix="give the folder that holds the label maps",
            code="M15",
        )
    return masks


def match_names(left: Sequence[str], right: Sequence[str]) -> dict[str, str]:
    """Name -> name of the other side: the same case id (upper and lower case, and Unicode forms,
    alike), then the same without affixes (`volume-1`, `segmentation-1`), then without words that
    say prediction (`c1_pred`), each where that is unique on both sides.
    """
    found: dict[str, str] = {}
    for key in (_exact, _core, _drawn):
        free = [name for name in left if name not in found]
        groups = _grouped(free, key)
        others = _grouped((name for name in right if name not in found.values()), key)
        for same in groups.keys() & others.keys():
            if len(groups[same]) == len(others[same]) == 1:
                found[groups[same][0]] = others[same][0]
    return found


def _holds_scans(images: Sequence[Path]) -> bool:
    """Are these scans, their masks beside or below them? Looks into the one of the shortest name
    that does not say mask: those of masks are longer.
    """
    scans, _ = by_role(images)
    first = min(scans, key=lambda path: (len(path.name), path.name), default=None)
    return first is not None and not shows_labels(first, first)


def _of_scans(place: Path) -> list[MaskFiles]:
    """The masks of a folder of scans, in whichever layout."""
    with suppress(BadDataset):  # told by the caller, in words of masks
        return [
            MaskFiles(pair.case, pair.mask)
            if pair.mask is not None
            else MaskFiles(pair.case, next(iter(pair.parts.values())).parent, pair.parts)
            for pair in discover(place).pairs
            if pair.has_mask
        ]
    return []


def _in_parts(place: Path) -> list[MaskFiles]:
    """The folder as a case of TotalSegmentator, or its sub-folders."""
    found = []
    for folder in [place, *sorted(place.iterdir())]:
        inner = folder / _PARTS
        if inner.is_dir():
            parts = {case_id_of(path): path for path in sorted(inner.iterdir()) if is_image(path)}
            if parts:
                found.append(MaskFiles(folder.absolute().name, inner, parts))
    return found


def _unique(masks: Sequence[MaskFiles], problems: list[BadDataset]) -> list[MaskFiles]:
    groups = defaultdict(list)
    for mask in masks:
        groups[_exact(mask.case)].append(mask)
    for group in groups.values():
        if len(group) > 1:
            problems.append(
                BadDataset(
                    f"case {group[0].case}: names that mean the same case",
                    where=[str(mask.path) for mask in group],
                    did="none of them was scored",
                    fix="rename or remove all but one",
                    code="N43",
                )
            )
    return [group[0] for group in groups.values() if len(group) == 1]


def _no_pair(
    lonely: Sequence[str], rest: Sequence[str], predictions: Path, truths: Path
) -> BadDataset:
    lines = [f"masks in {predictions}, truth in {truths}"]
    for case in lonely[:_LISTED]:
        near = difflib.get_close_matches(case, rest, n=2, cutoff=0.4) or list(rest[:2])
        lines.append(f"no truth is called {case}   nearest: {', '.join(near)}")
    return BadDataset(
        "no prediction could be scored",
        where=lines,
        did="nothing was scored",
        fix="name masks and truths alike: they are paired by file name",
        code="M15",
    )


def _exact(name: str) -> str:
    return exact_key(Path(name))


def _core(name: str) -> str:
    return core_key(Path(name))


def _drawn(name: str) -> str:
    return _core(_PREDICTED.sub("", _exact(name)))


def _grouped(names: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups = defaultdict(list)
    for name in names:
        groups[key(name)].append(name)
    return groups
