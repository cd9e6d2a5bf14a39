"""One DICOM file: known by its content, its geometry tags read, its pixels decoded.

Nothing that may identify a person is read into a message.
"""

import hashlib
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from jaxtyping import Integer
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.multival import MultiValue
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from fewmask.core.errors import BadScan, FewmaskError, NoRoom
from fewmask.io.persons import name_marks

_EXECUTABLE = (
    b"MZ",
    b"\x7fELF",
    b"\xfe\xed\xfa",
    b"\xce\xfa\xed\xfe",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
    b"#!",
)
_PIXELS = (
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation",
    "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation",
)  # fmt: skip
_HEADER = (
    *_PIXELS, "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality",
    "SeriesDescription", "SeriesNumber", "InstanceNumber", "ImageType",
    "BurnedInAnnotation", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices", "PixelPaddingValue", "RescaleSlope", "RescaleIntercept", "RescaleType",
    "ModalityLUTSequence",
)  # fmt: skip
_KEPT = frozenset(_HEADER)
_GEOMETRY = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
"""Tags without which no slice has a place -> how many numbers each holds."""
_DECODERS = (
    "pip install 'fewmask[dicom]' (decodes JPEG, JPEG-LS and JPEG 2000), or convert the series "
    "with dcm2niix"
)
MASKS = ("SEG", "RTSTRUCT")
NO_SCAN = (*MASKS, "RTDOSE", "RTPLAN", "SR", "PR", "KO", "REG", "DOC")
"""Modalities of objects that belong to a scan and are none."""
AGAIN = "export the series again from the archive"
MAX_SIDE = 8192


@dataclass(frozen=True, eq=False)
class Instance:
    """The geometry tags of one file."""

    path: Path
    values: Mapping[str, Any]
    """The tags of `_HEADER` that the file has."""
    syntax: UID
    kind: str
    """`CT Image Storage` and the like."""
    bare: bool
    """True if the file has no preamble."""
    person: str = ""
    """Fingerprint of its PatientID, to tell patients apart without keeping who they are; empty
    where there is none.
    """
    names: frozenset[str] = frozenset()
    """Fingerprints of the words of its PatientName, to know them again in names of folders."""

    def text(self, name: str) -> str:
        """A tag as text, empty if absent."""
        value = self.values.get(name)
        return "" if value is None else str(value).strip()

    def numbers(self, name: str) -> tuple[float, ...]:
        """A tag as finite numbers, empty if absent or anything else."""
        value = self.values.get(name)
        values = value if isinstance(value, list | tuple | MultiValue) else [value]
        try:
            numbers = tuple(float(str(item)) for item in values)
        except (TypeError, ValueError):
            return ()
        return numbers if all(map(math.isfinite, numbers)) else ()

    def number(self, name: str, default: float = 0.0) -> float:
        """A tag as one number; `default` if it is absent or anything else."""
        return (self.numbers(name) or (default,))[0]

    @property
    def is_image(self) -> bool:
        """False for dose reports, structure sets and the like."""
        return self.number("Rows") > 0 and self.number("Columns") > 0


