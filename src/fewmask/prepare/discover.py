"""Find the scans and masks of a folder, in whichever common layout they come. Pairs are made by
case id, never by order.
"""

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fewmask.core.errors import BadDataset, FewmaskError
from fewmask.io.dicom import is_dicom_folder
from fewmask.io.text import read_json
from fewmask.prepare.dicommasks import find_beside, find_objects
from fewmask.prepare.folder import FolderTree, printable, walk_folder
from fewmask.prepare.listed import names_in
from fewmask.prepare.names import (
    bare,
    case_id,
    core_key,
    exact_key,
    identifying,
    looks_like_mask,
    stem,
    unusable,
)

_IMAGE_FOLDERS = ("images", "imagestr", "image", "scans", "volumes")
_MASK_FOLDERS = (
    "labels",
    "labelstr",
    "label",
    "masks",
    "mask",
    "segmentations",
    "segmentation",
    "segs",
)
_TOTALSEGMENTATOR = ("ct", "mri", "mr")
_UNREAD = (".npz", ".png", ".mgz", ".mnc", ".zip", ".tar", ".tgz", ".h5")
_LISTED = 20

UNDERSTOOD = (
    "layouts understood:",
    "  images/case_01.nii.gz  labels/case_01.nii.gz        plain (also masks/, segmentations/)",
    "  volume-1.nii  segmentation-1.nii                    LiTS",
    "  s0011/ct.nii.gz  s0011/segmentations/liver.nii.gz   TotalSegmentator",
    "  dataset.json  imagesTr/  labelsTr/  [imagesTs/]     Medical Segmentation Decathlon, "
    "nnU-Net raw",
    "  case_01/*.dcm  case_02/*.dcm                        DICOM, one folder per case, or one "
    "series alone",
    "  case_01.nii.gz  case_02.nii.gz                      scans without masks",
)
"""Lines of the message for a folder in which nothing is found."""


@dataclass(frozen=True)
class Pair:
    """One scan and, where there is one, its mask."""

    case: str
    image: Path
    """An image file, or the folder of a DICOM series."""
    mask: Path | None = None
    """One label map with a value per structure."""
    parts: Mapping[str, Path] = field(default_factory=dict)
    """TotalSegmentator: one 0/1 file per structure, by its name."""

    @property
    def has_mask(self) -> bool:
        """True if there is a label map, in one file or in parts."""
        return self.mask is not None or bool(self.parts)


class MaskProblem(BadDataset):
    """Something is wrong with masks, or with lists of them: scans can be predicted all the same."""


@dataclass(frozen=True)
class Layout:
    """What a folder holds."""

    kind: str
    """`lits`, `totalsegmentator`, `msd`, `nnunet`, `plain`, `dicom` or `scans`."""
    pairs: tuple[Pair, ...]
    """Sorted by case id."""
    names: Mapping[str, int] = field(default_factory=dict)
    """Structure name -> value, where the data set or its masks say it; background is left out."""
    notes: tuple[str, ...] = ()
    problems: tuple[FewmaskError, ...] = ()
    """What could not be used; the pairs are usable without it."""
    unread: str = ""
    """Note on files and folders that may hold scans or masks and are not read."""
    ignored: int = 0
    """Hidden files and leftovers of macOS and Windows that were passed over."""


def discover(folder: Path, follow_links: bool = False) -> Layout:
    """Recognise the layout of `folder` and pair scans with masks; no image is opened.

    Raises `BadDataset` if nothing usable is found; everything else that is wrong is listed in
    `Layout.problems`.
    """
    tree = walk_folder(folder, follow_links)
    problems: list[FewmaskError] = list(tree.problems)
    for recognise in (_task, _lits, _totalsegmentator, _plain, _flat, _dicom):
        layout = recognise(tree, problems)
        if layout is not None:
            break
    else:
        raise _nothing(tree)
    usable = [pair for pair in layout.pairs if _keep(pair, problems)]
    usable = _with_dicom_masks(tree, usable, problems)
    unread = _unread(tree, layout)
    notes = [*layout.notes, *_notes(usable, tree), *([unread] if unread else [])]
    pairs = tuple(sorted(usable, key=lambda pair: pair.case))
    if not pairs and not problems:
        raise _nothing(tree)
    masks = [pair.mask for pair in pairs if pair.mask is not None]
    return replace(
        layout,
        pairs=pairs,
        names={**names_in(tree, masks), **layout.names},
        notes=tuple(notes),
        problems=tuple(problems),
        unread=unread,
        ignored=tree.ignored,
    )


