"""Which slices to outline next, of scans that are open on the bench."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int8

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


def suggest(bench: Bench, n: int) -> dict[str, Any]:
    """Up to n slices with the reason in words, for the page. Scans that were not read yet, are
    refused or accepted have none.
    """
    open_cases = [
        case
        for case in bench.pairs
        if bench.voxels.known(case) is not None and bench.tables.accepted(case) is None
    ]
    seed = sum(len(bench.outlines.outlined(case)) for case in open_cases)
    views = [_view(bench, case) for case in open_cases]
    chosen = choose(views, bench.classes, n, DEFAULT_RULE, seed) if views else []
    return {
        "rule": RULE_WORDS[DEFAULT_RULE],
        "suggestions": [
            {
                "id": key_of(one.case),
                "d": one.d,
                "shown": one.slice + bench.folder.slices_from,
                "reason": one.reason,
            }
            for one in chosen
        ],
    }


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
