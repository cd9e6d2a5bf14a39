"""Layouts of data sets, each a function that finds its scans and masks in a folder or says that it
is another one. No layout opens more than a header, except to tell a mask from a scan.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fewmask.core.errors import BadDataset
from fewmask.core.words import count
from fewmask.io.dicom import is_dicom_folder
from fewmask.prepare.casefolders import find_case_folders
from fewmask.prepare.channels import choose_channels
from fewmask.prepare.datalist import DataList, follow, open_list
from fewmask.prepare.folder import printable
from fewmask.prepare.layout import Layout, MaskProblem, Pair
from fewmask.prepare.names import looks_like_mask, says_scan_only, stem
from fewmask.prepare.pairing import Names, named_after, pair
from fewmask.prepare.search import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    Search,
    by_role,
    holds_dicom,
    holds_dicom_below,
)

_LISTED = 20


def find_task(search: Search) -> Layout | None:
    """A list beside `imagesTr` (nnU-Net raw, Medical Segmentation Decathlon), or one that names its
    own folders (MONAI).
    """
    listed = open_list(search.tree, search.top, search.channel)
    if listed is None:
        return None
    train, test, labels = (search.folders([name]) for name in ("imagestr", "imagests", "labelstr"))
    if not train:
        return _listed_pairs(search, listed)
    scans = [path for folder in (*train, *test) for path in search.tree.nifti(folder)]
    masks = [path for folder in labels for path in search.tree.nifti(folder)]
    declared = True if listed.kind == "nnunet" else listed.counts_channels
    rows, absent = follow(listed, search.tree)
    # A list may name further folders, such as imagesVa.
    scans = list(dict.fromkeys([*scans, *rows]))
    masks += [mask for mask in rows.values() if mask]
    titles = listed.channels
    layout = _paired(search, listed.kind, scans, masks, declared, rows, titles=titles)
    absent = [name for name in absent if not _is_there(name, layout)]
    if absent:
        search.problems.append(_absent(absent, listed.path))
    return replace(layout, names=listed.names, lists=(listed.path,))


def _listed_pairs(search: Search, listed: DataList) -> Layout | None:
    """The files that a list of pairs names."""
    rows, absent = follow(listed, search.tree)
    if not listed.rows or not rows:
        if listed.path.name != "dataset.json":
            return None
        if listed.rows:
            raise BadDataset(
                "dataset.json lists scans, and none of them is there",
                where=[printable(listed.path), *map(printable, absent[:5])],
                fix="put them where the list says, below its own folder",
                code="M15",
            )
        layout = find_two_folders(search) or find_one_folder(search)
        if layout is not None:
            return replace(layout, names=listed.names, lists=(listed.path,))
        raise BadDataset(
            "dataset.json without a folder imagesTr, and without a list of scans",
            where=printable(listed.path),
            fix="put the scans in imagesTr/",
            code="M15",
        )
    masks = [path for path in rows.values() if path]
    # A list of files per scan has chosen the channel already.
    chosen = replace(search, channel=None) if listed.further else search
    layout = _paired(chosen, "list", list(rows), masks, listed.counts_channels, rows)
    if listed.further:
        files = count(
            len(listed.further), "file of another channel is", "files of other channels are"
        )
        note = f"{files} not read: choose with `channel`"
        layout = replace(layout, notes=(note,), scan_notes=(note,))
    if absent:
        search.problems.append(_absent(absent, listed.path))
    return replace(
        layout,
        names=listed.names,
        lists=(listed.path,),
        further={**layout.further, **listed.further},
    )


def _paired(
    search: Search,
    kind: str,
    scans: Sequence[Path],
    masks: Sequence[Path],
    declared: bool | None = None,
    rows: Mapping[Path, Path | None] | None = None,
    ids: Mapping[Path, str] | None = None,
    titles: Mapping[str, str] | None = None,
) -> Layout:
    """Scans, once each, with their masks: by a list where it says so, else by name."""
    masks = list(dict.fromkeys(masks))
    found = choose_channels(search, scans, masks, declared, ids, titles)
    listed = {scan: mask for scan, mask in (rows or {}).items() if mask}
    names = Names({**(ids or {}), **found.ids})
    pairs = pair(found.scans, masks, search.problems, names, listed)
    return Layout(
        kind, tuple(pairs), notes=found.notes, scan_notes=found.notes, further=found.further
    )


def _is_there(name: str, layout: Layout) -> bool:
    """Was a scan that the list calls so found under its channel's name (nnU-Net version 1)?"""
    wanted = stem(Path(name)).casefold()
    return any(
        wanted in (pair.case.casefold(), stem(pair.image).casefold()) for pair in layout.pairs
    )


