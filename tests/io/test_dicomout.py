"""DICOM SEG and RTSTRUCT out: other programs find voxels, names, terms and references in them."""

import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from fewmask.core.errors import BadConfig, BadScan
from fewmask.core.volume import LabelMap
from fewmask.io import terms as term_table
from fewmask.io.dicom import read_series, slices_of
from fewmask.io.dicomout import is_dicom_prediction, write_seg, write_struct
from fewmask.io.image import read_labels, read_segments
from fewmask.io.segments import Segment
from fewmask.io.terms import Term, parse_terms, term_of
from tests.io.test_dicom import change, write_series

SEGMENTS = [Segment("liver", 1, (255, 0, 51)), Segment("left kidney", 2, (0, 102, 255))]
TERMS = {one.name: term for one in SEGMENTS if (term := term_of(one.name))}


@pytest.fixture
def scan(tmp_path):
    """5 slices of 3 rows and 4 columns, files in an order that is not the slices'."""
    voxels = np.arange(60, dtype=np.int16).reshape(5, 3, 4)
    steps = [38.0, 30.0, 36.0, 34.0, 32.0]
    folder = write_series(tmp_path / "scan", voxels, steps, StudyInstanceUID="1.2.7")
    for n, path in enumerate(sorted(folder.iterdir())):
        change(path, SOPInstanceUID=f"1.2.8.{n}")
    return folder


def drawn(scan) -> LabelMap:
    grid = read_series(scan).grid
    array = np.zeros(grid.shape, np.uint8)
    array[0:3, 0:3, 1] = 1
    array[1, 1, 1] = 0  # a hole
    array[3, 2, 3] = 2
    return LabelMap.from_file_order(array, grid.affine)


def seg_of(tmp_path, scan):
    pytest.importorskip("highdicom", reason="highdicom (extra `dicom`) is not installed")
    path = tmp_path / "m.seg.dcm"
    write_seg(path, drawn(scan), slices_of(scan), SEGMENTS, TERMS)
    return path


def struct_of(tmp_path, scan):
    path = tmp_path / "m.rtstruct.dcm"
    write_struct(path, drawn(scan), slices_of(scan), SEGMENTS, TERMS)
    return path


@pytest.mark.parametrize("write", [seg_of, struct_of])
def test_what_is_written_is_read_again(tmp_path, scan, write):
    path, mask = write(tmp_path, scan), drawn(scan)
    back = read_labels(path, grid=mask.grid)
    assert np.array_equal(back.voxels, mask.voxels)
    found = read_segments(path)
    assert [segment.name for segment in found] == ["liver", "left kidney"]
    for segment, wanted in zip(found, SEGMENTS, strict=True):
        assert np.allclose(segment.colour or (), wanted.colour or (), atol=2)
    assert is_dicom_prediction(path)


def test_a_changed_mask_is_no_longer_ours(tmp_path, scan):
    path = struct_of(tmp_path, scan)
    data = pydicom.dcmread(path)
    data.ROIContourSequence[0].ContourSequence[0].ContourData[0] = "-9.5"
    data.save_as(path)
    assert not is_dicom_prediction(path)
    path = seg_of(tmp_path, scan)
    data = pydicom.dcmread(path)
    data.PixelData = b"\x01" + data.PixelData[1:]
    data.save_as(path)
    assert not is_dicom_prediction(path)


def test_highdicom_reads_the_seg(tmp_path, scan):
    path, mask = seg_of(tmp_path, scan), drawn(scan)
    import highdicom as hd

    seg = hd.seg.segread(path)
    volume = seg.get_volume(combine_segments=True)
    # LPS: voxel (slice, row, column) of theirs against (column, row, slice) of ours.
    affine, array = volume.affine, volume.array
    ours = mask.to_file_order()
    for place in np.argwhere(array):
        point = (affine @ [*place, 1])[:3] * [-1, -1, 1]
        spot = np.rint(np.linalg.inv(mask.grid.affine) @ [*point, 1])[:3].astype(int)
        assert array[tuple(place)] == ours[tuple(spot)]
    assert np.count_nonzero(array) == np.count_nonzero(ours) == 9
    described = seg.get_segment_description(1)
    assert described.segmented_property_type == codes.SCT.Liver
    assert seg.get_segment_description(2).segmented_property_type == codes.SCT.Kidney
    source = pydicom.dcmread(slices_of(scan)[0])
    assert seg.StudyInstanceUID == source.StudyInstanceUID
    assert {str(uid) for _, _, uid in seg.get_source_image_uids()} >= {
        str(pydicom.dcmread(slices_of(scan)[k]).SOPInstanceUID) for k in (1, 3)
    }


