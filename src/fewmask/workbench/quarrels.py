"""Outlines that a tag of the same person denies: `prepare` refuses such a table."""

from collections.abc import Collection, Mapping

from fewmask.prepare.tags import outside
from fewmask.workbench.tables import Tag, in_frame
from fewmask.workbench.voxels import ScanInfo


def find_quarrels(
    drawn: Mapping[int, Collection[int]],
    tags: Mapping[str, Tag],
    classes: tuple[str, ...],
    info: ScanInfo,
    slices_from: int,
) -> list[str]:
    """A sentence per structure of a scan that is outlined where its tag says that it is not.

    `drawn`: slice d -> numbers outlined in it; `tags` in the order of the file.
    """
    found = []
    for number, name in enumerate(classes, start=1):
        slices = [d for d, numbers in drawn.items() if number in numbers]
        stray = [d for d in slices if name in tags and _denies(in_frame(tags[name], info), d)]
        if stray:
            shown = outside(stray[0], info.shape[0], info.flipped, slices_from)
            absent = tags[name] is None
            why = "which its tag says is not in this scan" if absent else "outside its tag"
            found.append(f"{name} is outlined in slice {shown}, {why}")
    return found


def _denies(tag: Tag, d: int) -> bool:
    if tag is None:
        return True
    first, last = tag
    return (first is not None and d < first) or (last is not None and d > last)
