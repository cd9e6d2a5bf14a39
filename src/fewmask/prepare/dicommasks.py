"""Masks that come with DICOM scans: a SEG or RTSTRUCT that refers to the series, series of label
images in a folder of masks, or image files in the folder of the scan.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from fewmask.core.errors import FewmaskError
from fewmask.core.words import count
from fewmask.io.dicom import is_dicom_folder
from fewmask.io.dicommask import MaskObject, is_dicom_mask, open_mask
from fewmask.io.image import is_image
from fewmask.io.instance import is_dicom, read_instance
from fewmask.prepare.layout import FileProblem, MaskProblem, Pair
from fewmask.prepare.names import stem

if TYPE_CHECKING:
    from fewmask.prepare.folder import FolderTree

_MASK_WORDS = re.compile(
    r"(?:^|[-_. ])(masks?|labels?|segs?|segmentations?|rois?|gt|ground_?truth)(?:$|[-_. ])", re.I
)
_PROBED, _STANDS_OUT = 20, 0.2


@dataclass(frozen=True)
class Beside:
    """What lies with one DICOM scan."""

    image: Path
    """The folder of the scan alone."""
    mask: Path | None = None
    parts: dict[str, Path] = field(default_factory=dict)
    """One mask per structure, by its name."""
    problem: FewmaskError | None = None


def add_masks(
    tree: "FolderTree",
    pairs: Sequence[Pair],
    problems: list[FewmaskError],
    left_out: Iterable[Path] = (),
) -> tuple[Pair, ...]:
    """Pairs whose scan is a DICOM folder, with the masks that lie with it. Masks that refer to a
    series that is not here, not even among the files `left_out`, become a problem.
    """
    files = tree.files
    if all(pair.has_mask or pair.image not in files for pair in pairs):
        return tuple(pairs)
    objects = find_objects(files)
    found = []
    for pair in pairs:
        if not pair.has_mask and pair.image in files:
            beside = _beside_slices(pair, files, objects) if pair.slices else None
            beside = beside or find_beside(pair.image, files, objects)
            pair = replace(pair, image=beside.image, mask=beside.mask, parts=beside.parts)
            if beside.problem is not None:
                problems.append(beside.problem)
        found.append(pair)
    if lost := _lost(tree, found, objects, problems, left_out):
        shown = [path.relative_to(tree.root).as_posix() for path in lost]
        problems.append(_of_no_scan(lost, shown, [one.case for one in found if not one.has_mask]))
    return tuple(found)


def _lost(
    tree: "FolderTree",
    pairs: Sequence[Pair],
    objects: Sequence[MaskObject],
    problems: Sequence[FewmaskError],
    left_out: Iterable[Path],
) -> list[Path]:
    """Masks that are used nowhere, and whose series is no series of the folder."""
    told = {path for pair in pairs for path in (pair.mask, *pair.parts.values())}
    told |= {path for one in problems if isinstance(one, FileProblem) for path in one.files}
    free = [one for one in objects if one.path not in told and one.series]
    if not free:
        return []
    here = _series_of(tree.root, tree.files)
    for path in (*(pair.slices[0] for pair in pairs if pair.slices), *left_out):
        here.add(_uid(path))
    return [one.path for one in free if not one.series & here]


def _of_no_scan(lost: Sequence[Path], shown: Sequence[str], unmasked: Sequence[str]) -> MaskProblem:
    of = f"; scans without a mask: {', '.join(unmasked[:5])}" if unmasked else ""
    return MaskProblem(
        f"{count(len(lost), 'DICOM mask refers', 'DICOM masks refer')} to a series that is not "
        "here",
        where=shown[:20],
        did=f"they were left out{of}",
        fix="add the scans that they were drawn on; if UIDs were changed since (de-identified), "
        "lay each series into images/CASE and its mask beside it as labels/CASE.dcm",
        code="M15",
        files=lost,
    )


def _uid(path: Path) -> str:
    """The series of a file; empty for one that cannot be read."""
    with suppress(FewmaskError):
        instance = read_instance(path)
        return instance.text("SeriesInstanceUID") if instance is not None else ""
    return ""


def find_beside(
    folder: Path, files: dict[Path, list[Path]], objects: Sequence[MaskObject]
) -> Beside:
    """The masks of the scan in `folder`. `files` are those of the walk, by folder; `objects` the
    SEG and RTSTRUCT objects in it.
    """
    image, series = _mask_series(folder, files)
    if series:
        return _choose(image, series)
    images = [path for inner in _below(folder, files) for path in files[inner] if is_image(path)]
    if images:
        return _choose(folder, images)
    own = _series_of(folder, files) if objects else set[str]()
    return _of_objects(folder, [one for one in objects if own & one.series])


def _beside_slices(
    pair: Pair, files: dict[Path, list[Path]], objects: Sequence[MaskObject]
) -> Beside:
    """The masks of one of several scans: what lies in the folder that it shares with no other, or
    what refers to its series.
    """
    own = {_uid(pair.slices[0])} - {""}
    found = Beside(pair.image)
    if pair.home is not None:
        inner = [path for path in _below(pair.home, files) if is_for_masks(path, pair.home)]
        masks = [path for path in inner if files[path] and is_dicom_folder(path, deep=False)]
        masks = sorted(path for path in masks if not masks_in(files[path]))
        images = [
            path for folder in _below(pair.home, files) for path in files[folder] if is_image(path)
        ]
        if masks or images:
            found = _choose(pair.image, masks or images)
    if found.mask is None and not found.parts and found.problem is None and own:
        found = _of_objects(pair.image, [one for one in objects if own & one.series])
    return found


def is_for_masks(folder: Path, home: Path) -> bool:
    """Is one of the folders from `home` to this one called after masks?"""
    return any(_MASK_WORDS.search(part) for part in folder.relative_to(home).parts)


def find_objects(files: dict[Path, list[Path]]) -> list[MaskObject]:
    """The SEG and RTSTRUCT objects of a walk. Of a folder of slices only files that stand out are
    looked at.
    """
    found = []
    for folder in sorted(files):
        for path in _odd(files[folder]):
            with suppress(FewmaskError):
                if is_dicom_mask(path):
                    found.append(open_mask(path))
    return found


def masks_in(files: Iterable[Path]) -> list[Path]:
    """The SEG and RTSTRUCT objects among the files of a folder, if it is one of such objects."""
    dicom = [path for path in files if path.name.lower().endswith(".dcm")]
    if not any(is_dicom_mask(path) for path in dicom[:3]):
        return []
    return [path for path in dicom if is_dicom_mask(path)]


def _odd(files: Sequence[Path]) -> list[Path]:
    """Files that may be no slices: in another size than most, or called otherwise."""
    dicom = [path for path in files if path.suffix.lower() in (".dcm", "") and not is_image(path)]
    if len(dicom) <= _PROBED:
        return dicom
    sizes = {path: path.stat().st_size for path in dicom}
    usual = median(sizes.values())
    starts: dict[str, int] = defaultdict(int)
    for path in dicom:
        starts[_start(path)] += 1
    odd = [path for path in dicom if starts[_start(path)] * 10 < len(dicom)]
    odd += [path for path in dicom if abs(sizes[path] - usual) > _STANDS_OUT * usual]
    return list(dict.fromkeys(odd))[:_PROBED]


def _start(path: Path) -> str:
    """The letters that a name begins with."""
    return re.match(r"[^\d.]*", path.name.casefold())[0]  # type: ignore[index]


def _below(folder: Path, files: dict[Path, list[Path]]) -> list[Path]:
    return [inner for inner in files if inner == folder or folder in inner.parents]


def _mask_series(folder: Path, files: dict[Path, list[Path]]) -> tuple[Path, list[Path]]:
    """The scan's own folder, and folders of label images, known by their names."""
    inner = [path for path in _below(folder, files) if path != folder]
    named = [
        path for path in inner if _MASK_WORDS.search("/".join(path.relative_to(folder).parts[:1]))
    ]
    masks = [path for path in named if files[path] and is_dicom_folder(path, deep=False)]
    masks = [path for path in masks if not masks_in(files[path])]
    if not masks:
        return folder, []
    rest = [path for path in [folder, *inner] if path not in named]
    scans = [path for path in rest if files[path] and is_dicom_folder(path, deep=False)]
    return (scans[0], sorted(masks)) if len(scans) == 1 else (folder, [])


