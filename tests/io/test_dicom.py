"""DICOM series: geometry against hand-computed numbers, and every code from D01 to D10."""

import os
import re
import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEGLSLossless,
    RLELossless,
)

from fewmask.core.errors import BadScan, NoRoom
from fewmask.io.dicom import is_dicom_folder, list_series, read_series
from fewmask.io.nifti import read_volume
from tests.narrow import Settings

AXIAL = [1, 0, 0, 0, 1, 0]
PERSON = "Doe^Jane"


def make_instance(
    pixels: np.ndarray, position: list[float], number: int, **tags: object
) -> FileDataset:
    """One CT slice with 2 mm step, 0.5 mm between rows, 0.8 mm between columns; `tags` change or
    (None) remove tags.
    """
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
    one = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    one.SOPClassUID, one.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    one.PatientName, one.PatientID = PERSON, "MRN0042"
    one.SeriesInstanceUID, one.Modality, one.SeriesNumber, one.InstanceNumber = (
        "1.2.3",
        "CT",
        7,
        number,
    )
    one.SeriesDescription = "portal venous"
    one.ImagePositionPatient, one.ImageOrientationPatient, one.PixelSpacing = (
        position,
        AXIAL,
        [0.5, 0.8],
    )
    one.SliceThickness, one.RescaleSlope, one.RescaleIntercept = 5, 1, -1024
    one.Rows, one.Columns = pixels.shape
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated = one.BitsStored = pixels.dtype.itemsize * 8
    one.HighBit = one.BitsStored - 1
    one.PixelRepresentation = int(pixels.dtype.kind == "i")
    one.PixelData = pixels.tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(one, name)
        else:
            setattr(one, name, value)
    return one