def test_itk_reads_the_seg(tmp_path, scan):
    itk = pytest.importorskip("SimpleITK", reason="SimpleITK (extra `test`) is not installed")
    frames = itk.GetArrayFromImage(itk.ReadImage(str(seg_of(tmp_path, scan))))
    assert [int((frame > 0).sum()) for frame in frames] == [8, 1]


def test_contours_name_the_slices_that_they_lie_in(tmp_path, scan):
    data = pydicom.dcmread(struct_of(tmp_path, scan))
    files = [pydicom.dcmread(path) for path in slices_of(scan)]
    for item, k in zip(data.ROIContourSequence, (1, 3), strict=True):
        (contour,) = item.ContourSequence
        assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID == files[k].SOPInstanceUID
        assert {float(z) for z in contour.ContourData[2::3]} == {30.0 + 2 * k}
    # The pixel (3, 2): its corners are half a pixel of .8 x .5 mm away from (-7.6, -19).
    corners = np.reshape([float(n) for n in contour.ContourData], (-1, 3))
    assert sorted(map(tuple, corners[:, :2].round(3))) == [
        (-8.0, -19.25), (-8.0, -18.75), (-7.2, -19.25), (-7.2, -18.75),
    ]  # fmt: skip
    code = data.RTROIObservationsSequence[0].RTROIIdentificationCodeSequence[0]
    assert (code.CodeValue, code.CodeMeaning) == ("10200004", "Liver")
    assert data.FrameOfReferenceUID == data.StructureSetROISequence[0].ReferencedFrameOfReferenceUID


def test_rt_utils_reads_the_contours(tmp_path, scan):
    rt = pytest.importorskip("rt_utils", reason="rt-utils is not installed (it brings OpenCV)")
    struct = rt.RTStructBuilder.create_from(str(scan), str(struct_of(tmp_path, scan)))
    assert struct.get_roi_names() == ["liver", "left kidney"]
    theirs = struct.get_roi_mask_by_name("liver")
    assert theirs.any(axis=(0, 1)).sum() == 1


def test_an_empty_mask_is_written(tmp_path, scan):
    grid = read_series(scan).grid
    empty = LabelMap.from_file_order(np.zeros(grid.shape, np.uint8), grid.affine)
    write_struct(tmp_path / "m.dcm", empty, slices_of(scan), SEGMENTS, {})
    assert not read_labels(tmp_path / "m.dcm", grid=grid).voxels.any()
    assert is_dicom_prediction(tmp_path / "m.dcm")
    pytest.importorskip("highdicom", reason="highdicom (extra `dicom`) is not installed")
    write_seg(tmp_path / "s.dcm", empty, slices_of(scan), SEGMENTS, {})
    assert not read_labels(tmp_path / "s.dcm", grid=grid).voxels.any()


def test_slices_that_do_not_fit(tmp_path, scan):
    with pytest.raises(BadScan, match="5 slices, its series 4 files"):
        write_struct(tmp_path / "m.dcm", drawn(scan), slices_of(scan)[:4], SEGMENTS, {})
    assert not (tmp_path / "m.dcm").exists()


def test_a_missing_package_is_named_with_its_extra(tmp_path, scan, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    with pytest.raises(BadConfig, match="needs the package highdicom") as caught:
        write_seg(tmp_path / "m.dcm", drawn(scan), slices_of(scan), SEGMENTS, {})
    assert "fewmask[dicom]" in caught.value.fix


def test_terms_are_those_of_the_standard():
    """pydicom carries the standard's own tables."""
    known = {getattr(getattr(codes.SCT, name), "value", "") for name in dir(codes.SCT)}
    table = [*term_table._ANATOMY.values(), *term_table._LESIONS.values()]
    assert set(table) <= known
    assert {code for code, _, _ in term_table.CATEGORIES.values()} <= known
    assert len(set(table)) == len(table)


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("Liver", "Liver"), ("left_kidney", "Kidney"), ("kidneys", "Kidney"),
        ("kidney_right", "Kidney"), ("left atrium", "Left atrium"), ("tumour", "Neoplasm"),
        ("urinary-bladder", "Bladder"),
    ],
)  # fmt: skip
def test_names_and_terms(name, meaning):
    term = term_of(name)
    assert term is not None and term.meaning == meaning
    assert term_of("something else") is None


def test_terms_of_a_person():
    found = parse_terms(["x=SCT:52988006:Lesion:lesion", "y=99X:1:Own thing"], ["x", "y"])
    assert found["x"] == Term("52988006", "SCT", "Lesion", "lesion")
    assert found["y"].scheme == "99X"
    for line in ("x", "x=SCT:1", "z=SCT:1:Z", "x=SCT:1:X:organ", "x=SCT:" + "1" * 17 + ":X"):
        with pytest.raises(BadConfig) as caught:
            parse_terms([line], ["x", "y"])
        assert caught.value.fix
