"""One folder per case, as KiTS, ACDC, BraTS, SegTHOR, TotalSegmentator and BIDS have them: scan and
mask side by side, in sub-folders, or masks in a tree of their own.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fewmask.core.words import count
from fewmask.prepare.channels import choose_channels, is_contrast
from fewmask.prepare.folder import printable
from fewmask.prepare.layout import Layout, MaskProblem, Pair
from fewmask.prepare.names import core_of, looks_like_mask, says_scan_only, stem
from fewmask.prepare.pairing import Names, named_after, pair, shows_labels
from fewmask.prepare.patients import SETS, SUBJECT, patient_notes, read_owners
from fewmask.prepare.search import IMAGE_FOLDERS, MASK_FOLDERS, Search

_ENTITY = re.compile(r"_(?:desc|label|space|res|den|hemi)-[^_]+")
_MOST_SIBLINGS = 40
"""Folders side by side of which one file each is looked into."""
_MOST_LOOKS = 200


@dataclass
class _Found:
    """Files by what their names and folders say."""

    scans: list[Path] = field(default_factory=list)
    masks: list[Path] = field(default_factory=list)
    parts: dict[Path, dict[str, Path]] = field(default_factory=dict)
    """Scan, or folder of one scan -> structure -> file."""
    ids: dict[Path, str] = field(default_factory=dict)
    labels: dict[str, bool] = field(default_factory=dict)
    """File name -> whether the first file of that name is a label map."""


def find_case_folders(search: Search) -> Layout | None:
    """Folders of folders with scans. None if a sub-folder is a data set of its own."""
    holders = [folder for folder in search.tree.files if search.tree.nifti(folder)]
    if not holders or _are_data_sets(search):
        return None
    found = _sort(search, holders)
    if not found.scans:
        return None
    channels = choose_channels(search, found.scans, found.masks, None, found.ids)
    ids = {**found.ids, **channels.ids}
    names = Names({path: _ENTITY.sub("", name) for path, name in ids.items()})
    alone = _alone(channels.scans, found.masks, names)
    pairs = pair(channels.scans, found.masks, search.problems, names, alone)
    whose = read_owners([one.image for one in pairs], search.top)
    pairs = [
        replace(one, case=ids.get(one.image, one.case), patient=whose[one.image]) for one in pairs
    ]
    pairs = _with_parts(pairs, found.parts, search)
    kind = _kind(search, pairs)
    notes = [*channels.notes, *patient_notes(pairs)]
    return Layout(
        kind,
        tuple(pairs),
        notes=tuple(notes),
        scan_notes=channels.notes,
        further=channels.further,
    )


def _are_data_sets(search: Search) -> bool:
    """Does a sub-folder hold a folder of images beside others?"""
    return any(
        inner.name.casefold() in IMAGE_FOLDERS
        for folder in search.tree.folders(search.top)
        for inner in search.tree.folders(folder)
    )


def _sort(search: Search, holders: Sequence[Path]) -> _Found:
    """Which files are scans, masks, and masks of one structure each."""
    found = _Found()
    named = {folder for folder in holders if not _is_for_masks(folder, search)}
    structures = _structure_folders(search, sorted(named))
    inner = {folder for folder in named if _is_inside_case(found, folder, named, search)}
    with_scans = named - structures.keys() - inner
    counts = Counter(stem(path).casefold() for f in with_scans for path in search.tree.nifti(f))
    cases = _folder_ids(sorted(with_scans), search.top)
    for folder in holders:
        files = search.tree.nifti(folder)
        if folder in structures:
            scans = {stem(path).casefold(): path for path in search.tree.nifti(structures[folder])}
            for path in files:
                scan = scans.get(stem(path).casefold(), path)
                found.parts.setdefault(scan, {})[folder.name] = path
        elif folder in inner:
            found.parts[folder.parent] = {stem(path): path for path in files}
        elif folder in with_scans:
            _sort_case(found, files, cases[folder], counts)
        else:
            _sort_masks(found, folder, files, cases, search)
    return found


def _sort_masks(
    found: _Found, folder: Path, files: list[Path], cases: Mapping[Path, str], search: Search
) -> None:
    """Of a folder that is named for masks."""
    owner = folder.parent
    if _of_derivatives(folder, search):
        found.masks += [path for path in files if looks_like_mask(path)]
    elif owner in cases and not all(looks_like_mask(path) for path in files):
        found.parts[owner] = {stem(path): path for path in files}
    else:
        found.masks += files
        if owner in cases:
            found.ids |= dict.fromkeys(files, cases[owner])


def _sort_case(found: _Found, files: list[Path], case: str, counts: Mapping[str, int]) -> None:
    """Of a folder with scans, and perhaps with masks beside them."""
    masks = [path for path in files if looks_like_mask(path)]
    scans = [path for path in files if path not in set(masks) and not _is_cine(path, files)]
    words = {} if masks else named_after(scans)
    found.parts |= words
    inside = {path for one in words.values() for path in one.values()}
    scans = [path for path in scans if path not in inside]
    structures = {} if words else _structures(found, scans, masks)
    if structures:
        # ct.nii.gz with liver.nii.gz and spleen.nii.gz beside it
        more = {stem(path): path for path in masks}
        found.parts[scans[0].parent] = {**structures, **more}
        masks = []
        scans = [path for path in scans if path not in structures.values()]
    found.scans += scans
    found.masks += masks
    found.ids |= _ids(scans, masks, case, counts)


def _structures(found: _Found, scans: Sequence[Path], masks: Sequence[Path]) -> dict[str, Path]:
    """Label maps among the files of one case that are called after structures. Where other files
    say that they are masks, those beside `ct` or `T1` alone are looked into.
    """
    told = [path for path in scans if says_scan_only(path)]
    if masks and not told:
        return {}
    labels = {}
    for path in scans:
        others = [other for other in (*told, *scans) if other != path]
        word = _word(path)
        if path not in told and others and _is_labels(found, word, path, others[0]):
            labels[word.strip("-_. ") or stem(path)] = path
    return labels if len(labels) < len(scans) else {}


def _word(path: Path) -> str:
    """The file's name without that of its folder."""
    return stem(path).casefold().replace(stem(path.parent).casefold(), "")