def _absent(names: Sequence[str], path: Path) -> MaskProblem:
    return MaskProblem(
        f"{path.name} lists {count(len(names), 'file')} not there",
        where=[printable(path), *(printable(Path(name).name) for name in names[:_LISTED])],
        did="the scans that are there were used",
        fix=f"finish the download, or remove the entries from {path.name}",
        code="M15",
    )


def find_lits(search: Search) -> Layout | None:
    """`volume-N` and `segmentation-N`, in one folder or spread over sub-folders."""
    files = list(search.below(search.tree.root))
    scans = [path for path in files if re.fullmatch(r"volume-\d+", stem(path).casefold())]
    masks = [path for path in files if re.fullmatch(r"segmentation-\d+", stem(path).casefold())]
    return Layout("lits", tuple(pair(scans, masks, search.problems))) if scans else None


def find_two_folders(search: Search) -> Layout | None:
    """`images/` with `labels/`, `masks/` or `segmentations/`; a scan may also be a folder with a
    DICOM series, or with one image, and a mask a folder with one file or one per structure.
    """
    images, labels = search.folders(IMAGE_FOLDERS), search.folders(MASK_FOLDERS)
    if not images:
        return None
    for kind, found in (("scan", images), ("mask", labels)):
        if len(found) > 1:
            raise BadDataset(
                f"several {kind} folders: {', '.join(printable(path.name) for path in found)}",
                where=printable(search.top),
                fix="leave one of them",
                code="M15",
            )
    scans, inner, ids = list[Path](), list[Path](), dict[Path, str]()
    direct, beside = by_role(search.tree.nifti(images[0]))
    for folder in search.tree.folders(images[0]):
        files, more = by_role(search.tree.nifti(folder))
        if is_dicom_folder(folder):
            scans.append(folder)
        elif len(files) == 1 and not labels:
            direct, inner = [*direct, *files], [*inner, *more]
            ids |= dict.fromkeys((*files, *more), folder.name)
        elif len(files) == 1:
            direct, ids = [*direct, *files], {**ids, files[0]: folder.name}
    masks, parts = _masks_of(search, labels[0], ids) if labels else ([*beside, *inner], {})
    layout = _paired(search, "plain", [*direct, *scans], masks, ids=ids)
    return replace(layout, pairs=tuple(_with_parts(layout.pairs, parts, search)))


def _masks_of(
    search: Search, folder: Path, ids: dict[Path, str]
) -> tuple[list[Path], dict[str, dict[str, Path]]]:
    """Label maps of a folder and of its sub-folders with one file each, and per case the files of
    sub-folders with one per structure. Adds to `ids`.
    """
    masks, parts = list(search.tree.nifti(folder)), dict[str, dict[str, Path]]()
    for inner in search.tree.folders(folder):
        files = search.tree.nifti(inner)
        named = [path for path in files if looks_like_mask(path) or stem(path) == inner.name]
        if len(files) == len(named) == 1:
            masks.append(files[0])
            ids[files[0]] = inner.name
        elif files:
            parts[inner.name.casefold()] = {stem(path): path for path in files}
    return masks, parts


