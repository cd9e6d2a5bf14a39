"""Find the scans and masks of a folder, in whichever common layout they come, and account for every
file that was seen. Pairs are made by case id, never by order.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fewmask.core.errors import BadDataset, FewmaskError
from fewmask.core.names import unusable
from fewmask.core.words import count
from fewmask.prepare.account import account_for, account_notes, unread_endings, ways_out
from fewmask.prepare.dicommasks import add_masks
from fewmask.prepare.folder import FolderTree, printable, walk_folder
from fewmask.prepare.layout import FileProblem, Layout, MaskProblem, Pair, Seen
from fewmask.prepare.layouts import LAYOUTS
from fewmask.prepare.listed import names_in
from fewmask.prepare.names import identifying
from fewmask.prepare.pairing import pair_orphans
from fewmask.prepare.patients import join_visits
from fewmask.prepare.search import IMAGE_FOLDERS, MASK_FOLDERS, Search, holds_dicom_below
from fewmask.prepare.series import part_series

__all__ = ["UNDERSTOOD", "Layout", "MaskProblem", "Pair", "Seen", "discover"]

_LISTED = 20

UNDERSTOOD = (
    "layouts understood:",
    "  images/case_01.nii.gz  labels/case_01.nii.gz        plain (also img/, masks/, "
    "segmentations/)",
    "  case_01.nii.gz  case_01_seg.nii.gz                  masks beside scans (also label01, "
    "case_01_liver)",
    "  case_01/imaging.nii.gz  case_01/segmentation.nii.gz one folder per case: KiTS, ACDC, BraTS, "
    "SegTHOR",
    "  s0011/ct.nii.gz  s0011/segmentations/liver.nii.gz   TotalSegmentator",
    "  sub-01/anat/sub-01_T1w.nii.gz  derivatives/         BIDS",
    "  volume-1.nii  segmentation-1.nii                    LiTS",
    "  dataset.json  imagesTr/  labelsTr/  [imagesTs/]     Medical Segmentation Decathlon, "
    "nnU-Net raw",
    "  dataset.json with a list of images and labels       MONAI",
    "  case_01/*.dcm  case_02/*.dcm                        DICOM, one folder per case, or one "
    "series alone",
    "  patient/study/series/*.dcm                          DICOM as an archive exports it",
    "  case_01.nii.gz  case_02.nii.gz                      scans without masks",
)
"""Lines of the message for a folder in which nothing is found."""


def discover(
    folder: Path,
    follow_links: bool = False,
    channel: str | None = None,
    *,
    channels: bool = True,
    series: str | None = None,
) -> Layout:
    """Recognise the layout of `folder`, pair scans with masks, and say of every file what becomes
    of it. `channel` says which of several channels of a scan is taken (default: the first);
    without `channels` there are none, as in a folder of label maps. `series` names the DICOM series
    that is meant in every folder, or a table of those that are.

    No voxels are read, except where a name alone does not tell a mask from a scan. Raises
    `BadDataset` if nothing usable is found, `BadConfig` for a channel that is not there; everything
    else that is wrong is listed in `Layout.problems`.
    """
    tree = walk_folder(folder, follow_links)
    search = Search(tree, _top(tree), channel, channels, list(tree.problems))
    for find in LAYOUTS:
        layout = find(search)
        if layout is not None and (layout.pairs or search.problems):
            break
    else:
        raise _nothing(tree)
    problems = search.problems
    parted = part_series(tree, layout.pairs, series, problems)
    given, visits = join_visits(pair_orphans(parted.pairs, problems))
    pairs = tuple(sorted((one for one in given if _keep(one, problems)), key=lambda one: one.case))
    if not pairs and not problems:
        raise _nothing(tree)
    pairs = add_masks(tree, pairs, problems, parted.left)
    layout = replace(
        layout,
        pairs=pairs,
        problems=tuple(problems),
        ignored=tree.ignored,
        series=parted.rows,
        left_out=parted.left,
    )
    files = account_for(tree, layout)
    seen, more = account_notes(files, tree.root)
    if tree.too_deep:
        shown = ", ".join(printable(path.relative_to(tree.root)) for path in tree.too_deep[:3])
        seen.append(
            f"{count(len(tree.too_deep), 'folder lies', 'folders lie')} too deep, not looked into: "
            f"{shown}"
            f"{' ...' if len(tree.too_deep) > 3 else ''}; give a folder nearer to the scans"
        )
    problems += more
    masks = _mask_notes(pairs)
    names = _name_notes(pairs, parted.persons)
    hidden = (
        [f"{count(tree.ignored, 'hidden or system file')} ignored (._*, .DS_Store, Thumbs.db)"]
        if tree.ignored
        else []
    )
    own = names_in(tree, [one.mask for one in pairs if one.mask is not None])
    return replace(
        layout,
        names={**own, **layout.names},
        notes=(*layout.notes, *parted.notes, *visits, *masks, *names, *seen, *hidden),
        scan_notes=(*layout.scan_notes, *parted.notes, *names, *seen),
        problems=tuple(problems),
        files=files,
    )


def _top(tree: FolderTree) -> Path:
    """Where scans begin: a folder that holds nothing but one folder is passed through."""
    top = tree.root
    while True:
        inner = [path for path in tree.folders(top) if tree.holds_images(path)]
        known = {path.name.casefold() for path in tree.folders(top)}
        if (
            len(inner) != 1
            or holds_dicom_below(tree, inner[0])
            or tree.nifti(top)
            or any(path.name == "dataset.json" for path in tree.files[top])
            or known & {*IMAGE_FOLDERS, *MASK_FOLDERS}
        ):
            return top
        top = inner[0]


def _keep(pair: Pair, problems: list[FewmaskError]) -> bool:
    reason = unusable(pair.case)
    if reason:
        shown = printable(pair.image.name)
        problems.append(
            FileProblem(
                f"{reason}",
                where=shown,
                did="the case was skipped",
                fix="rename the file",
                code="N45",
                files=[pair.image],
            )
        )
    return not reason


def _mask_notes(pairs: Sequence[Pair]) -> list[str]:
    without = sum(not pair.has_mask for pair in pairs)
    if not without or without == len(pairs):
        return []
    return [f"{without} of {count(len(pairs), 'scan')} without a mask: used as unlabelled"]


def _name_notes(pairs: Sequence[Pair], persons: frozenset[str]) -> list[str]:
    kinds: dict[str, int] = {}
    for pair in pairs:
        if what := identifying(pair.case, persons):
            kinds[what] = kinds.get(what, 0) + 1
    return [
        f"warning: {count(number, 'case name')} may identify a person ({what}); "
        "masks, tables and reports are named after cases: rename the files or folders"
        for what, number in kinds.items()
    ]


def _nothing(tree: FolderTree) -> BadDataset:
    """Explain what was looked for, and what there was instead."""
    files = list(tree.below(tree.root))
    lines = [printable(tree.root)]
    unread = unread_endings(files)
    inner = [
        folder
        for folder in tree.folders(tree.root)
        if any(f.name.casefold() in IMAGE_FOLDERS for f in tree.folders(folder))
    ]
    fix = "put the scans in images/ and the masks in labels/ under the same names"
    if inner:
        names = ", ".join(printable(folder.name) for folder in inner[:5])
        fix = f"give one of its folders: {names}"
    elif unread:
        lines.append(f"files of type {', '.join(unread)} are not read")
        fix = "; ".join(ways_out(unread))
    what = "no scans found" if files else "the folder is empty"
    lines += [str(problem.what) for problem in tree.problems[:_LISTED]]
    return BadDataset(what, where=[*lines, *UNDERSTOOD], did="nothing was written", fix=fix)
