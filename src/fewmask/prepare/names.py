"""File names: which case they mean, when two mean the same one, and when one may tell who the
patient is.
"""

import re
import unicodedata
from pathlib import Path

from fewmask.io.image import EXTENSION, case_id_of

_SCAN_WORDS = "volume|image|img|scan|ct"
_MASK_WORDS = "segmentation|segmentations|labels|label|masks|mask|seg|gt|manual"
_AFFIX = re.compile(
    rf"^(?:(?:{_SCAN_WORDS}|{_MASK_WORDS})[-_. ]*)?(.+?)(?:[-_. ](?:{_SCAN_WORDS}|{_MASK_WORDS}))*$"
)
_MASK_SUFFIX = re.compile(rf"[-_. ](?:{_MASK_WORDS})$")
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)
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
# "." + name + ".h5." + process id + ".part" must stay below the 255 bytes of most file systems
_MAX_BYTES = 230


def bare(path: Path) -> str:
    """The file name without its image extension, as it is."""
    return EXTENSION.sub("", path.name)


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
    """True if the name ends in `_seg`, `-label`, `_mask` and the like, or in `.seg.nrrd`."""
    return path.name.lower().endswith(".seg.nrrd") or bool(_MASK_SUFFIX.search(exact_key(path)))


def unusable(case: str) -> str:
    """Why this case id cannot become a file name of ours, or an empty string."""
    if not case.strip(". "):
        return "nothing is left of the name without its extension"
    if not case.isprintable() or "/" in case or "\\" in case:
        return "the name holds control characters, undecodable bytes or slashes"
    if len(case.encode()) > _MAX_BYTES:
        return f"the name is longer than {_MAX_BYTES} bytes"
    if _RESERVED.match(case):
        return "the name is reserved on Windows"
    return ""


def identifying(case: str) -> str:
    """What in the name might identify a person (`a date`, ...), or an empty string. The value
    itself is for nobody's log.
    """
    return next((what for what, pattern in _IDENTIFYING if pattern.search(case)), "")
