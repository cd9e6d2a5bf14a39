"""Which slices to outline next, of scans that are open on the bench."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int8

from fewmask.prepare.tags import outside
from fewmask.quality.next import DEFAULT_RULE, CaseView, choose
from fewmask.workbench.bench import Bench
from fewmask.workbench.folder import key_of
from fewmask.workbench.queue import shown_round
from fewmask.workbench.tables import Tag, in_frame
from fewmask.workbench.voxels import ScanInfo

RULE_WORDS = {
    "random": "drawn at random where a structure is likely; scans with the fewest outlines first",
    "spread": "evenly spaced along each structure",
    "entropy": "where the network is least sure",
    "mixed": "where the network is unsure, far from what is outlined",
}


_ASKED = 2
"""Scans whose ends are asked for beside slices to outline."""


def suggest(bench: Bench, n: int) -> dict[str, Any]:
    """Up to n things to do next, with the reason in words, for the page. Scans that were not read
    yet, are refused or accepted have none.

    `kind` is `tags` for a scan where a person is to say where structures begin and end, which costs
    seconds, and `slice` for one to outline. Slices are of structures of which a tag or a mask says
    where they are; while nothing does, all n are tags.
    """
    open_cases = [
        case
        for case in bench.pairs
        if bench.voxels.known(case) is not None and bench.tables.accepted(case) is None
    ]
    views = [_view(bench, case) for case in open_cases]
    # A scan of one slice has no ends to tell: its slice is as good as any.
    found = [
        k
        for k in range(len(bench.classes))
        if any(_is_found(view, k) or view.depth == 1 for view in views)
    ]
    asked = _ask(bench, views)[: _ASKED if found else n]
    left = n - len(asked)
    seed = sum(len(bench.outlines.outlined(case)) for case in open_cases)
    names = [bench.classes[k] for k in found]
    chosen = (
        choose([_of(view, found) for view in views], names, left, DEFAULT_RULE, seed)
        if (found and left)
        else []
    )
    slices = [
        {
            "id": key_of(one.case),
            "kind": "slice",
            "d": one.d,
            "shown": one.slice + bench.folder.slices_from,
            "reason": one.reason,
        }
        for one in chosen
    ]
    return {"rule": RULE_WORDS[DEFAULT_RULE] if slices else None, "suggestions": [*asked, *slices]}


def _ask(bench: Bench, views: Sequence[CaseView]) -> list[dict[str, Any]]:
    """Scans in which nobody and nothing says where some structure is: those begun first, then in
    the order of the folder.
    """
    asked = []
    for view in views:
        lacking = [
            name
            for k, name in enumerate(bench.classes)
            if view.depth > 1 and (view.tags[:, k] < 0).any() and not _is_drawn(view, k)
        ]
        if lacking:
            middle = view.depth // 2
            shown = outside(middle, view.depth, view.flipped, bench.folder.slices_from)
            reason = f"tell the first and the last slice of {' and '.join(lacking)}"
            one = {"id": key_of(view.case), "kind": "tags", "d": middle, "shown": shown}
            asked.append((bool(bench.tables.tags(view.case)), {**one, "reason": reason}))
    return [one for _, one in sorted(asked, key=lambda pair: not pair[0])]


def _is_found(view: CaseView, k: int) -> bool:
    return bool((view.tags[:, k] == 1).any()) or _is_drawn(view, k)


def _is_drawn(view: CaseView, k: int) -> bool:
    return view.area_mm2 is not None and bool(view.area_mm2[:, k].any())


def _of(view: CaseView, structures: list[int]) -> CaseView:
    """The same scan, as if there were these structures alone."""
    area = None if view.area_mm2 is None else view.area_mm2[:, structures]
    return replace(view, tags=view.tags[:, structures], area_mm2=area)


def _view(bench: Bench, case: str) -> CaseView:
    info = bench.voxels.info(case)
    number = shown_round(bench, case)
    return CaseView(
        case,
        bench.pairs[case].patient or case,
        _tags(bench, case, info),
        frozenset(bench.outlines.outlined(case)),
        None if number is None else _areas(bench, case, number, info),
        None,
        info.flipped,
        info.grid.plane,
    )


def _tags(bench: Bench, case: str, info: ScanInfo) -> Int8[np.ndarray, "d k"]:
    said = bench.tables.tags(case)
    tags = np.full((info.shape[0], len(bench.classes)), -1, np.int8)
    for k, name in enumerate(bench.classes):
        if name in said:
            tags[:, k] = _column(in_frame(said[name], info), info.shape[0])
    return tags


def _column(tag: Tag, depth: int) -> Int8[np.ndarray, " d"]:
    """1 between both ends, 0 beyond an end that was said, -1 where nobody knows."""
    if tag is None:
        return np.zeros(depth, np.int8)
    first, last = tag
    column = np.full(depth, 1 if first is not None and last is not None else -1, np.int8)
    if first is not None:
        column[:first] = 0
    if last is not None:
        column[last + 1 :] = 0
    return column


def _areas(bench: Bench, case: str, number: int, info: ScanInfo) -> Float[np.ndarray, "d k"]:
    """Of the mask that the page shows; counted once a mask, since it is read slice by slice."""
    return bench.predicted.areas(case, number, len(bench.classes)) * float(
        info.spacing_mm[1] * info.spacing_mm[2]
    )
