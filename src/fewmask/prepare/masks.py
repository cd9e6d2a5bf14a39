"""Label maps of a folder by case, paired as prepare pairs: for comparing masks with masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fewmask.core.errors import BadDataset, FewmaskError
from fewmask.prepare.discover import discover
from fewmask.prepare.folder import FolderTree, walk_folder
from fewmask.prepare.mapping import Values
from fewmask.prepare.names import case_id, looks_like_mask, says_scan_only, stem
from fewmask.prepare.pairing import Names, match
from fewmask.prepare.search import MASK_FOLDERS

Mask = Path | Mapping[str, Path]
"""One label map, or structure -> file."""


@dataclass(frozen=True)
class MaskFolder:
    """The label maps of a folder."""

    masks: Mapping[str, Mask]
    """Case id -> label map."""
    names: Mapping[str, Values] = field(default_factory=dict)
    """Structure name -> value, where the folder declares it."""
    notes: tuple[str, ...] = ()
    problems: tuple[FewmaskError, ...] = ()


def find_masks(source: Path, follow_links: bool = False) -> MaskFolder:
    """The label maps of a file, of a folder of nothing else, or of a whole data set with its scans,
    in any layout that `discover` knows. Files are not opened. Raises `BadDataset` for a folder
    without any.
    """
    if source.is_file():
        return MaskFolder({case_id(source): source})
    tree = walk_folder(source, follow_links)
    if not tree.nifti(source) and not any(says_scan_only(path) for path in _images(tree)):
        inner = _by_folder(tree)
        if inner:
            return MaskFolder(inner)
    layout = discover(source, follow_links, channels=False)
    masks: dict[str, Mask] = {
        pair.case: pair.mask or pair.parts for pair in layout.pairs if pair.has_mask
    }
    if not masks:
        masks = {pair.case: pair.image for pair in layout.pairs if not pair.image.is_dir()}
    if not masks:
        raise BadDataset(
            "no label map in this folder",
            where=str(source),
            fix="give the folder of masks",
            code="M15",
        )
    return MaskFolder(masks, layout.names, layout.notes, layout.problems)


def match_cases(ours: Sequence[str], theirs: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Which case of `theirs` each of `ours` is, by the keys of prepare (large and small letters,
    Unicode forms, affixes such as `_seg`), and those of `theirs` that none is. One of each are
    always a pair.
    """
    if len(ours) == len(theirs) == 1:
        return {ours[0]: theirs[0]}, []
    # Paths only carry the names: two sides may call a case alike.
    left, right = (
        {Path(side, name): name for name in names} for side, names in _sides(ours, theirs)
    )
    found, rest = match(list(left), list(right), Names({**left, **right}))
    return {left[a]: right[b] for a, b in found.items()}, [right[path] for path in rest]


def _sides(ours: Sequence[str], theirs: Sequence[str]) -> tuple[tuple[str, Sequence[str]], ...]:
    return ("ours", ours), ("theirs", theirs)


def _images(tree: FolderTree) -> list[Path]:
    return [path for folder in tree.files for path in tree.nifti(folder)]


def _by_folder(tree: FolderTree) -> dict[str, Mask]:
    """A folder per case without its scan: `s0011/segmentations/liver.nii.gz`, `s0011/liver.nii.gz`,
    `s0011/mask.nii.gz`. Empty where file names do not return from folder to folder.
    """
    folders = {folder: files for folder in tree.files if (files := tree.nifti(folder))}
    names = [{stem(path).casefold() for path in files} for files in folders.values()]
    if not names or (len(names) > 1 and not names[0] & names[1]):
        return {}
    found: dict[str, Mask] = {}
    for folder, files in folders.items():
        case = folder.parent if folder.name.casefold() in MASK_FOLDERS else folder
        if case == tree.root:
            return {}
        single = len(files) == 1 and looks_like_mask(files[0])
        found[case.name] = files[0] if single else {stem(path): path for path in files}
    return found if len(found) == len(folders) else {}
