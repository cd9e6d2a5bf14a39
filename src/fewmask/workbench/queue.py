"""What the page says of each scan: state, quality as it is guessed, and the reason to look."""

from contextlib import suppress
from typing import Any

import numpy as np

from fewmask.core.errors import FewmaskError
from fewmask.workbench.bench import Bench
from fewmask.workbench.predicted import number_in
from fewmask.workbench.tables import in_frame
from fewmask.workbench.voxels import ScanInfo, explain

BURNED = "text is burned into the pixels and may name a person"
_LEADS = {"axial": "SPL", "sagittal": "LIP", "coronal": "PIL"}
"""Where d, h and w lead in each plane."""
_BACK = dict(zip("RLAPSI", "LRPAIS", strict=True))
_CT = (
    {"name": "soft tissue", "low": -160, "high": 240},
    {"name": "lung", "low": -1350, "high": 150},
    {"name": "bone", "low": -450, "high": 1050},
    {"name": "brain", "low": 0, "high": 80},
)


def case_row(bench: Bench, key: str) -> dict[str, Any]:
    """A line of the queue. No scan is read for it."""
    case = bench.case(key)
    info, refused = bench.voxels.known(case), bench.voxels.refusal(case)
    reasons: list[str] = []
    slices: dict[int, str] = {}
    if info is not None and bench.outlines.is_open(case):
        try:
            slices = dict(bench.outlines.outlined(case))
        except FewmaskError as error:
            refused = error
    drawn = sum(state == "outlined" for state in slices.values())
    empty = len(slices) - drawn
    if not bench.outlines.is_open(case):
        drawn = len(bench.tables.reviewed(case))  # until its label file was opened
    number = shown_round(bench, case)
    quality, note = _quality(bench, case, number)
    accepted = bench.tables.accepted(case)
    tags = tags_of(bench, case, info) if info is not None else {}
    state = _state(bench, case, number, bool(drawn or empty or bench.tables.tags(case)))
    if refused is not None:
        state = "refused"
        reasons.append(explain(refused))
    reasons += bench.quarrels(case)
    if info is not None and info.burned_in:
        reasons.append(BURNED)
    if case in bench.brought.why_not:
        reasons.append(f"its mask was not taken over: {bench.brought.why_not[case]}")
    if note:
        reasons.append(note)
    return {
        "id": key,
        "name": case,
        "state": state,
        "reason": "; ".join(reasons),
        "shape": None if info is None else info.shape,
        "spacing_mm": None if info is None else info.spacing_mm,
        "flipped": info is not None and info.flipped,
        "outlined": drawn,
        "empty": empty,
        "tags": tags,
        "tags_revision": bench.tables.tags_revision(case),
        "quality": quality,
        "quality_note": note,
        "volume_ml": _volumes(bench, case, number),
        "round": number,
        "accepted": accepted is not None,
    }


def case_page(bench: Bench, key: str) -> dict[str, Any]:
    """All that the slice editor needs to begin with. Reads the scan where it never was; raises
    `FewmaskError` for one that cannot be.
    """
    case = bench.case(key)
    info = bench.voxels.info(case)
    slices = bench.outlines.outlined(case)
    return {
        **case_row(bench, key),
        "scale": info.scale,
        "offset": info.offset,
        "percentiles": info.percentiles,
        "presets": presets(info),
        "edges": edges(info),
        "slices": slices,
        "revisions": bench.outlines.revisions(case),
        "extents": extents(bench, case),
    }


def extents(bench: Bench, case: str) -> dict[str, list[int]]:
    """Structure -> first and last d of the mask that the page shows; those that it lacks are not
    named.
    """
    number = shown_round(bench, case)
    if number is None:
        return {}
    drawn = bench.predicted.areas(case, number, len(bench.classes)) > 0
    held = {name: np.flatnonzero(drawn[:, k]) for k, name in enumerate(bench.classes)}
    return {name: [int(d[0]), int(d[-1])] for name, d in held.items() if len(d)}


def shown_round(bench: Bench, case: str) -> int | None:
    """The round whose mask of a case is shown: the accepted one, else the default."""
    for number in (bench.tables.accepted(case), bench.predicted.default()):
        if bench.predicted.has(case, number):
            return number
    return None


def tags_of(bench: Bench, case: str, info: ScanInfo) -> dict[str, Any]:
    """Structure -> [first d, last d] (null while nobody said it) or `absent`."""
    tags = {name: in_frame(tag, info) for name, tag in bench.tables.tags(case).items()}
    return {name: "absent" if tag is None else list(tag) for name, tag in tags.items()}


def presets(info: ScanInfo) -> list[dict[str, Any]]:
    """Windows of grey levels: of CT in HU, of MR from the scan's own percentiles."""
    if info.ct:
        return [dict(one) for one in _CT]
    low, middle, high = info.percentiles
    return [
        {"name": "all", "low": low, "high": high},
        {"name": "bright", "low": middle, "high": high + (high - middle) / 2},
        {"name": "dark", "low": low, "high": (middle + high) / 2},
    ]


def edges(info: ScanInfo) -> dict[str, list[str]]:
    """What is at left, right, top and bottom of the pictures across each axis."""
    d, h, w = tuple(_LEADS[info.grid.plane])
    return {
        "0": [_BACK[w], w, _BACK[h], h],
        "1": [_BACK[w], w, d, _BACK[d]],
        "2": [_BACK[h], h, d, _BACK[d]],
    }


def _state(bench: Bench, case: str, number: int | None, begun: bool) -> str:
    if bench.tables.accepted(case) is not None:
        return "accepted"
    if number is not None:
        with suppress(OSError):
            later = bench.outlines.changed_at(case) > bench.predicted.drawn_at(case, number)
            return "corrected" if later and begun else "predicted"
    return "partly" if begun else "untouched"


def _quality(bench: Bench, case: str, number: int | None) -> tuple[dict[str, Any] | None, str]:
    if number is None:
        return None, ""
    rows = bench.predicted.quality(case, number)
    found: dict[str, Any] = {"mean": None}
    for name, row in rows.items():
        numbers = {column: number_in(row, column) for column in ("dice", "low", "high")}
        if None not in numbers.values():
            found[name] = numbers
    named = [rows["mean"]] if "mean" in rows else rows.values()  # its line holds all reasons
    notes = dict.fromkeys(row["reasons"] for row in named if row["reasons"])
    return found, "; ".join(notes)


def _volumes(bench: Bench, case: str, number: int | None) -> dict[str, float] | None:
    rows = {} if number is None else bench.predicted.volumes(case, number)
    found = {name: number_in(row, "ml") for name, row in rows.items()}
    return {name: ml for name, ml in found.items() if ml is not None} or None
