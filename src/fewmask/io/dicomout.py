"""Masks as DICOM SEG and RTSTRUCT beside the DICOM scan that they were drawn on: they refer to its
instances and carry its patient and study.
"""

import datetime
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from jaxtyping import Float, Integer
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from fewmask.core.errors import BadScan, FewmaskError
from fewmask.core.volume import LabelMap
from fewmask.io.atomic import writing
from fewmask.io.axes import LPS
from fewmask.io.back import check_back
from fewmask.io.contours import outline
from fewmask.io.dicommask import read_dicom_mask
from fewmask.io.extra import need
from fewmask.io.mark import is_mark, mark_of
from fewmask.io.segments import Segment
from fewmask.io.terms import CATEGORIES, TISSUE, Term
from fewmask.version import __version__

_PERSON = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
           "AccessionNumber", "StudyID", "ReferringPhysicianName")  # fmt: skip
"""What a SEG repeats of its scan; empty where a de-identified scan has none."""
_MAKER = "fewmask"
_DIGITS = 10
"""Significant digits of a contour's coordinates: DICOM has room for 16 characters."""


def write_seg(
    path: Path,
    label_map: LabelMap,
    slices: Sequence[Path],
    segments: Sequence[Segment],
    terms: Mapping[str, Term],
) -> None:
    """A SEG of the label map, a segment per structure, atomically, read back.

    `slices` are the scan's files in the order of its slices (`slices_of`). Structures without a
    term are written as tissue. Raises `BadConfig` (C02) without the extra `dicom`, and `BadScan`
    (D10) for a scan that cannot be referred to.
    """
    hd = need("highdicom", "dicom", "writing DICOM SEG")
    seg = need("highdicom.seg", "dicom", "writing DICOM SEG")
    array = _checked(label_map, slices)
    sources = _sources(slices)
    with _quiet(path):
        described = [
            _describe(hd, seg, segment, terms.get(segment.name, TISSUE)) for segment in segments
        ]
        frames = np.stack([array == segment.value for segment in segments], axis=-1)
        data = seg.Segmentation(
            source_images=sources,
            pixel_array=frames.transpose(2, 1, 0, 3).astype(np.uint8),
            segmentation_type="BINARY",
            segment_descriptions=described,
            series_instance_uid=_uid(sources, "seg"),
            series_number=9001,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer=_MAKER,
            manufacturer_model_name=_MAKER,
            software_versions=__version__,
            device_serial_number=__version__,
            content_description=mark_of(_core(array)).strip(),
            content_label="FEWMASK",
            omit_empty_frames=bool(array.any()),
        )
    _save(data, path, label_map, array)


def write_struct(
    path: Path,
    label_map: LabelMap,
    slices: Sequence[Path],
    segments: Sequence[Segment],
    terms: Mapping[str, Term],
) -> None:
    """An RTSTRUCT of the label map, a structure per segment, atomically, read back. Contours run
    along the edges of pixels. Raises `BadScan` as `write_seg`.
    """
    array = _checked(label_map, slices)
    sources = _sources(slices)
    with _quiet(path):
        data = _struct(label_map, array, sources, segments, terms)
    _save(data, path, label_map, array)


def is_dicom_prediction(path: Path) -> bool:
    """Does a SEG hold the very voxels, an RTSTRUCT the very contours, that a model drew?"""
    try:
        with _quiet(path):
            data = pydicom.dcmread(path, stop_before_pixels=True)
            if "ROIContourSequence" in data:
                return is_mark(str(data.get("StructureSetName") or ""), _points(data))
        text = str(data.get("ContentDescription") or "")
        return is_mark(text, _core(read_dicom_mask(path).to_file_order()))
    except FewmaskError:
        return False


def _core(array: Integer[np.ndarray, "i j k"]) -> Integer[np.ndarray, "i j n"]:
    """From the first slice that holds something to the last one, which is all that a SEG keeps."""
    held = np.flatnonzero(array.any(axis=(0, 1)))
    return array[:, :, held[0] : held[-1] + 1] if len(held) else array[:, :, :0]


def _points(data: Dataset) -> Float[np.ndarray, "n 1 1"]:
    """All coordinates of an RTSTRUCT, for its mark."""
    numbers = [
        float(number)
        for item in data.ROIContourSequence
        for contour in item.get("ContourSequence") or []
        for number in contour.ContourData
    ]
    return np.array(numbers, float).reshape(-1, 1, 1)


def _checked(label_map: LabelMap, slices: Sequence[Path]) -> Integer[np.ndarray, "i j k"]:
    array = label_map.to_file_order()
    if array.shape[2] != len(slices):
        raise BadScan(
            f"the mask has {array.shape[2]} slices, its series {len(slices)} files",
            fix="predict the scan again",
            code="M01",
        )
    smallest: Integer[np.ndarray, "i j k"] = array.astype(np.min_scalar_type(int(array.max())))
    return smallest


def _sources(slices: Sequence[Path]) -> list[Dataset]:
    """Headers of the scan's files, with empty values for what a de-identified scan lacks."""
    found = []
    for path in slices:
        with _quiet(path):
            data = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            for name in _PERSON:
                if name not in data:
                    setattr(data, name, "")
        if not data.get("StudyInstanceUID") or not data.get("SOPInstanceUID"):
            raise BadScan(
                "the scan has no StudyInstanceUID or SOPInstanceUID to refer to",
                where=path.name,
                fix="write another format: `format=nifti`",
                code="D10",
            )
        found.append(data)
    frame = str(found[0].get("FrameOfReferenceUID") or "") or _uid(found, "frame")
    for data in found:
        if not data.get("FrameOfReferenceUID"):
            data.FrameOfReferenceUID = frame
    return found


