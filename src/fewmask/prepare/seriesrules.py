"""Which series of a PACS export are scans to learn from: scouts, reports, pictures and the like are
left out, each by a rule that can be told.
"""

import re
from collections.abc import Sequence

import numpy as np

from fewmask.io.dicom import Series
from fewmask.io.instance import Instance

_SCOUT = re.compile(
    r"\b(scouts?|locali[sz]ers?|topograms?|surview|scanogram|scano|pilot|3[- ]?plane)\b", re.I
)
_REPORT = re.compile(r"\b(dose (report|info\w*|record)|patient protocol|exam protocol)\b", re.I)
_PICTURE = re.compile(r"secondary capture|screen|dose", re.I)
_SCANS = ("CT", "MR", "")
"""Modalities that are scans here; de-identified files may name none."""
_FEW, _FEWER = 3, 4


def why_left_out(series: Series, beside: Sequence[Series] = ()) -> str:
    """Why the series is no scan to learn from, or an empty string. `beside` are the patient's
    other series: a series of a few slices is left out only where another one is much longer.
    """
    first = series.instances[0]
    image_type = [part.casefold() for part in _parts(first, "ImageType")]
    words = series.description.replace("_", " ")
    directions = {
        tuple(np.round(one.numbers("ImageOrientationPatient"), 1) + 0.0) for one in series.instances
    }
    longest = max((other.count for other in beside), default=0)
    if series.is_no_scan:
        return f"no scan ({series.modality or first.kind or 'no image'})"
    if "localizer" in image_type or _SCOUT.search(words):
        return "a scout"
    if _REPORT.search(words) or _is_picture(first, image_type):
        return "a picture or report, no scan"
    if series.modality not in _SCANS:
        return f"neither CT nor MR ({series.modality})"
    if len(directions) > 1:
        return "planes in several directions, as in a scout"
    if series.count <= _FEW and longest >= _FEWER * series.count:
        return f"{_FEW} slices or fewer, beside a series much longer"
    return ""


def is_certain(why: str) -> bool:
    """Does the reason hold also where the series is the only one in its folder?"""
    return why.startswith(("no scan", "a scout", "a picture"))


def _parts(instance: Instance, name: str) -> list[str]:
    """The texts of a tag that holds several."""
    value = instance.values.get(name)
    return [] if value is None else [value] if isinstance(value, str) else [str(v) for v in value]


def _is_picture(first: Instance, image_type: Sequence[str]) -> bool:
    """A screen shot, a page of a report or another picture."""
    return (
        first.number("SamplesPerPixel", 1.0) > 1
        or "Secondary Capture" in first.kind
        or any(_PICTURE.search(part) for part in image_type)
    )