def write_series(
    folder: Path, voxels: np.ndarray, steps: list[float] | None = None, **tags: object
) -> Path:
    """Slices k at (-10, -20, 30 + 2 k) mm LPS, or at the given z."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, pixels in enumerate(voxels):
        z = 30.0 + 2 * k if steps is None else steps[k]
        make_instance(pixels, [-10, -20, z], k + 1, **tags).save_as(folder / f"im{k}")
    return folder


def change(path: Path, **tags: object) -> None:
    one = pydicom.dcmread(path)
    for name, value in tags.items():
        if value is None:
            delattr(one, name)
        else:
            setattr(one, name, value)
    one.save_as(path)


def refused(folder: Path, row: str, *words: str, **options: Any) -> str:
    with pytest.raises(BadScan) as caught:
        read_series(folder, **options)
    text = str(caught.value)
    assert caught.value.code == row, text
    assert caught.value.fix
    assert all(re.search(word, text) for word in words), text
    assert PERSON not in text
    assert "MRN0042" not in text
    return text


@pytest.fixture
def voxels() -> np.ndarray:
    return np.arange(5 * 3 * 4, dtype=np.int16).reshape(5, 3, 4)


def test_axial_series_has_the_hand_computed_affine(tmp_path, voxels):
    volume = read_series(write_series(tmp_path / "s", voxels))
    # LPS (-10, -20, 30) is RAS (10, 20, 30); columns go left by 0.8, rows go back by 0.5, slices go
    # up by 2.
    assert np.allclose(
        volume.grid.affine,
        np.array([[-0.8, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1]]),
    )
    assert volume.grid.shape == (4, 3, 5)
    assert np.array_equal(volume.voxels, voxels)
    assert volume.voxels.dtype == np.int16
    assert (volume.slope, volume.inter) == (1.0, -1024.0)
    assert volume.spacing_mm == pytest.approx((2, 0.5, 0.8))


def test_sagittal_series_is_turned(tmp_path, voxels):
    folder = tmp_path / "s"
    folder.mkdir()
    for k, pixels in enumerate(
        voxels
    ):  # columns go posterior, rows go inferior, the normal points right (LPS -x)
        one = make_instance(
            pixels, [-3.0 * k, 0, 100], k, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]
        )
        one.save_as(folder / f"{k}.dcm")
    volume = read_series(folder)
    assert volume.shape == (3, 4, 5)
    assert volume.spacing_mm == pytest.approx((0.5, 0.8, 3))
    for d, h, w in np.ndindex(3, 4, 5):
        assert volume.voxels[d, h, w] == voxels[4 - w, 2 - d, h]


def test_series_equals_the_nifti_of_the_same_scan(tmp_path, voxels):
    volume = read_series(write_series(tmp_path / "s", voxels))
    affine = np.array([[-0.8, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(voxels.transpose(2, 1, 0) - 1024, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "s.nii.gz")
    twin = read_volume(tmp_path / "s.nii.gz")
    assert np.array_equal(twin.intensities(), volume.intensities())
    assert np.allclose(twin.affine, volume.affine, atol=1e-5)


def test_order_comes_from_positions_not_from_names_or_numbers(tmp_path, voxels):  # D06
    straight = read_series(write_series(tmp_path / "a", voxels))
    turned = tmp_path / "b"
    turned.mkdir()
    for k, pixels in enumerate(voxels):
        make_instance(pixels, [-10, -20, 30 + 2 * k], 50 - k).save_as(turned / f"{9 - k}.dcm")
    again = read_series(turned)
    assert np.array_equal(again.voxels, straight.voxels)
    assert np.array_equal(again.grid.affine, straight.grid.affine)


def test_one_slice_uses_its_thickness(tmp_path, voxels):
    assert read_series(write_series(tmp_path / "s", voxels[:1])).spacing_mm[0] == pytest.approx(5)
    change(tmp_path / "s/im0", SliceThickness=None)
    refused(tmp_path / "s", "D08", "thickness")


def test_gap_names_positions_step_and_slice(tmp_path, voxels):  # D01
    folder = write_series(tmp_path / "s", voxels[:4], steps=[0, 2, 4, 8])
    refused(folder, "D01", r"gap of 4 mm between z=4 and z=8, step is 2 mm; slice 3 absent")


def test_uneven_distances_are_not_called_a_gap(tmp_path, voxels):  # D01
    refused(
        write_series(tmp_path / "s", voxels, steps=[0, 2, 4, 6, 7.2]),
        "D01",
        "vary from 1.2 to 2 mm",
    )


def test_rounded_positions_are_accepted(tmp_path, voxels):
    volume = read_series(write_series(tmp_path / "s", voxels, steps=[0, 1.3, 2.5, 3.8, 5.0]), None)
    assert volume.spacing_mm[0] == pytest.approx(1.25)


def test_duplicate_position(tmp_path, voxels):  # D02
    folder = write_series(tmp_path / "s", voxels)
    make_instance(voxels[0] + 500, [-10, -20, 32], 99).save_as(folder / "copy")
    refused(folder, "D02", "im1", "copy", "32 mm")
    volume = read_series(folder, keep_first=True)
    assert np.array_equal(volume.voxels, voxels)
    assert "1 slice left out, at a position" in volume.notes[0]


def test_tilt_is_measured_from_positions(tmp_path, voxels):  # D03
    folder = tmp_path / "s"
    folder.mkdir()
    shift = 2 * np.tan(np.radians(15))
    for k, pixels in enumerate(voxels):
        make_instance(pixels, [0, k * shift, 2 * k], k, GantryDetectorTilt=3).save_as(
            folder / str(k)
        )
    refused(folder, "D03", r"tilted by 15\.0 degrees")


def test_slice_beside_the_line(tmp_path, voxels):  # D03
    folder = write_series(tmp_path / "s", voxels)
    change(folder / "im2", ImagePositionPatient=[-7, -20, 34])
    refused(folder, "D03", "slice 2 stands 3.00 mm beside", "im2")


def test_two_series_are_listed(tmp_path, voxels):  # D04
    folder = write_series(tmp_path / "s", voxels)
    make_instance(
        voxels[0, :2, :2],
        [0, 0, 0],
        1,
        SeriesInstanceUID="1.2.4",
        SeriesNumber=1,
        SeriesDescription="scout",
    ).save_as(folder / "x")
    refused(
        folder,
        "D04",
        "series 7: CT, 4 x 3 x 5, portal venous",
        "series 1: CT, 2 x 2 x 1, scout",
        "`series`",
    )
    for name in ("7", "1.2.3", "Portal Venous"):
        assert read_series(folder, name).shape == (5, 3, 4)
    refused(folder, "D04", "0 series match", series="nothing")


def test_dose_report_is_left_out_with_a_note_and_refused_when_chosen(tmp_path, voxels):  # D04
    folder = write_series(tmp_path / "s", voxels)
    report = make_instance(
        voxels[0],
        [0, 0, 0],
        1,
        SeriesInstanceUID="1.9",
        SeriesNumber=9,
        Modality="SR",
        PixelData=None,
        Rows=None,
        Columns=None,
    )
    report.save_as(folder / "dose")
    assert "left out, no scan: series 9: SR, 1 object without an image" in str(
        read_series(folder).notes
    )
    refused(folder, "D08", "no image", "dose", series="9")


@pytest.mark.parametrize(
    ("tags", "word"),
    [
        ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, "image orientation"),
        ({"PixelSpacing": [0.5, 0.7]}, "pixel spacing"),
        ({"RescaleSlope": 2}, "rescale"),
        ({"RescaleIntercept": 0}, "rescale"),
        ({"Rows": 2}, "rows and columns"),
        ({"PixelRepresentation": 0}, "kind of pixels"),
    ],
)
def test_mixed_series_names_the_odd_instance(tmp_path, voxels, tags, word):  # D05
    folder = write_series(tmp_path / "s", voxels)
    change(folder / "im3", **tags)
    text = refused(folder, "D05", word, "im3", "1 of 5 files")
    assert "im1" not in text


def test_undecodable_syntax_is_named(tmp_path, voxels):  # D07
    folder = write_series(tmp_path / "s", voxels)
    one = pydicom.dcmread(folder / "im1")
    one.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xf7" + bytes(60)])
    one.file_meta.TransferSyntaxUID = HTJ2KLossless
    one["PixelData"].VR = "OB"
    one.save_as(folder / "im1")
    if pydicom.pixels.get_decoder(HTJ2KLossless).is_available:
        pytest.skip("this machine can decode high-throughput JPEG 2000")
    refused(folder, "D07", "High-Throughput JPEG 2000", r"pip install 'fewmask\[dicom\]'", "im1")


def test_the_extra_decodes_what_archives_send(tmp_path):
    if not pydicom.pixels.get_encoder(JPEGLSLossless).is_available:
        pytest.skip("nothing here encodes JPEG-LS: the extra `dicom` is not installed")
    voxels = np.random.default_rng(0).integers(-900, 900, (3, 16, 16)).astype(np.int16)
    folder = write_series(tmp_path / "s", voxels)
    for n, path in enumerate(sorted(folder.iterdir()), 1):
        one = pydicom.dcmread(path)
        one.SOPInstanceUID = f"1.2.8.{n}"
        one.compress(JPEGLSLossless, generate_instance_uid=False)
        one.save_as(path)
    assert np.array_equal(read_series(folder).voxels, voxels)


def test_run_length_coding_is_read(tmp_path, voxels):
    folder = write_series(tmp_path / "s", voxels)
    for path in sorted(folder.iterdir()):
        one = pydicom.dcmread(path)
        one.compress(RLELossless)
        one.save_as(path)
    assert np.array_equal(read_series(folder).voxels, voxels)


@pytest.mark.parametrize(
    "name", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"]
)
def test_missing_geometry(tmp_path, voxels, name):  # D08
    folder = write_series(tmp_path / "s", voxels[:1])
    change(folder / "im0", **{name: None})
    refused(folder, "D08", name, "im0")


def test_no_pixel_data_and_truncation(tmp_path, voxels):  # D08
    folder = write_series(tmp_path / "a", voxels)
    change(folder / "im2", PixelData=None)
    refused(folder, "D08", "no pixel data|truncated", "im2")
    folder = write_series(tmp_path / "b", np.zeros((3, 40, 40), np.int16))
    whole = (folder / "im1").read_bytes()
    (folder / "im1").write_bytes(whole[: len(whole) - 1000])
    refused(folder, "D08", "truncated|cannot be read", "im1")
    (folder / "im1").write_bytes(whole[:200])
    refused(folder, "D08", "im1")


def test_huge_declared_size_is_refused_before_allocation(tmp_path, voxels):  # D08
    folder = write_series(tmp_path / "s", voxels[:1])
    change(folder / "im0", Rows=65535, Columns=65535)
    refused(folder, "D08", "8192")


def test_file_without_preamble_is_read(tmp_path, voxels):  # D08
    folder = write_series(tmp_path / "s", voxels)
    for path in sorted(folder.iterdir()):
        one = pydicom.dcmread(path)
        bare = Dataset()
        bare.update(one)
        bare.save_as(path, implicit_vr=True, little_endian=True)
        assert path.read_bytes()[128:132] != b"DICM"
    volume = read_series(folder)
    assert np.array_equal(volume.voxels, voxels)
    assert volume.notes == ("DICOM files without preamble were read",)


@pytest.mark.parametrize("start", [b"MZ\x90\x00", b"\x7fELF\x02"])
def test_program_in_the_preamble_is_refused(tmp_path, voxels, start):  # D08
    folder = write_series(tmp_path / "s", voxels)
    data = (folder / "im0").read_bytes()
    (folder / "im0").write_bytes(start + data[len(start) :])
    refused(folder, "D08", "program", "im0")


@pytest.mark.parametrize(
    "file_id", [["..", "..", "etc", "passwd"], ["A", "../../etc/passwd"], ["/etc/passwd"]]
)
def test_dicomdir_that_points_out(tmp_path, voxels, file_id):  # D09
    folder = write_series(tmp_path / "s", voxels)
    directory = make_instance(voxels[0], [0, 0, 0], 1, PixelData=None)
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    record = Dataset()
    record.DirectoryRecordType = "IMAGE"
    record.ReferencedFileID = ["IMAGES", "IM1"]
    directory.DirectoryRecordSequence = [record]
    directory.save_as(folder / "DICOMDIR")
    assert read_series(folder).shape == (5, 3, 4)  # a harmless one is passed over
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom knows that no such value should be written
        record.ReferencedFileID = file_id
        directory.save_as(folder / "DICOMDIR")
    refused(folder, "D09", "DICOMDIR", "ReferencedFileID")


@pytest.mark.parametrize(
    ("tags", "word"),
    [
        ({"NumberOfFrames": 5}, "multi-frame"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}, "Enhanced CT Image Storage"),
        ({"RescaleType": "OD"}, "not HU"),
        ({"PhotometricInterpretation": "RGB"}, "colour"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "MONOCHROME1"),
        ({"HighBit": 14}, "highest bit 14"),
    ],
)
def test_unsupported_kinds_are_refused_by_name(tmp_path, voxels, tags, word):  # D10
    refused(write_series(tmp_path / "s", voxels, **tags), "D10", word, "im0")


def test_monochrome1_is_inverted(tmp_path):  # D10
    mr: Settings = {
        "Modality": "MR",
        "PhotometricInterpretation": "MONOCHROME1",
        "RescaleIntercept": 0,
        "BitsStored": 12,
        "HighBit": 11,
    }
    pixels = np.array([[[0, 1], [4094, 4095]]] * 2, np.uint16)
    volume = read_series(write_series(tmp_path / "u", pixels, **mr))
    assert volume.voxels[0].tolist() == [[4095, 4094], [1, 0]]
    assert volume.voxels.dtype == np.uint16
    pixels = np.array([[[-2048, -1], [0, 2047]]] * 2, np.int16)
    assert read_series(write_series(tmp_path / "s", pixels, **mr)).voxels[0].tolist() == [
        [2047, 0],
        [-1, -2048],
    ]


def test_signed_values_of_twelve_bits(tmp_path):  # D10
    twelve: Settings = {"BitsStored": 12, "HighBit": 11}
    plain = np.array([[[-2048, -1], [0, 2047]]] * 2, np.int16)
    assert np.array_equal(read_series(write_series(tmp_path / "a", plain, **twelve)).voxels, plain)
    zero_filled = (plain & 0x0FFF).astype(
        np.int16
    )  # the same values, sign not carried into the unused bits
    assert np.array_equal(
        read_series(write_series(tmp_path / "b", zero_filled, **twelve)).voxels, plain
    )
    confused = np.array([[[64000, 0], [0, 1]]] * 2, np.uint16)  # -1536 written as unsigned
    refused(write_series(tmp_path / "c", confused, **twelve), "D10", "12 bits", "im0")


def test_what_has_no_contrast_or_no_scaling_is_refused_as_in_nifti(tmp_path, voxels):
    refused(
        write_series(tmp_path / "s", np.zeros_like(voxels)), "N33", "every voxel is", "series 7"
    )
    refused(write_series(tmp_path / "t", voxels, RescaleSlope=0), "N37", "slope 0", "series 7")


def test_unsigned_values_stay_above_32767(tmp_path):  # N39
    pixels = np.array([[[65535, 0], [0, 1]]] * 2, np.uint16)
    assert read_series(write_series(tmp_path / "s", pixels)).intensities().max() == 65535 - 1024


def test_padding_and_burned_in_text_are_noted(tmp_path, voxels):
    notes = read_series(
        write_series(tmp_path / "s", voxels, PixelPaddingValue=3, BurnedInAnnotation="YES")
    ).notes
    assert "1 voxel holds the padding value 3" in notes
    assert any("burned into" in note for note in notes)


def test_recognised_by_content_and_nothing_else(tmp_path, voxels):
    write_series(tmp_path / "case/study/series", voxels)
    (tmp_path / "text").mkdir()
    (tmp_path / "text/a.dcm").write_bytes(b"not an image" * 50)
    assert is_dicom_folder(tmp_path / "case")
    assert not is_dicom_folder(tmp_path / "case", deep=False)
    assert not is_dicom_folder(tmp_path / "text")
    assert list_series(tmp_path / "case")[0].modality == "CT"
    refused(tmp_path / "text", "D08", "no DICOM series in text")


def test_pipes_and_outward_links_are_never_opened(tmp_path, voxels):
    folder = write_series(tmp_path / "s", voxels)
    outside = write_series(tmp_path / "other", voxels, SeriesInstanceUID="9.9")
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(outside / "im0")
    (folder / "loop").symlink_to(folder / "loop")
    assert len(list_series(folder)) == 1


def test_a_slice_that_was_not_copied_is_missed_at_the_end_of_the_stack_too(
    tmp_path, voxels, monkeypatch
):
    folder = write_series(tmp_path / "s", voxels)
    (folder / "im4").write_bytes(b"")
    refused(folder, "D08", "1 empty file", "im4")
    write_series(folder, voxels)
    (tmp_path / "s" / "notes").mkdir()
    (tmp_path / "s" / "notes" / "readme").write_bytes(b"")
    assert read_series(folder).shape[0] == 5, "an empty file elsewhere is no slice"


def test_a_slice_that_may_not_be_read_is_not_left_out(tmp_path, voxels, monkeypatch):
    folder = write_series(tmp_path / "s", voxels)
    opened = Path.open

    def guarded(path: Path, *rest: Any, **more: Any):
        if path.name == "im0":
            raise PermissionError(13, "Permission denied")
        return opened(path, *rest, **more)

    monkeypatch.setattr(Path, "open", guarded)
    assert is_dicom_folder(folder)
    with pytest.raises(NoRoom, match="cannot read im0") as caught:
        read_series(folder)
    assert caught.value.code == "N47"


def test_the_checks_of_nifti_hold_for_dicom_too(tmp_path, voxels):
    """N33, N37: behind every door, not in one of them."""
    refused(write_series(tmp_path / "a", np.full_like(voxels, 7)), "N33", "no contrast", "a")
    refused(write_series(tmp_path / "b", voxels, RescaleSlope=0), "N37", "slope 0", "b")