def is_dicom(path: Path) -> bool:
    """Whether the file begins like DICOM: `DICM` after 128 bytes, or (no preamble) a
    plausible first element.

    Raises `NoRoom` (N47) if it may not be read: it could be a slice.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(132)
    except OSError as error:
        what = f"cannot read {path.name}: {error.strerror}"
        raise NoRoom(what, fix=f"check who may read {path.name}", code="N47") from error
    return start[128:] == b"DICM" or _bare(start)


def read_instance(path: Path) -> Instance | None:
    """The tags of one file, without pixels; None for a (harmless) DICOMDIR.

    Raises `BadScan`: damaged, a program in the preamble (D08), deflated (D07), a DICOMDIR that
    points out of its folder (D09).
    """
    with path.open("rb") as stream:
        start = stream.read(132)
    bare = start[128:] != b"DICM"
    if start.startswith(_EXECUTABLE):
        raise refuse(
            path, "DICOM file with a program in its preamble", "D08", f"do not run it; {AGAIN}"
        )
    with quiet(path):
        meta = Dataset() if bare else read_file_meta_info(path)
        named = UID(str(meta.get("TransferSyntaxUID") or ""))
        is_directory = meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage
    # Deflated files are unpacked whole by pydicom, however large they become, so they are not even
    # opened.
    if named == DeflatedExplicitVRLittleEndian:
        raise refuse(
            path,
            "deflated DICOM is not read",
            "D07",
            "unpack it with `dcmconv +te` or convert it with dcm2niix",
        )
    if is_directory:
        _check_directory(path)
        return None
    with quiet(path):
        tags = pydicom.dcmread(
            path,
            stop_before_pixels=True,
            specific_tags=[*_HEADER, "PatientID", "PatientName"],
            force=bare,
        )
        values = {one.keyword: one.value for one in tags if one.keyword in _KEPT}
        implicit = tags.original_encoding[0]
        unnamed = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        kind = UID(str(values.get("SOPClassUID", ""))).name
        person = str(tags.get("PatientID") or "").strip()
        mark = hashlib.sha256(person.encode()).hexdigest() if person else ""
        names = name_marks(str(tags.get("PatientName") or ""))
        instance = Instance(path, values, named or unnamed, kind, bare, mark, names)
    # De-identified images often have no UID. An object that names neither its series nor rows and
    # columns, and that is no report or the like, is what is left of a slice.
    if not (
        instance.text("SeriesInstanceUID")
        or instance.is_image
        or instance.text("Modality") in NO_SCAN
    ):
        what = "neither a SeriesInstanceUID nor an image in this file: it is incomplete"
        raise refuse(path, what, "D08", "copy the file again from the source, or remove it")
    return instance


def check_instance(instance: Instance) -> None:
    """Raise `BadScan` if this file cannot be one slice: no decoder (D07), something missing (D08),
    unsupported (D10).
    """
    kind = instance.kind
    if not instance.is_image:
        raise refuse(
            instance.path,
            f"no image in this file ({kind})",
            "D08",
            "choose another series with `series`",
        )
    frames = instance.number("NumberOfFrames", 1.0)
    if frames > 1 or kind.startswith("Enhanced") or "Multi-frame" in kind:
        what = f"multi-frame DICOM of this kind, or in several files, is not read ({kind})"
        raise refuse(instance.path, what, "D10", "convert it with dcm2niix")
    check_pixels(instance)
    for name, count in _GEOMETRY.items():
        if len(instance.numbers(name)) != count:
            raise refuse(
                instance.path,
                f"{name} is missing or not {count} numbers",
                "D08",
                f"{AGAIN}; a place is never guessed",
            )
    held, needed = instance.path.stat().st_size, _expected_bytes(instance)
    if not instance.syntax.is_encapsulated and needed > held:
        what = f"truncated: the file holds {held} bytes, its pixels alone need {needed}"
        raise refuse(instance.path, what, "D08", "copy the file again")


def check_pixels(instance: Instance) -> None:
    """Raise `BadScan` if its pixels cannot be read: no grey values (D10), no decoder (D07), of a
    size that no scanner makes (D08).
    """
    _check_values(instance)
    _check_decoder(instance)
    if max(instance.number("Rows"), instance.number("Columns")) > MAX_SIDE:
        raise refuse(instance.path, f"slice of more than {MAX_SIDE} pixels a side", "D08", AGAIN)


def read_pixels(instance: Instance) -> Integer[np.ndarray, "rows columns"]:
    """The stored values of one checked file, MONOCHROME1 inverted. Raises `BadScan` (D08, D10)."""
    with quiet(instance.path):
        tags = pydicom.dcmread(
            instance.path, specific_tags=[*_PIXELS, "PixelData"], force=instance.bare
        )
        held = len(tags.get("PixelData") or b"")
    if not held:
        raise refuse(instance.path, "no pixel data", "D08", AGAIN)
    needed = _expected_bytes(instance)
    if not instance.syntax.is_encapsulated and held < needed:
        what = f"truncated: {held} of {needed} bytes of pixels"
        raise refuse(instance.path, what, "D08", "copy the file again from the source")
    with quiet(instance.path):
        if instance.bare:
            tags.ensure_file_meta()
            tags.file_meta.TransferSyntaxUID = instance.syntax
        stored = pixel_array(tags, correct_unused_bits=False)
    return grey(stored, instance)


def grey(
    stored: Integer[np.ndarray, "*frames rows columns"], instance: Instance
) -> Integer[np.ndarray, "*frames rows columns"]:
    """Decoded values without what stands above their bits, MONOCHROME1 inverted."""
    values = _within_bits(stored, instance)
    if instance.text("PhotometricInterpretation") == "MONOCHROME1":
        return _inverted(values, instance)
    return values


def refuse(path: Path, what: str, code: str, fix: str) -> BadScan:
    """The error for one file."""
    return BadScan(what, where=path.name, did="the series was not read", fix=fix, code=code)


def _bare(start: bytes) -> bool:
    """First element of a file without preamble: group 0002 or 0008, little endian, with a text type
    or a small length.
    """
    if len(start) < 16 or start[:2] not in (b"\x02\x00", b"\x08\x00") or start[3] != 0:
        return False
    text_type = start[4:6] in (b"UI", b"CS", b"UL", b"DA", b"TM", b"LO")
    return text_type or int.from_bytes(start[4:8], "little") < 256


@contextmanager
def quiet(path: Path) -> Iterator[None]:
    """Around calls into pydicom: its log, warnings and error texts may repeat the value of any tag,
    so none is passed on.
    """
    spoke, pydicom.config.logger.disabled = pydicom.config.logger.disabled, True
    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    except FewmaskError:
        raise
    except Exception as error:
        # pydicom documents no closed set of exceptions for damaged files.
        raise refuse(
            path,
            f"DICOM file cannot be read ({type(error).__name__})",
            "D08",
            "copy the file again from the source",
        ) from None
    finally:
        pydicom.config.logger.disabled = spoke


def _check_directory(path: Path) -> None:
    """A DICOMDIR is never followed; one that names files outside its folder is refused all the same
    (CVE-2026-32711).
    """
    with quiet(path):
        records = pydicom.dcmread(path).get("DirectoryRecordSequence") or []
        named = [record.get("ReferencedFileID") for record in records]
    for parts in named:
        inner = [parts] if isinstance(parts, str) else list(parts or [])
        if any(_leads_out(str(part)) for part in inner):
            raise refuse(
                path,
                "DICOMDIR names files outside its own folder (ReferencedFileID)",
                "D09",
                "remove the DICOMDIR, keep the images",
            )


def _leads_out(part: str) -> bool:
    """Whether a part of a path may lead out of its folder."""
    return part in ("", "..") or any(mark in part for mark in "/\\:")


def _check_values(instance: Instance) -> None:
    """Only grey values that rescale linearly are read; what is stored otherwise is
    refused by name.
    """
    photometric = instance.text("PhotometricInterpretation")
    grey = photometric in ("MONOCHROME1", "MONOCHROME2")
    allocated, stored = instance.number("BitsAllocated"), instance.number("BitsStored")
    highest = instance.number("HighBit", stored - 1)
    ct = instance.text("Modality") == "CT"
    wrong = ""
    if instance.number("SamplesPerPixel", 1.0) != 1 or not grey:
        named = photometric or "no photometric interpretation"
        wrong = f"colour DICOM ({named}): grey values are needed"
    elif allocated not in (8, 16, 32) or not 0 < stored <= allocated or highest != stored - 1:
        wrong = f"pixels of {stored:g} bits in {allocated:g}, highest bit {highest:g}"
    elif instance.number("PixelRepresentation", -1.0) not in (0, 1):
        wrong = "it is not said whether pixels are signed (PixelRepresentation)"
    elif "ModalityLUTSequence" in instance.values:
        wrong = "grey values in a table (Modality LUT Sequence), not linear"
    elif ct and instance.text("RescaleType") not in ("", "HU"):
        wrong = f"CT whose rescaled values are {instance.text('RescaleType')[:16]!r}, not HU"
    elif ct and photometric == "MONOCHROME1":
        wrong = "CT in MONOCHROME1: inverted, its values would no longer be HU"
    if wrong:
        raise refuse(
            instance.path,
            wrong,
            "D10",
            "choose another series with `series`, or convert this one with dcm2niix and look "
            "at the values",
        )


def _check_decoder(instance: Instance) -> None:
    with quiet(instance.path):
        try:
            available = get_decoder(instance.syntax).is_available
        except NotImplementedError:
            available = False
    if not available:
        raise refuse(
            instance.path,
            f"no decoder for the transfer syntax {instance.syntax.name} ({instance.syntax})",
            "D07",
            _DECODERS,
        )


def _expected_bytes(instance: Instance) -> int:
    return int(
        instance.number("Rows") * instance.number("Columns") * instance.number("BitsAllocated") / 8
    )


def _within_bits(
    values: Integer[np.ndarray, "*frames rows columns"], instance: Instance
) -> Integer[np.ndarray, "*frames rows columns"]:
    """Stored values free of the bits above BitsStored; refused where those hold something else
    (signed read as unsigned).
    """
    unused = int(instance.number("BitsAllocated") - instance.number("BitsStored"))
    if not unused:
        return values
    # Shifting there and back extends the sign of signed types and clears the unused bits of
    # unsigned ones.
    own = (values << unused) >> unused
    kept = values & values.dtype.type(2 ** int(instance.number("BitsStored")) - 1)
    if not np.array_equal(own, values) and not np.array_equal(kept, values):
        what = (
            f"values beyond {instance.text('BitsStored')} bits: signed and unsigned may be "
            "confused, or an overlay is in the pixels"
        )
        raise refuse(instance.path, what, "D10", AGAIN)
    return own


def _inverted(
    values: Integer[np.ndarray, "*frames rows columns"], instance: Instance
) -> Integer[np.ndarray, "*frames rows columns"]:
    """Mirror the range of the stored bits onto itself, so that dtype and rescale stay
    as they are.
    """
    result: Integer[np.ndarray, "*frames rows columns"]
    if instance.number("PixelRepresentation"):
        result = np.invert(values)
    else:
        result = values.dtype.type(2 ** int(instance.number("BitsStored")) - 1) - values
    return result