def _task(tree: FolderTree, problems: list[FewmaskError]) -> Layout | None:
    """A `dataset.json` beside `imagesTr`: nnU-Net raw if it has channel names, else MSD."""
    record_path = tree.root / "dataset.json"
    if record_path not in tree.files[tree.root]:
        return None
    folders = {folder.name.lower(): folder for folder in tree.folders(tree.root)}
    if "imagestr" not in folders:
        raise BadDataset(
            "dataset.json without a folder imagesTr",
            where=printable(record_path),
            fix="put the scans in imagesTr/",
            code="M15",
        )
    record = read_json(record_path, kind=BadDataset)
    nnunet = "channel_names" in record or "file_ending" in record
    names, notes = _declared_names(record, record_path)
    scans = tree.nifti(folders["imagestr"])
    if nnunet:
        scans, more = _first_channel(scans)
        notes += more
    masks = tree.nifti(folders["labelstr"]) if "labelstr" in folders else []
    pairs = _pair(scans, masks, problems)
    if "imagests" in folders:
        tests, _ = (
            _first_channel(tree.nifti(folders["imagests"]))
            if nnunet
            else (tree.nifti(folders["imagests"]), [])
        )
        pairs = _merge(pairs, _pair(tests, [], problems), problems)
    problems += _absent(record, pairs, record_path)
    return Layout("nnunet" if nnunet else "msd", tuple(pairs), names, tuple(notes))


def _declared_names(record: Mapping[str, Any], path: Path) -> tuple[dict[str, int], list[str]]:
    """Names of a dataset.json: `{"1": "liver"}` (MSD) or `{"liver": 1}` (nnU-Net); regions (several
    values) are left out.
    """
    labels = record.get("labels", {})
    if not isinstance(labels, Mapping):
        raise BadDataset(
            "dataset.json: labels is not a table of names and values",
            where=printable(path),
            code="M08",
        )
    names: dict[str, int] = {}
    notes: list[str] = []
    for key, value in labels.items():
        name, number = (value, key) if isinstance(value, str) and key.isdecimal() else (key, value)
        if isinstance(number, list):
            notes.append(
                f"dataset.json: region {name!r} covers several values; ask for it with `labels` as "
                f"{name}={','.join(map(str, number))}"
            )
        elif not re.fullmatch(r"\d+", str(number)) or name in names:
            raise BadDataset(
                f"dataset.json: label {name!r} = {number!r} is not one whole number",
                where=printable(path),
                code="M08",
            )
        elif int(number):
            names[name] = int(number)
    return names, notes