def _choose(image: Path, found: Sequence[Path]) -> Beside:
    """One mask; or one per structure, under what is left of its name without words such as mask."""
    names = {path: _structure(path) for path in found}
    if len(found) == 1 and not names[found[0]]:
        return Beside(image, found[0])
    if len(found) == 1 and is_image(found[0]):
        return Beside(image, found[0])
    parts = {name: path for path, name in names.items() if name}
    if len(parts) < len(found):
        return Beside(image, problem=_several([str(path) for path in found]))
    return Beside(image, parts=parts)


def _structure(path: Path) -> str:
    """`liver` of `liver_mask.nii.gz`; nothing of `mask`."""
    return _MASK_WORDS.sub("_", stem(path)).strip("-_. ")


def _series_of(folder: Path, files: dict[Path, list[Path]]) -> set[str]:
    """Series of the slices in a folder: those of the first slice of each folder."""
    found = set()
    for inner in _below(folder, files):
        for path in files[inner][:_PROBED]:
            with suppress(FewmaskError):
                instance = read_instance(path) if is_dicom(path) else None
                if instance is not None and instance.is_image and not is_dicom_mask(path):
                    found.add(instance.text("SeriesInstanceUID"))
                    break
    return found


def _of_objects(folder: Path, objects: Sequence[MaskObject]) -> Beside:
    """One SEG or RTSTRUCT; or several that hold one structure each."""
    if len(objects) == 1:
        return Beside(folder, objects[0].path)
    names = [segment.name for one in objects for segment in one.segments]
    if len(names) > len(objects) or len(set(names)) < len(names):
        return Beside(folder, problem=_several([str(one.path) for one in objects]))
    return Beside(folder, parts={one.segments[0].name: one.path for one in objects})


def _several(paths: Sequence[str]) -> MaskProblem:
    return MaskProblem(
        f"{len(paths)} masks of one scan, and it is not clear which one is meant",
        where=paths[:20],
        did="none of them was used",
        fix="leave one of them in the folder, or one per structure, called after it",
        code="M15",
        files=[Path(path) for path in paths],
    )
