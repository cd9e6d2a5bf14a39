"""Masks that lie in a folder of their own, away from the scans."""

from dataclasses import replace
from pathlib import Path

from fewmask.core.errors import BadDataset
from fewmask.core.words import count
from fewmask.io.image import is_image
from fewmask.prepare.layout import Layout
from fewmask.prepare.lines import match_cases
from fewmask.prepare.mapping import IGNORE

_LISTED = 10


def take_outlines(layout: Layout, folder: Path | None) -> Layout:
    """The scans of `layout` with the masks of `folder`, one file per case and named after it,
    instead of all masks that lie beside them; None leaves all as it is.

    A scan without a file there has no mask: what lies beside it may number structures in another
    way, or be what nobody was to see. Nor does the data set's list say which voxels are `ignore`.
    Raises `BadDataset` where files mean no scan, or two of them the same.
    """
    if folder is None:
        return layout
    files = sorted(path for path in folder.iterdir() if path.is_file() and is_image(path))
    cases = [pair.case for pair in layout.pairs]
    meant = match_cases((path.name for path in files), cases)
    strange = [path.name for path in files if path.name not in meant]
    twice = sorted({case for case in meant.values() if list(meant.values()).count(case) > 1})
    if strange or twice:
        raise BadDataset(
            f"{folder.name}: files that mean no scan, or two that mean one: "
            f"{count(len(strange) + len(twice), 'name')}",
            where=[str(folder), *strange[:_LISTED], *twice[:_LISTED]],
            did="nothing was written",
            fix="name each file after its scan's case, as `fewmask check` lists them",
            code="S04",
        )
    masks = {meant[path.name]: path for path in files}
    pairs = tuple(replace(pair, mask=masks.get(pair.case), parts={}) for pair in layout.pairs)
    notes = [f"masks of {count(len(masks), 'scan')} are those in {folder}"]
    left = sum(pair.has_mask for pair in layout.pairs if pair.case not in masks)
    if left:
        notes.append(f"masks beside {count(left, 'other scan')} were left out")
    names = {name: value for name, value in layout.names.items() if name.casefold() != IGNORE}
    return replace(layout, pairs=pairs, names=names, notes=(*layout.notes, *notes))
