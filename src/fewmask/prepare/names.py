"""File names: which case they mean, when two mean the same one, and when one may tell who the
patient is.
"""

import re
import unicodedata
from pathlib import Path

from fewmask.io.image import EXTENSION, case_id_of
from fewmask.io.persons import names_person

_SCAN_WORDS = "volumes?|imaging|images?|img|scans?|mri|mr|ct"
_MASK_WORDS = (
    "segmentations?|segm?|labelmap|labels?|masks?|msk|dseg|ground[-_ ]?truth|gt|annotations?|manual"
)
_AFFIX = re.compile(
    rf"^(?>(?:(?:{_SCAN_WORDS}|{_MASK_WORDS})[-_. ]*)*)(.+?)"
    rf"(?:[-_. ](?:{_SCAN_WORDS}|{_MASK_WORDS}))*$"
)
_MASK_AFFIX = re.compile(
    rf"^(?>(?:(?:{_MASK_WORDS})(?:[-_. ]+|(?=\d)))*)(.+?)(?:[-_. ](?:{_MASK_WORDS}))*$"
)
_MASK_SUFFIX = re.compile(rf"(?:^|[-_. ])(?:{_MASK_WORDS})$")
_MASK_PREFIX = re.compile(rf"^(?:{_MASK_WORDS})(?:[-_. ]|(?=\d))")
_SCAN_WORD = re.compile(rf"(?:{_SCAN_WORDS}|t[12][a-z]*|flair|adc|dwi|swi|pdw?|pet)(?:_0000)?")
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
    return core_of(exact_key(path))


def core_of(key: str) -> str:
    """The same of a case id in small letters."""
    found = _AFFIX.match(key)
    return found[1] if found else key


def unmasked(key: str) -> str:
    """A case id in small letters without the words that say mask, but with those that say scan."""
    found = _MASK_AFFIX.match(key)
    return found[1] if found else key


def looks_like_mask(path: Path) -> bool:
    """True if the name ends in `_seg`, `-label`, `_mask` and the like, begins with such a word
    (`label0007`, `mask_a`), is one (`GT`), or ends as segmentations do (`.seg.nrrd`, `.dcm`).
    """
    if path.name.lower().endswith((".seg.nrrd", ".dcm")):
        return True
    key = exact_key(path)
    return bool(_MASK_SUFFIX.search(key) or _MASK_PREFIX.match(key))


def says_scan_only(path: Path) -> bool:
    """True if the name says that it is a scan, and not of whom: `ct`, `imaging`, `T1`."""
    return bool(_SCAN_WORD.fullmatch(stem(path).casefold()))


def identifying(case: str, persons: frozenset[str] = frozenset()) -> str:
    """What in the name might identify a person (`a date`, ...), or an empty string. The value
    itself is for nobody's log. `persons` are fingerprints of names in DICOM headers.
    """
    if names_person(case, persons):
        return "a name that stands in a DICOM header"
    return next((what for what, pattern in _IDENTIFYING if pattern.search(case)), "")
