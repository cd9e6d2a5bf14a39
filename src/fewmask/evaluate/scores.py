"""The metric contract (docs/metrics.md): the unit is the volume; empties are counted, never
averaged away.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from jaxtyping import Bool, Integer

from fewmask.core.errors import BadDataset, BadScan
from fewmask.evaluate.surfaces import surface_distances, union_box
from fewmask.io.tables import read_csv
from fewmask.io.text import expecting

Status = Literal["ok", "both_empty", "missed", "spurious"]
NSD_TOLERANCE_MM = 2.0


@dataclass(frozen=True)
class CaseScore:
    """Scores of one structure in one volume; NaN where a number has no meaning (both empty)."""

    case: str
    label: str
    """Class name."""
    dice: float
    nsd: float
    nsd_tolerance_mm: float
    hd95_mm: float
    hd_mm: float
    assd_mm: float
    volume_error_ml: float
    """Prediction minus truth."""
    pred_ml: float
    truth_ml: float
    status: Status
    prompts: str = "automatic"
    """`automatic`; `tags` where a person's tags of this scan told the network what slices hold;
    `oracle-box` for the upper bound.
    """


COLUMNS = [
    "case",
    "class",
    *[name for name in CaseScore.__dataclass_fields__ if name not in ("case", "label")],
]
"""Columns of metrics.csv."""


def score_case(
    case: str,
    pred: Integer[np.ndarray, "d h w"],
    truth: Integer[np.ndarray, "d2 h2 w2"],
    spacing_mm: tuple[float, float, float],
    classes: Sequence[str],
    *,
    nsd_tolerance_mm: float = NSD_TOLERANCE_MM,
    prompts: str = "automatic",
) -> list[CaseScore]:
    """One score per class; class index = position + 1. Raises `BadScan` if the shapes differ."""
    if pred.shape != truth.shape:
        raise BadScan(
            f"{case}: prediction is {pred.shape}, truth {truth.shape} in (d, h, w)",
            fix="score masks on one grid",
            code="M01",
        )
    voxel_ml = math.prod(spacing_mm) / 1000
    diagonal_mm = math.sqrt(sum((n * s) ** 2 for n, s in zip(pred.shape, spacing_mm, strict=True)))
    both = union_box(pred, truth)
    pred, truth = pred[both], truth[both]
    scores = []
    for index, name in enumerate(classes, 1):
        pred_mask, truth_mask = pred == index, truth == index
        agreement = _compare(pred_mask, truth_mask, spacing_mm, nsd_tolerance_mm, diagonal_mm)
        pred_ml = float(np.count_nonzero(pred_mask)) * voxel_ml
        truth_ml = float(np.count_nonzero(truth_mask)) * voxel_ml
        scores.append(
            CaseScore(
                case=case,
                label=name,
                dice=agreement.dice,
                nsd=agreement.nsd,
                nsd_tolerance_mm=nsd_tolerance_mm,
                hd95_mm=agreement.hd95_mm,
                hd_mm=agreement.hd_mm,
                assd_mm=agreement.assd_mm,
                volume_error_ml=pred_ml - truth_ml,
                pred_ml=pred_ml,
                truth_ml=truth_ml,
                status=agreement.status,
                prompts=prompts,
            )
        )
    return scores


def dice_of(pred: Bool[np.ndarray, "*grid"], truth: Bool[np.ndarray, "*grid"]) -> float:
    """2 |A and B| / (|A| + |B|); NaN if both are empty."""
    total = int(np.count_nonzero(pred)) + int(np.count_nonzero(truth))
    return 2 * int(np.count_nonzero(pred & truth)) / total if total else math.nan


def as_row(score: CaseScore) -> dict[str, Any]:
    """A line of metrics.csv; numbers are written in full."""
    record = asdict(score)
    return {"class": record.pop("label"), **record}


class Unfit(ValueError):
    """A field that holds what it cannot: `slices`, got '-3', wanted a number from 0 on."""

    def __init__(self, name: str, text: str, wanted: str) -> None:
        super().__init__(f"{name} is {text!r}, wanted {wanted}")
        self.got, self.wanted = f"{name} {text!r}", wanted


def read_number(name: str, text: str, highest: float = math.inf) -> float:
    """A number from 0 to `highest`, or NaN; the field is called `name` if it is `Unfit`."""
    try:
        value = float(text)
    except ValueError as error:
        raise Unfit(name, text, numbers_to(highest)) from error
    if value < 0 or value > highest:
        raise Unfit(name, text, numbers_to(highest))
    return value


def numbers_to(highest: float | None) -> str:
    """What is wanted where numbers from 0 to `highest` are; None: any number."""
    if highest is None:
        return "a number"
    return "a number from 0 on" if highest == math.inf else f"a number from 0 to {highest:g}"


def read_status(text: str) -> Status:
    """One of the words that say how a structure was found."""
    if text not in get_args(Status):
        raise Unfit("status", text, " or ".join(get_args(Status)))
    return cast(Status, text)


def from_row(row: Mapping[str, str]) -> CaseScore:
    """The inverse of `as_row`, from texts. Raises `ValueError` for what is no
    number, or none that it can be.
    """
    return CaseScore(
        case=row["case"],
        label=row["class"],
        dice=read_number("dice", row["dice"], 1.0),
        nsd=read_number("nsd", row["nsd"], 1.0),
        nsd_tolerance_mm=read_number("nsd_tolerance_mm", row["nsd_tolerance_mm"]),
        hd95_mm=read_number("hd95_mm", row["hd95_mm"]),
        hd_mm=read_number("hd_mm", row["hd_mm"]),
        assd_mm=read_number("assd_mm", row["assd_mm"]),
        volume_error_ml=float(row["volume_error_ml"]),
        pred_ml=read_number("pred_ml", row["pred_ml"]),
        truth_ml=read_number("truth_ml", row["truth_ml"]),
        status=read_status(row["status"]),
        prompts=row["prompts"],
    )


def read_scores(path: Path) -> list[CaseScore]:
    """The table that `as_row` fills; nothing where there is none yet. Raises `BadDataset` for lines
    that are no scores.
    """
    if not path.exists():
        return []
    lines = read_csv(path, COLUMNS)
    with expecting(path, kind=BadDataset, fix="remove it and score again"):
        return [from_row(line) for line in lines]


@dataclass(frozen=True)
class _Agreement:
    """How far two masks of one structure agree."""

    status: Status
    dice: float
    nsd: float
    hd95_mm: float
    hd_mm: float
    assd_mm: float


def _compare(
    pred: Bool[np.ndarray, "d h w"],
    truth: Bool[np.ndarray, "d h w"],
    spacing_mm: tuple[float, float, float],
    tolerance_mm: float,
    diagonal_mm: float,
) -> _Agreement:
    """A missed or spurious structure has Dice 0, NSD 0 and the whole image's diagonal as
    distance.
    """
    if not pred.any() and not truth.any():
        return _Agreement("both_empty", math.nan, math.nan, math.nan, math.nan, math.nan)
    if not pred.any() or not truth.any():
        status: Status = "spurious" if pred.any() else "missed"
        return _Agreement(status, 0.0, 0.0, diagonal_mm, diagonal_mm, diagonal_mm)
    distances = surface_distances(pred, truth, spacing_mm)
    return _Agreement(
        status="ok",
        dice=dice_of(pred, truth),
        nsd=distances.nsd(tolerance_mm),
        hd95_mm=distances.hd95_mm,
        hd_mm=distances.hd_mm,
        assd_mm=distances.assd_mm,
    )
