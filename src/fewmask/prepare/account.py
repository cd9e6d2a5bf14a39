"""What became of every file of a data folder: a scan, a mask, a channel, a list, no image, or an
image that nothing is made of, with the reason.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fewmask.core.errors import FewmaskError
from fewmask.core.words import count
from fewmask.io.image import files_of
from fewmask.prepare.folder import FolderTree, printable
from fewmask.prepare.layout import LEFT_OUT, FileProblem, Layout, MaskProblem, Seen, Use
from fewmask.prepare.names import looks_like_mask
from fewmask.prepare.search import MASK_FOLDERS, holds_dicom, may_be_dicom

_UNREAD = {
    ".mgz": "volume",
    ".mgh": "volume",
    ".mnc": "volume",
    ".zip": "archive",
    ".tar": "archive",
    ".tgz": "archive",
    ".rar": "archive",
    ".7z": "archive",
    ".h5": "array",
    ".npz": "array",
    ".npy": "array",
    ".png": "picture",
    ".jpg": "picture",
    ".jpeg": "picture",
    ".tif": "picture",
    ".tiff": "picture",
    ".bmp": "picture",
}
"""Endings of images that are not read, and what they are."""
_WAYS_OUT = {
    "volume": "save it as NIfTI (.nii.gz), as 3D Slicer and ITK-SNAP do",
    "archive": "unpack it",
    "array": "arrays have no orientation: save them as NIfTI (.nii.gz), such as with nibabel",
    "picture": "pictures have no voxel sizes and no HU: take the DICOM or NIfTI they were made of",
}
_DICOM = "DICOM outside the folders of cases: lay each series in a folder of its own"
_SHOWN = 5


def account_for(tree: FolderTree, layout: Layout) -> tuple[Seen, ...]:
    """A line on every file of the walk, sorted by path."""
    used = _used(layout)
    lines = []
    for folder in sorted(tree.files):
        inside = next((used[up] for up in (folder, *folder.parents) if up in used), None)
        images = set(tree.nifti(folder))
        dicom = inside is None and holds_dicom(tree, folder)
        for path in tree.files[folder]:
            if path in used:
                lines.append(used[path])
            elif inside and path not in images and not _type_of(path):
                lines.append(Seen(path, inside.use, inside.why))
            else:
                lines.append(_rest(path, path in images, dicom, layout.kind))
    return tuple(lines)


def _used(layout: Layout) -> dict[Path, Seen]:
    """Files, and folders of DICOM series, that are something."""
    used = {path: Seen(path, "list", "names and pairs") for path in layout.lists}
    for problem in layout.problems:
        if isinstance(problem, FileProblem):
            used |= {path: Seen(path, "refused", problem.what) for path in problem.files}
    used |= {path: Seen(path, "unused", why) for path, why in layout.left_out.items()}
    for path, case in layout.further.items():
        used[path] = Seen(path, "channel", f"further channel of {case}")
    for pair in layout.pairs:
        images: dict[Path, Use] = dict.fromkeys(pair.slices or [pair.image], "scan")
        images |= dict.fromkeys([pair.mask] if pair.mask else pair.parts.values(), "mask")
        for path, use in images.items():
            used[path] = Seen(path, use, pair.case)
            if path.name.lower().endswith((".hdr", ".hdr.gz", ".nhdr", ".mhd")):
                used |= {twin: Seen(twin, use, pair.case) for twin in _twins(path)}
    return used


def _twins(path: Path) -> list[Path]:
    try:
        return files_of(path)
    except FewmaskError:  # told when the case is read
        return []


def _rest(path: Path, image: bool, dicom: bool, kind: str) -> Seen:
    """A file that no pair holds."""
    if image:
        why = f"neither scan nor mask by its name and folder, in the layout {kind!r}"
        return Seen(path, "unused", why)
    if what := _type_of(path):
        return Seen(path, "unused", f"{what} of a type that is not read: {_WAYS_OUT[what]}")
    if dicom and may_be_dicom(path):
        return Seen(path, "unused", _DICOM)
    return Seen(path, "other", "no image")


def _type_of(path: Path) -> str:
    name = path.name.lower()
    return next((_UNREAD[ending] for ending in _UNREAD if name.endswith(ending)), "")


def account_notes(files: Iterable[Seen], root: Path) -> tuple[list[str], list[FewmaskError]]:
    """Notes on images that nothing is made of, a line per reason; and as problems masks of a type
    that is not read, which a person drew and would miss.
    """
    groups: dict[str, list[Path]] = defaultdict(list)
    masks: dict[str, list[Path]] = defaultdict(list)
    for seen in files:
        if seen.use == "unused" and not seen.why.startswith(LEFT_OUT):  # told by series
            volume = seen.why.startswith("volume") and _is_mask(seen.path, root)
            path = seen.path.parent if seen.why == _DICOM else seen.path
            (masks if volume else groups)[seen.why].append(path)
    notes = [f"seen and not used: {_shown(paths, root)} ({why})" for why, paths in groups.items()]
    problems: list[FewmaskError] = [
        MaskProblem(
            f"{count(len(paths), 'mask')} of a type that is not read",
            where=[printable(path.relative_to(root)) for path in paths[:20]],
            did="they were left out",
            fix=why.partition(": ")[2],
            code="M15",
        )
        for why, paths in masks.items()
    ]
    return notes, problems


def _is_mask(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    bare = Path(path.name.rpartition(".")[0])
    return looks_like_mask(bare) or any(part.casefold() in MASK_FOLDERS for part in parts[:-1])


def _shown(paths: Sequence[Path], root: Path) -> str:
    paths = list(dict.fromkeys(paths))
    names = [printable(path.relative_to(root)) + "/" * path.is_dir() for path in paths[:_SHOWN]]
    return ", ".join(names) + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")


def count_uses(files: Iterable[Seen]) -> Mapping[Use, int]:
    """How many files there are of each use."""
    counts: dict[Use, int] = {}
    for seen in files:
        counts[seen.use] = counts.get(seen.use, 0) + 1
    return counts


def ways_out(endings: Iterable[str]) -> list[str]:
    """What to do with files of these endings, a line per kind."""
    ways: dict[str, list[str]] = {}
    for ending in endings:
        ways.setdefault(_WAYS_OUT[_UNREAD[ending]], []).append(ending)
    return [f"{', '.join(found)}: {way}" for way, found in ways.items()]


def unread_endings(files: Iterable[Path]) -> list[str]:
    """Endings of images among these that are not read, sorted."""
    names = [path.name.lower() for path in files]
    return sorted({ending for ending in _UNREAD for name in names if name.endswith(ending)})
