"""DICOM objects that are masks: SEG, RTSTRUCT, or a series of label images; known by content."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from fewmask.core.volume import Grid, LabelMap
from fewmask.io.dicom import read_label_series
from fewmask.io.dicomseg import read_seg, seg_segments
from fewmask.io.instance import quiet, read_instance, refuse
from fewmask.io.rtstruct import read_struct, struct_segments
from fewmask.io.same_grid import lay_content
from fewmask.io.segments import Segment
from fewmask.io.stream import about, check_regular

_SEG = (b"1.2.840.10008.5.1.4.1.1.66.4", b"1.2.840.10008.5.1.4.1.1.66.7")
_STRUCT = (b"1.2.840.10008.5.1.4.1.1.481.3",)
_MAX_BYTES = 4 * 2**30


@dataclass(frozen=True)
class MaskObject:
    """What a SEG or RTSTRUCT says of itself."""

    path: Path
    segments: tuple[Segment, ...]
    series: frozenset[str]
    """The series of images that it was drawn on; empty if it does not say."""


def is_dicom_mask(path: Path) -> bool:
    """Is this file a DICOM SEG or RTSTRUCT, by its first bytes? False if it cannot be read."""
    return not path.name.startswith(".") and _is_one_of(path, (*_SEG, *_STRUCT))


def is_struct(path: Path) -> bool:
    """Is this file a DICOM RTSTRUCT, which holds contours and has no grid? As `is_dicom_mask`."""
    return _is_one_of(path, _STRUCT)


def _is_one_of(path: Path, uids: Sequence[bytes]) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError:
        return False
    return head[128:132] == b"DICM" and any(_is_class(head, uid) for uid in uids)


def _is_class(head: bytes, uid: bytes) -> bool:
    """Is this very UID in the file's meta information? One of even length has no padding."""
    at = head.find(uid)
    return (
        at >= 0
        and not head[at + len(uid) : at + len(uid) + 1].isdigit()
        and (head[at + len(uid) : at + len(uid) + 1] != b".")
    )


def open_mask(path: Path) -> MaskObject:
    """Names, values, colours, and the series it belongs to. Raises `BadScan` (D07 to D10)."""
    with about(path), quiet(path):
        data = _header(path)
        return MaskObject(path, _segments(data, path), frozenset(_series_of(data)))


def read_dicom_mask(
    path: Path, grid: Grid | None = None, wanted: Mapping[int, str] | None = None
) -> LabelMap:
    """A SEG, RTSTRUCT or series of label images as a label map: on `grid`, the scan's, where its
    voxels are the scan's, else on its own. Raises as the reader of each.
    """
    if path.is_dir():
        return read_label_series(path)
    with about(path), quiet(path):
        data = _header(path)
        if _is_struct(data):
            return read_struct(path, grid, wanted)
        mask = read_seg(path, wanted)
    return (lay_content(mask, grid) if grid is not None else None) or mask


def _header(path: Path) -> Dataset:
    """All but the pixels, after the checks that every DICOM file passes."""
    check_regular(path)
    if path.stat().st_size > _MAX_BYTES:
        raise refuse(path, "DICOM object of more than 4 GiB", "D08", "export fewer structures")
    if read_instance(path) is None:
        raise refuse(path, "a DICOMDIR is no mask", "D08", "give the mask itself")
    with quiet(path):
        return pydicom.dcmread(path, stop_before_pixels=True)


def _is_struct(data: Dataset) -> bool:
    return str(data.get("SOPClassUID")).encode() in _STRUCT


def _segments(data: Dataset, path: Path) -> tuple[Segment, ...]:
    if _is_struct(data):
        return struct_segments(data, path)
    if str(data.get("SOPClassUID")).encode() in _SEG:
        return seg_segments(data, path)
    what = "this DICOM file is neither a SEG nor an RTSTRUCT"
    raise refuse(path, what, "D08", "give a folder of the series of masks")


def _series_of(data: Dataset) -> list[str]:
    """Series that a SEG or RTSTRUCT refers to."""
    found = [str(item.SeriesInstanceUID) for item in data.get("ReferencedSeriesSequence") or []]
    for frame in data.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            found += [
                str(item.SeriesInstanceUID)
                for item in study.get("RTReferencedSeriesSequence") or []
            ]
    return found
