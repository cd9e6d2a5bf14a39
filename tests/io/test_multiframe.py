"""Enhanced CT: one file of many frames gives the volume of the same slices in single files."""

import numpy as np
import pydicom
import pytest
from pydicom.sequence import Sequence

from fewmask.core.errors import BadScan
from fewmask.io.dicom import read_series
from tests.io.test_dicom import make_instance, write_series
from tests.io.test_dicommask import group

VOXELS = np.arange(60, dtype=np.int16).reshape(5, 3, 4)
ENHANCED = "1.2.840.10008.5.1.4.1.1.2.1"
FRAMES = (3, 0, 4, 1, 2)


def write_enhanced(folder, places=FRAMES, **changes):
    """Frames in an order that is not the slices'; slice k lies where `write_series` puts it."""
    folder.mkdir()
    data = make_instance(VOXELS[0], [0, 0, 0], 1, SOPClassUID=ENHANCED)
    data.file_meta.MediaStorageSOPClassUID = ENHANCED
    scaling = group(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")
    measures = group(PixelSpacing=[0.5, 0.8], SliceThickness=2)
    turn = group(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    data.SharedFunctionalGroupsSequence = Sequence(
        [
            group(
                PixelMeasuresSequence=Sequence([measures]),
                PlaneOrientationSequence=Sequence([turn]),
                PixelValueTransformationSequence=Sequence([scaling]),
            )
        ]
    )
    data.PerFrameFunctionalGroupsSequence = Sequence(
        group(PlanePositionSequence=Sequence([group(ImagePositionPatient=[-10, -20, 30 + 2 * k])]))
        for k in places
    )
    data.NumberOfFrames = len(places)
    data.PixelData = VOXELS[list(places)].tobytes()
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(data, name)
    for name, value in changes.items():
        setattr(data, name, value)
    data.save_as(folder / "all")
    return folder


def test_the_same_volume_as_from_single_files(tmp_path):
    single = read_series(write_series(tmp_path / "single", VOXELS))
    volume = read_series(write_enhanced(tmp_path / "one"))
    assert np.array_equal(volume.voxels, single.voxels)
    assert np.allclose(volume.grid.affine, single.grid.affine)
    assert (volume.slope, volume.inter) == (single.slope, single.inter) == (1, -1024)


@pytest.mark.parametrize(
    ("code", "places", "changes"),
    [
        ("D01", (0, 1, 2, 4), {}),
        ("D02", (0, 1, 1, 2, 3), {}),
        ("D08", FRAMES, {"PixelData": b"\0" * 40}),
        ("D08", FRAMES, {"NumberOfFrames": 6}),
        ("D08", FRAMES, {"NumberOfFrames": 2**31 - 1}),
        ("D08", FRAMES, {"Rows": 60_000}),
        ("D10", FRAMES, {"SamplesPerPixel": 3}),
    ],
)
def test_refused_as_single_files_are(tmp_path, code, places, changes):
    folder = write_enhanced(tmp_path / "one", places, **changes)
    with pytest.raises(BadScan) as caught:
        read_series(folder)
    assert caught.value.code == code, caught.value
    assert caught.value.fix


def test_frames_of_several_scalings(tmp_path):
    folder = write_enhanced(tmp_path / "one")
    data = pydicom.dcmread(folder / "all")
    own = group(RescaleSlope=2, RescaleIntercept=0)
    data.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence = Sequence([own])
    data.save_as(folder / "all")
    with pytest.raises(BadScan, match="rescale slope and intercept differ"):
        read_series(folder)