def _uid(sources: Sequence[Dataset], what: str) -> str:
    """The same series of results for the same series of images."""
    return str(generate_uid(entropy_srcs=[str(sources[0].SeriesInstanceUID), _MAKER, what]))


def _describe(hd: Any, seg: Any, segment: Segment, term: Term) -> Any:
    code = hd.sr.CodedConcept
    colour = hd.color.CIELabColor.from_rgb(*segment.colour) if segment.colour else None
    return seg.SegmentDescription(
        segment_number=segment.value,
        segment_label=segment.name[:64],
        segmented_property_category=code(*CATEGORIES[term.category]),
        segmented_property_type=code(term.value, term.scheme, term.meaning),
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=_MAKER,
            version=__version__,
            family=code("123109", "DCM", "Artificial Intelligence"),
        ),
        tracking_uid=generate_uid(),
        tracking_id=segment.name[:64],
        display_color=colour,
    )


def _struct(
    label_map: LabelMap,
    array: Integer[np.ndarray, "i j k"],
    sources: Sequence[Dataset],
    segments: Sequence[Segment],
    terms: Mapping[str, Term],
) -> Dataset:
    first, now = sources[0], datetime.datetime.now()
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = RTStructureSetStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.SpecificCharacterSet = first.get("SpecificCharacterSet") or "ISO_IR 192"
    for name in _PERSON:
        setattr(data, name, first.get(name))
    data.StudyInstanceUID, data.SeriesInstanceUID = first.StudyInstanceUID, _uid(sources, "struct")
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = first.FrameOfReferenceUID, ""
    data.Modality, data.SeriesNumber, data.InstanceNumber = "RTSTRUCT", 9002, 1
    data.Manufacturer = data.ManufacturerModelName = _MAKER
    data.SoftwareVersions, data.OperatorsName = __version__, ""
    data.StructureSetLabel = "FEWMASK"
    data.StructureSetDate = data.InstanceCreationDate = now.strftime("%Y%m%d")
    data.StructureSetTime = data.InstanceCreationTime = now.strftime("%H%M%S")
    data.ApprovalStatus = "UNAPPROVED"
    images = [_reference(source) for source in sources]
    series = _with(SeriesInstanceUID=first.SeriesInstanceUID, ContourImageSequence=images)
    study = _with(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=first.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    frame = _with(FrameOfReferenceUID=first.FrameOfReferenceUID, RTReferencedStudySequence=[study])
    data.ReferencedFrameOfReferenceSequence = [frame]
    data.StructureSetROISequence = [
        _with(
            ROINumber=segment.value,
            ReferencedFrameOfReferenceUID=first.FrameOfReferenceUID,
            ROIName=segment.name[:64],
            ROIGenerationAlgorithm="AUTOMATIC",
        )
        for segment in segments
    ]
    data.ROIContourSequence = [
        _with(
            ReferencedROINumber=segment.value,
            ROIDisplayColor=list(segment.colour or (128, 174, 128)),
            ContourSequence=list(_contours(label_map, array == segment.value, images)),
        )
        for segment in segments
    ]
    data.StructureSetName = mark_of(_points(data)).strip()
    data.RTROIObservationsSequence = [
        _observation(segment, terms.get(segment.name, TISSUE)) for segment in segments
    ]
    return data


def _with(**tags: Any) -> Dataset:
    made = Dataset()
    for name, value in tags.items():
        setattr(made, name, value)
    return made


def _reference(source: Dataset) -> Dataset:
    return _with(
        ReferencedSOPClassUID=source.SOPClassUID, ReferencedSOPInstanceUID=source.SOPInstanceUID
    )


def _contours(
    label_map: LabelMap, inside: np.ndarray, images: Sequence[Dataset]
) -> Iterator[Dataset]:
    affine = label_map.grid.affine
    for k in np.flatnonzero(inside.any(axis=(0, 1))).tolist():
        for flat in outline(inside[:, :, k]):
            index = np.column_stack([flat, np.full(len(flat), k), np.ones(len(flat))])
            world = LPS * (index @ affine.T)[:, :3] + 0.0
            yield _with(
                ContourImageSequence=[images[k]],
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(flat),
                ContourData=[f"{number:.{_DIGITS}g}" for number in world.ravel()],
            )


def _observation(segment: Segment, term: Term) -> Dataset:
    code = _with(CodeValue=term.value, CodingSchemeDesignator=term.scheme, CodeMeaning=term.meaning)
    return _with(
        ObservationNumber=segment.value,
        ReferencedROINumber=segment.value,
        RTROIIdentificationCodeSequence=[code],
        RTROIInterpretedType="ORGAN" if term.category == "anatomy" else "",
        ROIInterpreter="",
    )


def _save(
    data: Dataset, path: Path, label_map: LabelMap, array: Integer[np.ndarray, "i j k"]
) -> None:
    def verify(temp: Path) -> None:
        back = read_dicom_mask(temp, label_map.grid)
        same = np.array_equal(back.to_file_order(), array)
        check_back(path, label_map.grid, back.grid, same)

    with writing(path, verify=verify) as temp, _quiet(path):
        data.save_as(temp, enforce_file_format=True)


@contextmanager
def _quiet(path: Path) -> Iterator[None]:
    """Warnings and error texts of these libraries may repeat the value of any tag: none is passed
    on.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except FewmaskError:
        raise
    except OSError:
        raise
    except Exception as error:
        raise BadScan(
            f"the DICOM mask cannot be made ({type(error).__name__})",
            where=path.name,
            fix="write another format: `format=nifti`",
            code="D10",
        ) from None