def _with_parts(
    pairs: Sequence[Pair], parts: Mapping[str, Mapping[str, Path]], search: Search
) -> list[Pair]:
    left = _per_case(parts, {one.case.casefold() for one in pairs})
    found = [
        replace(one, parts=left.pop(one.case.casefold()))
        if one.mask is None and one.case.casefold() in left
        else one
        for one in pairs
    ]
    if left:
        search.problems.append(
            MaskProblem(
                f"masks of {count(len(left), 'case')} without a scan of that name",
                where=[printable(name) for name in list(left)[:_LISTED]],
                did="they were left out",
                fix="name scan and mask, or the folder of its masks, alike; or add the scans",
                code="M15",
                files=[path for files in left.values() for path in files.values()],
            )
        )
    return found


def _per_case(
    parts: Mapping[str, Mapping[str, Path]], cases: Collection[str]
) -> dict[str, dict[str, Path]]:
    """Folder -> file's name -> file; folders of a structure, whose files are called after cases
    (`labels/liver/case_1`), turned to case -> structure -> file.
    """
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for folder, files in parts.items():
        turned = folder not in cases and any(name.casefold() in cases for name in files)
        for name, path in files.items():
            case, part = (name.casefold(), folder) if turned else (folder, name)
            found[case][part] = path
    return dict(found)


def find_one_folder(search: Search) -> Layout | None:
    """Scans in the folder itself. Masks beside them have names like `case_1_seg`, `label0001` or
    `case_1_liver`; or they lie in a sub-folder such as `masks/`.
    """
    files = search.tree.nifti(search.top)
    if not files:
        return None
    scans, masks = by_role(files)
    inner = search.folders(MASK_FOLDERS)
    below = [path for folder in inner for path in search.tree.nifti(folder)]
    if any(map(says_scan_only, scans)) and len(files) + len(below) > 1:
        return find_case_folders(search)  # the folder itself is one case
    layout = _paired(search, "plain", scans, [*masks, *below])
    parts = named_after([one.image for one in layout.pairs])
    inside = {path for found in parts.values() for path in found.values()}
    pairs = tuple(
        replace(one, parts=parts[one.image]) if one.image in parts and one.mask is None else one
        for one in layout.pairs
        if one.image not in inside
    )
    kind = "plain" if any(one.has_mask for one in pairs) else "scans"
    return replace(layout, kind=kind, pairs=pairs)


def find_dicom(search: Search) -> Layout | None:
    """The folder is one DICOM series, or each sub-folder is a case with one somewhere below it.
    Masks of all cases may lie in a folder such as `labels/`.
    """
    root = search.tree.root
    if is_dicom_folder(root, deep=False):
        return Layout("dicom", (Pair(stem(root.absolute()), root),))
    inner = [path for path in search.folders(MASK_FOLDERS) if search.tree.nifti(path)]
    folders = [
        folder
        for folder in search.tree.folders(root)
        if folder not in inner and is_dicom_folder(folder)
    ]
    masks = [path for folder in inner for path in search.tree.nifti(folder)]
    names = Names({folder: stem(folder) for folder in folders})
    found = pair(folders, masks, search.problems, names)
    return Layout("dicom", tuple(found)) if folders else None


def find_dicom_with_masks(search: Search) -> Layout | None:
    """DICOM series with images beside them in every case's folder, which are no scans, then."""
    tree, top = search.tree, search.top
    named = search.folders(MASK_FOLDERS)
    holders = [folder for folder in tree.files if tree.nifti(folder) and folder not in named]
    cases = {top.joinpath(*folder.relative_to(top).parts[:1]) for folder in holders}
    if not cases or not all(holds_dicom_below(tree, case) for case in cases):
        return None
    direct = tree.nifti(top)
    if direct and not holds_dicom(tree, top) and not all(map(looks_like_mask, direct)):
        return None  # scans, with a series in a folder beside them
    return find_dicom(search)


LAYOUTS: tuple[Callable[[Search], Layout | None], ...] = (
    find_task,
    find_lits,
    find_two_folders,
    find_dicom_with_masks,
    find_one_folder,
    find_case_folders,
    find_dicom,
)
"""In the order in which they are tried."""
