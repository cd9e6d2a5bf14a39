"""File names: which case they mean, when two mean the same one, and when one may tell who the
patient is.
"""

import re
import unicodedata
from pathlib import Path

from fewmask.core.names import unusable
from fewmask.io.nifti import case_id_of

__all__ = [
    "bare",
    "case_id",
    "core_key",
    "exact_key",
    "identifying",
    "looks_like_mask",
    "stem",
    "unusable",
]

_EXTENSION = re.compile(r"\.(nii|hdr|img)(\.gz)?$", re.IGNORECASE)
_SCAN_WORDS = "volume|image|img|scan|ct"
_MASK_WORDS = "segmentation|segmentations|labels|label|masks|mask|seg|gt|manual"
_AFFIX = re.compile(
    rf"^(?:(?:{_SCAN_WORDS}|{_MASK_WORDS})[-_. ]*)?(.+?)(?:[-_. ](?:{_SCAN_WORDS}|{_MASK_WORDS}))*$"
)
_MASK_SUFFIX = re.compile(rf"[-_. ](?:{_MASK_WORDS})$")
_IDENTIFYING = (
    ("a name written family^given", re.compile(r"\^")),
    (
        "a date",
        re.compile(
            r"(?<!\d)(?:(?:19|20)\d\d[-_.]?(?:0\d|1[0-2])[-_.]?[0-3]\d|[0-3]\d[-_.]?(?:0\d|1[0-2])[-_.]?(?:19|20)\d\d)(?!\d)"
        ),
    ),
    (
        "a record number",
        re.compile(r"(?:mrn|patid|patientid|pid)[-_ ]?\d{3,}|(?<!\d)\d{7,}(?!\d)", re.IGNORECASE),
    ),
)


def bare(path: Path) -> str:
    """The file name without its image extension, as it is."""
    return _EXTENSION.sub("", path.name)


def stem(path: Path) -> str:
    """The file name without its image extension, in Unicode form NFC."""
    return unicodedata.normalize("NFC", bare(path))


def case_id(path: Path) -> str:
    """The case a scan's file name means: without extension and one trailing channel
    number `_0000`.
    """
    return unicodedata.normalize("NFC", case_id_of(path))


def exact_key(path: Path) -> str:
    """Names with the same key mean the same case on a system that ignores upper and lower case."""
    return case_id(path).casefold()


def core_key(path: Path) -> str:
    """The part of the name that scan and mask share: `img0007`, `label0007` and `0007_seg` all give
    `0007`.
    """
    found = _AFFIX.match(exact_key(path))
    return found[1] if found else exact_key(path)


def looks_like_mask(path: Path) -> bool:
    """True if the name ends in `_seg`, `-label`, `_mask` and the like."""
    return bool(_MASK_SUFFIX.search(exact_key(path)))


def identifying(case: str) -> str:
    """What in the name might identify a person (`a date`, ...), or an empty string. The value
    itself is for nobody's log.
    """
    return next((what for what, pattern in _IDENTIFYING if pattern.search(case)), "")
