"""What in an image's header or sidecar may say who the patient is (PHI1): the field is named, its
content never.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from nibabel import nifti1, nifti2

from fewmask.core.errors import FewmaskError
from fewmask.io.stream import opened
from fewmask.io.text import read_text

_TEXTS = ("descrip", "aux_file", "intent_name")
_MOST = 2**20
"""Bytes of header and extensions that are looked at."""
_DICOM = 2
"""Kind of an extension that is a DICOM header."""
_ENDINGS = re.compile(r"\.(nii|hdr|img)(\.gz)?$", re.IGNORECASE)
_SIDECAR = re.compile(
    r"patient|birth|accession|institution(name|address)|physician|operator|referring|requesting",
    re.IGNORECASE,
)
_HARMLESS = {"patientposition", "patientorientation", "imageorientationpatientdicom"}
_PATTERNS = (
    ("a name written family^given", re.compile(r"\w\^\w")),
    (
        "a date",
        re.compile(
            r"(?<!\d)(?:(?:19|20)\d\d[-_./]?(?:0\d|1[0-2])[-_./]?[0-3]\d"
            r"|[0-3]?\d[-_./](?:0?\d|1[0-2])[-_./](?:19|20)\d\d)(?!\d)"
        ),
    ),
    (
        "a record number",
        re.compile(r"(?:mrn|pat(?:ient)?[-_ ]?id|pid)\W{0,2}\d{3,}|(?<!\d)\d{7,}(?!\d)", re.I),
    ),
    (
        "a word such as name, patient or born",
        re.compile(r"\b(?:name|patient|born|dob|mrn)\b", re.I),
    ),
)


def identifying_text(text: str) -> str:
    """What in a text may identify a person (`a date`, ...), or an empty string."""
    text = unicodedata.normalize("NFKC", text)
    return next((what for what, pattern in _PATTERNS if pattern.search(text)), "")


def identifying_fields(path: Path) -> tuple[str, ...]:
    """One sentence per field of a NIfTI file, and of the JSON file beside it, that may identify a
    person. Nothing for a file that cannot be read: that is for its reader to say.
    """
    try:
        with opened(path) as stream:
            head = bytes(stream.peek(_MOST))
        found = [*_in_header(head), *_in_sidecar(path)]
    except (FewmaskError, OSError, ValueError):
        return ()
    return tuple(
        f"PHI1: {field} of {path.name} may identify a person ({what})" for field, what in found
    )


def _in_header(head: bytes) -> Iterator[tuple[str, str]]:
    for size, dtype in ((348, nifti1.header_dtype), (540, nifti2.header_dtype)):
        for order in ("little", "big"):
            if len(head) > size and int.from_bytes(head[:4], order) == size:
                record = nifti1.np.frombuffer(head, dtype.newbyteorder(order), count=1)[0]
                for field in _TEXTS:
                    if what := identifying_text(_decode(bytes(record[field]))):
                        yield f"field {field}", what
                # Old converters wrote the patient's name there, and nobody else uses it.
                if size == 348 and _decode(bytes(record["db_name"])):
                    yield "field db_name", "any text there"
                end = float(record["vox_offset"])
                end = int(end) if size < end < len(head) else len(head)
                yield from _in_extensions(head[size:end], order)
                return


def _in_extensions(rest: bytes, order: str) -> Iterator[tuple[str, str]]:
    """Extensions follow the header where its next byte says so."""
    place, number = 4, 0
    while rest[:1] not in (b"", b"\0") and place + 8 <= len(rest):
        size = int.from_bytes(rest[place : place + 4], order)  # type: ignore[arg-type]
        kind = int.from_bytes(rest[place + 4 : place + 8], order)  # type: ignore[arg-type]
        if size < 8 or place + size > len(rest):
            return
        number += 1
        if kind == _DICOM:
            yield f"extension {number}", "a DICOM header"
        elif what := identifying_text(_decode(rest[place + 8 : place + size])):
            yield f"extension {number}", what
        place += size


def _in_sidecar(path: Path) -> Iterator[tuple[str, str]]:
    sidecar = path.with_name(_ENDINGS.sub("", path.name) + ".json")
    if sidecar.is_symlink() or not sidecar.is_file():
        return
    record = json.loads(read_text(sidecar, max_bytes=_MOST))
    for key, value in record.items() if isinstance(record, dict) else ():
        named = _SIDECAR.search(key) and key.lower() not in _HARMLESS
        if named and value not in ("", None, [], "anonymous", "Anonymous", "ANONYMOUS"):
            yield f"key {key[:40]!r} in the JSON file", "its name says so"


def _decode(text: bytes) -> str:
    return text.decode("latin-1").strip("\0 \n")
