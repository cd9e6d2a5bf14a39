"""Names of structures that lie beside the voxels: in the masks themselves, or in a label
description of ITK-SNAP.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fewmask.core.errors import FewmaskError
from fewmask.io.image import read_names
from fewmask.io.segments import names_of
from fewmask.io.snap import is_snap, read_snap
from fewmask.prepare.folder import FolderTree


def names_in(tree: FolderTree, masks: Iterable[Path]) -> dict[str, int]:
    """Structure name -> value, the first one said. What cannot be read says nothing here: it is
    refused when its case is read.
    """
    names = described(tree.below(tree.root))
    for mask in masks:
        with suppress(FewmaskError):
            names = {**read_names(mask), **names}
    return names


def described(paths: Iterable[Path]) -> dict[str, int]:
    """Structure name -> value of the label descriptions among these files, the first one said."""
    names: dict[str, int] = {}
    for path in paths:
        with suppress(FewmaskError):
            if is_snap(path):
                names = {**names_of(read_snap(path)), **names}
    return names