def _is_inside_case(found: _Found, folder: Path, holders: Collection[Path], search: Search) -> bool:
    """Does a folder inside a case's hold masks of its scan, such as KiTS' `instances/`?"""
    if folder.parent not in holders:
        return False
    scans = [path for path in search.tree.nifti(folder.parent) if not looks_like_mask(path)]
    if not scans:
        return False
    key = f"{folder.name}/"
    if key not in found.labels:
        found.labels[key] = shows_labels(search.tree.nifti(folder)[0], scans[0])
    return found.labels[key]


def _is_cine(path: Path, files: Sequence[Path]) -> bool:
    """Is it all phases in one file (`patient001_4d`), where single ones lie beside it?"""
    start = stem(path).casefold().removesuffix("_4d")
    return start != stem(path).casefold() and any(
        other != path and stem(other).casefold().startswith(start) for other in files
    )


def _is_labels(found: _Found, word: str, path: Path, scan: Path) -> bool:
    """Looks into the first file of each name only, and not into too many: data sets have thousands,
    and reading tells a label map in any case.
    """
    if word not in found.labels and len(found.labels) < _MOST_LOOKS:
        found.labels[word] = shows_labels(path, scan)
    return found.labels.get(word, False)


def _structure_folders(search: Search, folders: Sequence[Path]) -> dict[Path, Path]:
    """Folders of masks under names that do not say so, such as `liver/case_1` beside
    `ct/case_1`: folder -> that of the scans.
    """
    siblings = defaultdict(list)
    for folder in folders:
        siblings[folder.parent].append(folder)
    found: dict[Path, Path] = {}
    for group in siblings.values():
        first = {folder: search.tree.nifti(folder)[0] for folder in group}
        if not 1 < len(group) <= _MOST_SIBLINGS or any(map(says_scan_only, first.values())):
            continue
        for folder, path in first.items():
            twins = {other: other / path.name for other in group if other != folder}
            for other, twin in twins.items():
                there = twin in search.tree.nifti(other)
                if there and shows_labels(path, twin) and not shows_labels(twin, path):
                    found[folder] = other
    return found


def _is_for_masks(folder: Path, search: Search) -> bool:
    """Is it called `segmentations` or the like, or below the derivatives of BIDS?"""
    parts = [part.casefold() for part in folder.relative_to(search.tree.root).parts]
    return bool(parts) and (parts[-1] in MASK_FOLDERS or "derivatives" in parts)


