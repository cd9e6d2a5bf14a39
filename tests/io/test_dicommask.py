"""DICOM SEG, RTSTRUCT and series of label images: the right voxels under the right names."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.utils import pack_bits
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, SegmentationStorage

from fewmask.core.errors import BadScan
from fewmask.io.dicom import read_series
from fewmask.io.dicommask import is_dicom_mask, open_mask
from fewmask.io.image import case_id_of, read_labels, read_names
from fewmask.io.rtstruct import fill_polygon
from tests.io.test_dicom import write_series

SERIES = "1.2.3"


def group(**tags: object) -> Dataset:
    """A dataset with these tags."""
    made = Dataset()
    for name, value in tags.items():
        setattr(made, name, value)
    return made


def save(data: Dataset, path: Path, kind: str) -> Path:
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = kind
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.99"
    data.SeriesInstanceUID, data.Modality = "1.2.98", "SEG"
    data.save_as(path, enforce_file_format=True)
    return path


def write_seg(path: Path, frames, names=("liver",), **changes) -> Path:
    """`frames` are (segment, slice, pixels); slices lie as those of `write_series`."""
    rows, columns = frames[0][2].shape
    data = group(
        Rows=rows, Columns=columns, NumberOfFrames=len(frames), SegmentationType="BINARY",
        BitsAllocated=1, BitsStored=1, HighBit=0, PixelRepresentation=0, SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
    )  # fmt: skip
    data.ReferencedSeriesSequence = Sequence([group(SeriesInstanceUID=SERIES)])
    data.SegmentSequence = Sequence(
        [group(SegmentNumber=n, SegmentLabel=name) for n, name in enumerate(names, 1)]
    )
    measures = group(PixelSpacing=[0.5, 0.8], SliceThickness=2, SpacingBetweenSlices=2)
    turn = group(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    data.SharedFunctionalGroupsSequence = Sequence(
        [
            group(
                PixelMeasuresSequence=Sequence([measures]),
                PlaneOrientationSequence=Sequence([turn]),
            )
        ]
    )
    data.PerFrameFunctionalGroupsSequence = Sequence(
        group(
            PlanePositionSequence=Sequence([group(ImagePositionPatient=[-10, -20, 30 + 2 * k])]),
            SegmentIdentificationSequence=Sequence([group(ReferencedSegmentNumber=number)]),
        )
        for number, k, _ in frames
    )
    pixels = np.stack([frame for *_, frame in frames]).astype(np.uint8)
    data.PixelData = pack_bits(np.minimum(pixels, 1).ravel())
    for name, value in changes.items():
        setattr(data, name, value)
    return save(data, path, SegmentationStorage)


def write_struct(path: Path, rois) -> Path:
    """`rois` are (name, contours), a contour is points in LPS mm."""
    data = Dataset()
    data.StructureSetROISequence = Sequence(
        [group(ROINumber=n, ROIName=name) for n, (name, _) in enumerate(rois, 5)]
    )
    data.ROIContourSequence = Sequence(
        group(
            ReferencedROINumber=n,
            ROIDisplayColor=[255, 0, 51],
            ContourSequence=Sequence(
                group(
                    ContourGeometricType="CLOSED_PLANAR" if len(points) > 1 else "POINT",
                    NumberOfContourPoints=len(points),
                    ContourData=[f"{number:g}" for point in points for number in point],
                )
                for points in contours
            ),
        )
        for n, (_, contours) in enumerate(rois, 5)
    )
    return save(data, path, RTStructureSetStorage)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """5 slices of 3 rows and 4 columns."""
    folder = tmp_path_factory.mktemp("scan")
    voxels = np.arange(60, dtype=np.int16).reshape(5, 3, 4)
    return read_series(write_series(folder / "s", voxels))


def pixels(*spots: tuple[int, int]) -> np.ndarray:
    """3 rows, 4 columns, with these (row, column) inside."""
    found = np.zeros((3, 4), np.uint8)
    for spot in spots:
        found[spot] = 1
    return found


def test_a_seg_of_its_own_extent(tmp_path, scan):
    """Two segments, out of order, a slice between them without a frame."""
    frames = [(2, 3, pixels((2, 3))), (1, 1, pixels((0, 1), (1, 1))), (1, 3, pixels((0, 0)))]
    path = write_seg(tmp_path / "p0.dcm", frames, ("liver", "spleen"))
    assert is_dicom_mask(path) and case_id_of(path) == "p0"
    assert read_names(path) == {"liver": 1, "spleen": 2}
    assert open_mask(path).series == {SERIES}
    own = read_labels(path)
    assert own.grid.shape == (4, 3, 3)
    assert np.allclose(own.grid.affine[:3, 3], [10, 20, 32])
    laid = read_labels(path, grid=scan.grid)
    assert laid.grid.shape == scan.grid.shape
    array = laid.to_file_order()
    assert {(i, j, k): int(array[i, j, k]) for i, j, k in np.argwhere(array)} == {
        (1, 0, 1): 1, (1, 1, 1): 1, (0, 0, 3): 1, (3, 2, 3): 2,
    }  # fmt: skip


def test_every_second_slice(tmp_path, scan):
    path = write_seg(tmp_path / "s.dcm", [(1, k, pixels((0, 0))) for k in (0, 2, 4)])
    assert [k for *_, k in np.argwhere(read_labels(path, grid=scan.grid).to_file_order())] == [
        0, 2, 4,
    ]  # fmt: skip


def test_segments_that_overlap(tmp_path, scan):
    frames = [(1, 0, pixels((0, 0), (0, 1))), (2, 0, pixels((0, 1)))]
    path = write_seg(tmp_path / "s.dcm", frames, ("liver", "lesion"))
    with pytest.raises(BadScan, match="'liver' and 'lesion' share 1 voxel"):
        read_labels(path)
    for wanted, value in (({1: "a"}, 1), ({2: "a"}, 2)):
        assert read_labels(path, wanted=wanted).to_file_order()[1, 0, 0] == value


def test_fractions_are_cut_with_a_note(tmp_path):
    data = np.array([[0, 127, 128, 255]] + 2 * [[0] * 4], np.uint8)
    path = write_seg(
        tmp_path / "s.dcm", [(1, 0, data)], SegmentationType="FRACTIONAL", BitsAllocated=8,
        BitsStored=8, HighBit=7, MaximumFractionalValue=255, PixelData=data.tobytes(),
    )  # fmt: skip
    mask = read_labels(path)
    assert mask.to_file_order()[:, 0, 0].tolist() == [0, 0, 1, 1]
    assert "one half" in mask.notes[0]


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("D08", {"SegmentSequence": Sequence([])}),
        ("D08", {"PixelData": b"\0"}),
        ("D08", {"NumberOfFrames": 10**8}),
        ("D08", {"NumberOfFrames": 3}),
        ("D08", {"Rows": 60_000}),
        ("D08", {"PerFrameFunctionalGroupsSequence": Sequence([])}),
        ("D08", {"SegmentSequence": Sequence([group(SegmentNumber=7, SegmentLabel="x")])}),
        ("D10", {"SegmentationType": "SOMETHING"}),
    ],
)
def test_damaged_segs(tmp_path, code, changes):
    frames = [(1, 0, pixels((0, 0))), (1, 1, pixels((0, 0)))]
    path = write_seg(tmp_path / "s.dcm", frames, **changes)
    with pytest.raises(BadScan) as caught:
        read_labels(path)
    assert caught.value.code == code
    assert caught.value.fix
    assert "s.dcm" in str(caught.value)


def box(low, high, z):
    """A rectangle in LPS mm through these corners (x, y)."""
    (x0, y0), (x1, y1) = low, high
    return [(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)]


def test_contours_are_filled_where_centres_lie_inside(tmp_path, scan):
    # Pixel (column i, row j) of slice k has its centre at (-10 + .8 i, -20 + .5 j, 30 + 2 k).
    outer = box((-10.4, -20.2), (-7.3, -18.8), 32)  # all 12 pixels
    hole = box((-9.4, -19.7), (-8.2, -19.3), 32)  # pixels (1, 1), (2, 1)
    path = write_struct(
        tmp_path / "r.dcm",
        [("liver", [outer, hole]), ("spleen", [box((-10.1, -20.1), (-9.9, -19.9), 38)])],
    )
    assert read_names(path) == {"liver": 1, "spleen": 2}
    array = read_labels(path, grid=scan.grid).to_file_order()
    assert np.count_nonzero(array == 1) == 10
    assert array[1, 1, 1] == array[2, 1, 1] == 0
    assert [tuple(spot) for spot in np.argwhere(array == 2)] == [(0, 0, 4)]
    with pytest.raises(BadScan, match="no grid") as caught:
        read_labels(path)
    assert caught.value.fix


def test_points_are_named(tmp_path, scan):
    contours = [box((-10.1, -20.1), (-9.9, -19.9), 30), [(-10, -20, 30)]]
    mask = read_labels(write_struct(tmp_path / "r.dcm", [("liver", contours)]), grid=scan.grid)
    assert np.count_nonzero(mask.voxels) == 1
    assert mask.notes == ("liver: left out 1 point or open line",)


@pytest.mark.parametrize(
    ("z", "word"), [(31.2, "does not lie in a slice"), (70, "outside"), (-10, "outside")]
)
def test_contours_of_another_scan(tmp_path, scan, z, word):
    path = write_struct(tmp_path / "r.dcm", [("liver", [box((-10, -20), (-9, -19), z)])])
    with pytest.raises(BadScan, match=word) as caught:
        read_labels(path, grid=scan.grid)
    assert caught.value.code == "M03"


def test_polygons():
    triangle = np.array([[0.6, 0.5], [3.6, 0.5], [3.6, 3.5]])
    assert np.argwhere(fill_polygon(triangle, (5, 5))).tolist() == [[2, 1], [3, 1], [3, 2]]
    beyond = np.array([[-3.0, -3.0], [9.0, -3.0], [9.0, 9.0], [-3.0, 9.0]])
    assert fill_polygon(beyond, (2, 3)).all()


def test_a_series_of_label_images(tmp_path, scan):
    voxels = np.zeros((5, 3, 4), np.int16)
    voxels[1, 2, 3] = 255
    mask = read_labels(write_series(tmp_path / "liver", voxels))
    assert np.allclose(mask.grid.affine, scan.grid.affine)
    assert [tuple(spot) for spot in np.argwhere(mask.to_file_order())] == [(3, 2, 1)]
    empty = read_labels(write_series(tmp_path / "none", np.zeros((5, 3, 4), np.int16)))
    assert not empty.voxels.any()
    with pytest.raises(BadScan, match="negative"):
        read_labels(write_series(tmp_path / "minus", voxels - 1))


def test_a_seg_among_the_slices_is_left_out_of_the_scan(tmp_path):
    voxels = np.arange(60, dtype=np.int16).reshape(5, 3, 4)
    folder = write_series(tmp_path / "s", voxels)
    write_seg(folder / "seg.dcm", [(1, 0, pixels((0, 0)))])
    volume = read_series(folder)
    assert volume.shape == (5, 3, 4)
    assert not any("left out" in note for note in volume.notes), "it is a mask, not lost"


def test_slices_are_no_masks(tmp_path):
    folder = write_series(tmp_path / "s", np.arange(60, dtype=np.int16).reshape(5, 3, 4))
    assert not any(is_dicom_mask(path) for path in folder.iterdir())
    assert pydicom.dcmread(folder / "im0").Modality == "CT"
