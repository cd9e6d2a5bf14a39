"""What every layout looks at: the files of a folder, and what a person said of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fewmask.core.errors import FewmaskError
from fewmask.io.dicom import is_dicom_folder
from fewmask.prepare.folder import FolderTree
from fewmask.prepare.names import looks_like_mask

IMAGE_FOLDERS = (
    "images",
    "imagestr",
    "image",
    "img",
    "imgs",
    "scans",
    "volumes",
)
MASK_FOLDERS = (
    "labels",
    "labelstr",
    "label",
    "masks",
    "mask",
    "segmentations",
    "segmentation",
    "segs",
    "seg",
    "gt",
    "groundtruth",
    "annotations",
)
_OTHERS = (
    *(".json", ".csv", ".tsv", ".txt", ".md", ".toml", ".xml", ".pdf", ".bval", ".bvec", ".cfg"),
    *(".png", ".jpg", ".zip", ".h5", ".npz", ".npy", ".py", ".nrrd", ".mha", ".mhd", ".img"),
)
"""Endings of files that are no DICOM slices, so that nobody looks into them."""


@dataclass
class Search:
    """A folder on the way to becoming a layout."""

    tree: FolderTree
    top: Path
    """Where scans begin: the folder itself, or the only folder in it that holds images."""
    channel: str | None = None
    """Which of several channels a person wants."""
    channels: bool = True
    """Scans may have several; label maps have not, whatever their names end in."""
    problems: list[FewmaskError] = field(default_factory=list)

    def folders(self, names: Sequence[str]) -> list[Path]:
        """Direct sub-folders of these names, in whatever letters."""
        return [path for path in self.tree.folders(self.top) if path.name.casefold() in names]

    def below(self, folder: Path) -> Iterator[Path]:
        """Image files in `folder` and its sub-folders."""
        for path in self.tree.files:
            if path.is_relative_to(folder):
                yield from self.tree.nifti(path)


def may_be_dicom(path: Path) -> bool:
    """Does the file's ending allow it?"""
    return not path.name.lower().endswith(_OTHERS)


def holds_dicom(tree: FolderTree, folder: Path) -> bool:
    """Are there DICOM files in the folder itself? Looked at only where a file may be one."""
    images = set(tree.nifti(folder))
    odd = any(path not in images and may_be_dicom(path) for path in tree.files[folder])
    return odd and is_dicom_folder(folder, deep=False)


def holds_dicom_below(tree: FolderTree, folder: Path) -> bool:
    """Are there DICOM files in the folder or below it?"""
    return holds_dicom(tree, folder) or any(
        holds_dicom_below(tree, inner) for inner in tree.folders(folder)
    )


def by_role(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Scans and masks by their names. Where every name is that of a mask, none of them is one."""
    masks = [path for path in files if looks_like_mask(path)]
    if len(masks) == len(files):
        return list(files), []
    return [path for path in files if path not in set(masks)], masks
