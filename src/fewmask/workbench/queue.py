"""What the page says of each scan: state, quality as it is guessed, and the reason to look."""

from contextlib import suppress
from typing import Any

from fewmask.core.errors import FewmaskError
from fewmask.prepare.tags import outside
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
    reasons += quarrels(bench, case)
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
    }


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


def quarrels(bench: Bench, case: str) -> list[str]:
    """Sentences about outlines that tags deny: `prepare` refuses such a table."""
    info = bench.voxels.known(case)
    if info is None or not bench.outlines.is_open(case):
        return []
    found = []
    with suppress(FewmaskError):
        drawn = bench.outlines.structures(case)
        for number, name in enumerate(bench.classes, start=1):
            slices = [d for d, numbers in drawn.items() if number in numbers]
            tags = bench.tables.tags(case)
            if name not in tags or not slices:
                continue
            tag = in_frame(tags[name], info)
            low, high = (None, None) if tag is None else tag
            stray = [
                d
                for d in slices
                if tag is None or d < (low or 0) or (high is not None and d > high)
            ]
            if stray:
                shown = outside(stray[0], info.shape[0], info.flipped, bench.folder.slices_from)
                why = "which its tag says is not in this scan" if tag is None else "outside its tag"
                found.append(f"{name} is outlined in slice {shown}, {why}")
    return found


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
    if not rows:
        return None, ""
    found: dict[str, Any] = {"mean": None}
    for name, row in rows.items():
        dice = number_in(row, "dice")
        if dice is not None:
            ends = {end: number_in(row, end) for end in ("low", "high")}
            found[name] = {"dice": dice, **ends}
    notes = dict.fromkeys(row["reasons"] for row in rows.values() if row["reasons"])
    return found, "; ".join(notes)


def _volumes(bench: Bench, case: str, number: int | None) -> dict[str, float] | None:
    rows = {} if number is None else bench.predicted.volumes(case, number)
    found = {name: number_in(row, "ml") for name, row in rows.items()}
    return {name: ml for name, ml in found.items() if ml is not None} or None