def _first_channel(scans: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The files of channel 0000; other channels of the same case are counted, not read."""
    numbered = {path: re.search(r"_(\d{4})$", stem(path)) for path in scans}
    others = [path for path, found in numbered.items() if found and found[1] != "0000"]
    notes = (
        [
            f"{len(others)} files of further channels (_0001 ...) are not read: fewmask takes "
            "one channel"
        ]
        if others
        else []
    )
    return [path for path in scans if path not in set(others)], notes


def _absent(record: Mapping[str, Any], pairs: Iterable[Pair], path: Path) -> list[FewmaskError]:
    """Training scans that dataset.json lists and the folder lacks. Paths in it are compared by
    name, never opened.
    """
    there = {exact_key(pair.image) for pair in pairs}
    listed = record.get("training", [])
    names = (
        [item.get("image") for item in listed if isinstance(item, Mapping)]
        if isinstance(listed, list)
        else []
    )
    absent = [
        printable(Path(name).name)
        for name in names
        if isinstance(name, str) and exact_key(Path(name)) not in there
    ]
    if not absent:
        return []
    return [
        MaskProblem(
            f"dataset.json lists {len(absent)} training scans that are not in imagesTr",
            where=[printable(path), *absent[:_LISTED]],
            did="the scans that are there were used",
            fix="finish the download, or remove the entries from dataset.json",
            code="M15",
        )
    ]


def _lits(tree: FolderTree, problems: list[FewmaskError]) -> Layout | None:
    """`volume-N` and `segmentation-N`, in one folder or spread over sub-folders."""
    files = [path for folder in tree.files for path in tree.nifti(folder)]
    scans = [path for path in files if re.fullmatch(r"volume-\d+", stem(path).casefold())]
    masks = [path for path in files if re.fullmatch(r"segmentation-\d+", stem(path).casefold())]
    return Layout("lits", tuple(_pair(scans, masks, problems))) if scans else None


def _totalsegmentator(tree: FolderTree, problems: list[FewmaskError]) -> Layout | None:
    """One folder per case with `ct.nii.gz` or `mri.nii.gz` and a folder `segmentations` with one
    file per structure.
    """
    pairs = []
    for folder in [tree.root, *tree.folders(tree.root)]:
        scans = [path for path in tree.nifti(folder) if stem(path).casefold() in _TOTALSEGMENTATOR]
        parts_folder = folder / "segmentations"
        if len(scans) > 1:
            problems.append(_ambiguous(folder.name, scans, tree.root))
        elif scans and (folder != tree.root or parts_folder in tree.files):
            parts = {stem(path): path for path in tree.nifti(parts_folder)}
            pairs.append(Pair(stem(folder.absolute()), scans[0], parts=parts))
    return Layout("totalsegmentator", tuple(pairs)) if pairs else None


def _plain(tree: FolderTree, problems: list[FewmaskError]) -> Layout | None:
    """`images/` with `labels/`, `masks/` or `segmentations/`; a scan may also be a folder with a
    DICOM series.
    """
    folders = tree.folders(tree.root)
    images = [folder for folder in folders if folder.name.lower() in _IMAGE_FOLDERS]
    labels = [folder for folder in folders if folder.name.lower() in _MASK_FOLDERS]
    if not images:
        return None
    for kind, found in (("scan", images), ("mask", labels)):
        if len(found) > 1:
            names = ", ".join(printable(folder.name) for folder in found)
            raise BadDataset(
                f"several {kind} folders: {names}",
                where=printable(tree.root),
                fix="leave one of them",
                code="M15",
            )
    series = [folder for folder in tree.folders(images[0]) if is_dicom_folder(folder)]
    masks = tree.nifti(labels[0]) if labels else []
    return Layout("plain", tuple(_pair([*tree.nifti(images[0]), *series], masks, problems)))


def _flat(tree: FolderTree, problems: list[FewmaskError]) -> Layout | None:
    """Scans in the folder itself; files named like another one plus `_seg`, `_label`, ... are its
    masks.
    """
    files = tree.nifti(tree.root)
    cores = {core_key(path) for path in files if not looks_like_mask(path)}
    masks = [path for path in files if looks_like_mask(path) and core_key(path) in cores]
    scans = [path for path in files if path not in set(masks)]
    return (
        Layout("plain" if masks else "scans", tuple(_pair(scans, masks, problems)))
        if scans
        else None
    )


def _dicom(tree: FolderTree, problems: list[FewmaskError]) -> Layout | None:
    """The folder is one DICOM series, or each sub-folder is a case with one somewhere below it."""
    if is_dicom_folder(tree.root, deep=False):
        return Layout("dicom", (Pair(stem(tree.root.absolute()), tree.root),))
    pairs = [
        Pair(stem(folder), folder) for folder in tree.folders(tree.root) if is_dicom_folder(folder)
    ]
    return Layout("dicom", tuple(pairs)) if pairs else None


def _with_dicom_masks(
    tree: FolderTree, pairs: list[Pair], problems: list[FewmaskError]
) -> list[Pair]:
    """Pairs whose scan is a DICOM folder with what lies beside it."""
    if all(pair.has_mask or pair.image not in tree.files for pair in pairs):
        return pairs
    objects = find_objects(tree.files)
    found = []
    for pair in pairs:
        if not pair.has_mask and pair.image in tree.files:
            beside = find_beside(pair.image, tree.files, objects)
            pair = replace(pair, image=beside.image, mask=beside.mask, parts=beside.parts)
            if beside.problem is not None:
                problem = beside.problem
                problems.append(
                    MaskProblem(
                        problem.what,
                        where=problem.where,
                        did=problem.did,
                        fix=problem.fix,
                        code=problem.code,
                    )
                )
        found.append(pair)
    return found


def _pair(scans: Sequence[Path], masks: Sequence[Path], problems: list[FewmaskError]) -> list[Pair]:
    """Scan and mask with the same case id, then with the same id without affixes where that is
    unique on both sides.
    """
    scans = _unique(scans, problems)
    masks = _unique(masks, problems, MaskProblem)
    by_scan = {exact_key(path): path for path in scans}
    chosen = {by_scan[exact_key(path)]: path for path in masks if exact_key(path) in by_scan}
    left_scans, left_masks = defaultdict(list), defaultdict(list)
    for path in scans:
        if path not in chosen:
            left_scans[core_key(path)].append(path)
    for path in masks:
        if exact_key(path) not in by_scan:
            left_masks[core_key(path)].append(path)
    for core in left_scans.keys() & left_masks.keys():
        if len(left_scans[core]) == len(left_masks[core]) == 1:
            chosen[left_scans[core][0]] = left_masks.pop(core)[0]
    orphans = sorted(path for paths in left_masks.values() for path in paths)
    if orphans:
        problems.append(_orphans(orphans, scans))
    return [Pair(case_id(path), path, chosen.get(path)) for path in scans]


def _unique(
    paths: Sequence[Path], problems: list[FewmaskError], kind: type[BadDataset] = BadDataset
) -> list[Path]:
    """Leave out files whose names mean the same case; they are listed (N42, N43)."""
    groups = defaultdict(list)
    for path in paths:
        groups[exact_key(path)].append(path)
    for group in groups.values():
        if len(group) > 1:
            problems.append(_ambiguous(case_id(group[0]), group, group[0].parent, kind))
    return [group[0] for group in groups.values() if len(group) == 1]


def _merge(pairs: list[Pair], more: list[Pair], problems: list[FewmaskError]) -> list[Pair]:
    """Training and test scans in one list, without names that stand in both."""
    both = {exact_key(pair.image) for pair in pairs} & {exact_key(pair.image) for pair in more}
    for key in sorted(both):
        found = [pair.image for pair in [*pairs, *more] if exact_key(pair.image) == key]
        problems.append(_ambiguous(case_id(found[0]), found, found[0].parent.parent))
    return [pair for pair in [*pairs, *more] if exact_key(pair.image) not in both]


def _ambiguous(
    case: str, files: Sequence[Path], root: Path, kind: type[BadDataset] = BadDataset
) -> BadDataset:
    same = len({bare(path) for path in files}) == 1 and len({path.parent for path in files}) == 1
    why = "a packed and an unpacked file" if same else "names that mean the same case"
    return kind(
        f"case {printable(case)}: {why}, so it is not clear which one is meant",
        where=[printable(path.relative_to(root)) for path in files],
        did="none of them was used",
        fix="rename or remove all but one",
        code="N42" if same else "N43",
    )


def _orphans(masks: Sequence[Path], scans: Sequence[Path]) -> MaskProblem:
    known = [case_id(path) for path in scans]
    lines = []
    for path in masks[:_LISTED]:
        near = difflib.get_close_matches(case_id(path), known, n=2, cutoff=0.5)
        lines.append(
            f"{printable(path.name)}"
            + (f"   nearest scans: {', '.join(map(printable, near))}" if near else "")
        )
    if len(masks) > _LISTED:
        lines.append(f"... and {len(masks) - _LISTED} more")
    return MaskProblem(
        f"{len(masks)} mask{'s' * (len(masks) > 1)} without a scan of that name",
        where=lines,
        did="they were left out",
        fix="name scan and mask alike (case_01.nii.gz in both folders), or add the scans",
        code="M15",
    )


def _keep(pair: Pair, problems: list[FewmaskError]) -> bool:
    reason = unusable(pair.case)
    if reason:
        shown = printable(pair.image.name)
        problems.append(
            BadDataset(
                f"{reason}",
                where=shown,
                did="the case was skipped",
                fix="rename the file",
                code="N45",
            )
        )
    return not reason


def _notes(pairs: Sequence[Pair], tree: FolderTree) -> list[str]:
    notes = []
    without = sum(not pair.has_mask for pair in pairs)
    if without and without < len(pairs):
        notes.append(f"{without} of {len(pairs)} scans have no mask: they are used as unlabelled")
    kinds: Counter[str] = Counter()
    for pair in pairs:
        if what := identifying(pair.case):
            kinds[what] += 1
    for what, count in kinds.items():
        notes.append(
            f"warning: {count} case name{'s' * (count > 1)} may identify a person ({what}); "
            "reports show names: rename the files"
        )
    if tree.ignored:
        notes.append(f"{tree.ignored} hidden or system files ignored (._*, .DS_Store, Thumbs.db)")
    return notes


def _unread(tree: FolderTree, layout: Layout) -> str:
    """Files of types that are not read, and DICOM series beside NIfTI files."""
    left = {
        path.name
        for folder in tree.files
        for path in tree.files[folder]
        if path.name.lower().endswith(_UNREAD)
    }
    if layout.kind != "dicom":
        masks = [
            path for pair in layout.pairs for path in (pair.mask, *pair.parts.values()) if path
        ]
        ours = [*masks, *(pair.image for pair in layout.pairs)]
        used = {folder for path in ours for folder in (path, *path.parents)}
        left |= {
            f"{folder.name}/"
            for folder in tree.folders(tree.root)
            if folder not in used and is_dicom_folder(folder)
        }
    if not left:
        return ""
    names = sorted(left)
    shown = ", ".join(map(printable, names[:5])) + (" ..." if len(names) > 5 else "")
    return (
        f"not read: {shown}; save scans and masks as NIfTI (.nii.gz), or lay DICOM folders in "
        "images/ beside the other scans"
    )


def _nothing(tree: FolderTree) -> BadDataset:
    """Explain what was looked for, and what there was instead."""
    files = [path.name for path in tree.below(tree.root)]
    lines = [printable(tree.root)]
    unread = sorted(
        {ending for ending in _UNREAD for name in files if name.lower().endswith(ending)}
    )
    inner = [
        folder
        for folder in tree.folders(tree.root)
        if any(f.name.lower() in _IMAGE_FOLDERS for f in tree.folders(folder))
    ]
    fix = "put the scans in images/ and the masks in labels/ under the same names"
    if inner:
        fix = (
            f"give one of its folders: {', '.join(printable(folder.name) for folder in inner[:5])}"
        )
    elif unread:
        lines.append(f"files of type {', '.join(unread)} are not read")
        fix = "convert or unpack them to NIfTI (.nii.gz) or DICOM"
    what = "no scans found" if files else "the folder is empty"
    lines += [str(problem.what) for problem in tree.problems[:_LISTED]]
    return BadDataset(what, where=[*lines, *UNDERSTOOD], did="nothing was written", fix=fix)