def _of_derivatives(folder: Path, search: Search) -> bool:
    parts = folder.relative_to(search.tree.root).parts
    return "derivatives" in [part.casefold() for part in parts]


def _ids(
    scans: Sequence[Path], masks: Sequence[Path], case: str, counts: Mapping[str, int]
) -> dict[Path, str]:
    """Case ids of files whose own names say nothing of the case: `ct`, `GT`, or a name that returns
    in every folder.
    """
    ids = {}
    for path in scans:
        name = stem(path)
        if is_contrast(case) and not says_scan_only(path) and counts[name.casefold()] > 1:
            ids[path] = f"{name}_{case}"  # T1/p1 and T2/p1 are channels of p1
        elif says_scan_only(path) or counts[name.casefold()] > 1:
            ids[path] = case if len(scans) == 1 else f"{case}_{name}"
        else:
            ids[path] = name
    for path in masks:
        name = stem(path)
        only_word = core_of(f"x_{name}".casefold()) == "x"
        ids[path] = case if only_word or counts[name.casefold()] > 1 else name
    return ids


def _folder_ids(folders: Iterable[Path], top: Path) -> dict[Path, str]:
    """A name for the case of each folder: its path, without what all paths end in."""
    parts = {folder: folder.relative_to(top).parts for folder in folders}
    while (
        len(parts) > 1
        and min(map(len, parts.values())) > 1
        and len({own[-1] for own in parts.values()}) == 1
    ):
        parts = {folder: own[:-1] for folder, own in parts.items()}
    ids = {}
    for folder, own in parts.items():
        kept = [part for part in own if part.casefold() not in SETS] or own
        ids[folder] = stem(Path("_".join(kept))) if kept else stem(top.absolute())
    return ids


def _alone(scans: Sequence[Path], masks: Sequence[Path], names: Names) -> dict[Path, Path]:
    """The only mask of a folder belongs to its only scan, whatever they are called; in BIDS the
    only mask of a subject and session to its only scan.
    """
    chosen: dict[Path, Path] = {}
    keys = {key for path in scans for key in (names.key(path), names.core(path))}
    for place in (_folder_of, _session_of):
        left: dict[object, tuple[list[Path], list[Path]]] = defaultdict(lambda: ([], []))
        for index, paths in enumerate((scans, masks)):
            for path in paths:
                left[place(path)][index].append(path)
        for where, (ours, theirs) in left.items():
            if where and len(ours) == len(theirs) == 1 and ours[0] not in chosen:
                own = {names.key(ours[0]), names.core(ours[0])}
                mask = {names.key(theirs[0]), names.core(theirs[0])}
                if own & mask or not keys & mask:
                    chosen[ours[0]] = theirs[0]
    return chosen


def _folder_of(path: Path) -> object:
    return path.parent


def _session_of(path: Path) -> object:
    """`sub-01` and `ses-2` of a name of BIDS, or nothing."""
    found = re.match(r"(sub-[^_]+)(?:_(ses-[^_]+))?", stem(path), re.IGNORECASE)
    return found.groups() if found else None


def _with_parts(
    pairs: Sequence[Pair], parts: Mapping[Path, Mapping[str, Path]], search: Search
) -> list[Pair]:
    """Files of one structure each, given to their scan, or to the only scan of their folder."""
    held = Counter(one.image.parent for one in pairs)
    scans = {one.image for one in pairs}
    lost = [place for place in parts if place not in scans and held[place] != 1]
    if lost:
        search.problems.append(
            MaskProblem(
                f"masks of {count(len(lost), 'folder')} could belong to several scans, or to none",
                where=[printable(place.name) for place in lost[:20]],
                did="they were left out",
                fix="leave one scan in the folder, or name every mask like its scan",
                code="N43",
                files=[path for place in lost for path in parts[place].values()],
            )
        )
    found = []
    for one in pairs:
        own = parts.get(one.image) or (
            parts.get(one.image.parent) if one.image.parent not in lost else None
        )
        found.append(replace(one, parts=own) if own and one.mask is None else one)
    return found


def _kind(search: Search, pairs: Sequence[Pair]) -> str:
    if any(SUBJECT.match(stem(one.image)) for one in pairs):
        return "bids"
    masks = [path for one in pairs for path in (one.mask, *one.parts.values()) if path]
    total = any("segmentations" in (path.parent.name, stem(path)) for path in masks)
    return "totalsegmentator" if total else "cases"
