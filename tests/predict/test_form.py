"""Formats of masks: the same voxels in each, names and colours kept, nothing of others lost."""

import numpy as np
import pydicom
import pytest

from fewmask.core.errors import BadConfig
from fewmask.core.volume import LabelMap, Volume
from fewmask.io.dicom import read_series
from fewmask.io.image import read_labels, read_names, read_volume
from fewmask.io.segments import coloured
from fewmask.io.snap import read_snap
from fewmask.io.terms import Term
from fewmask.predict.folder import predict_folder
from fewmask.predict.form import ENDINGS, MaskForm, tell_terms
from fewmask.predict.predictor import Prediction
from tests.io.test_dicom import change, write_series
from tests.scans import write_scans

CLASSES = ("liver", "thing")
LIVER = Term("10200004", "SCT", "Liver")


class Corner:
    """Calls 1 the first voxel and 2 the last one, in (d, h, w)."""

    promptable = False

    def volume(self, volume: Volume) -> Prediction:
        voxels = np.zeros(volume.shape, np.uint8)
        voxels[0, 0, 0], voxels[-1, -1, -1] = 1, 2
        return Prediction(LabelMap(voxels, volume.grid), None, 0)

    def volume_with_boxes(self, volume, boxes):
        raise NotImplementedError


def form_of(name: str) -> MaskForm:
    return MaskForm(name, coloured(CLASSES), {"liver": LIVER})


@pytest.mark.parametrize("name", ["nifti", "nrrd", "seg.nrrd", "mha"])
def test_the_same_voxels_in_each_format(tmp_path, name):
    write_scans(tmp_path / "scans", 1)
    out = tmp_path / "masks"
    for _ in range(2):  # its own it makes anew
        summary = predict_folder(Corner(), tmp_path / "scans", out, form=form_of(name))
        assert summary.written == ["case_00"]
    path = out / f"case_00{ENDINGS[name]}"
    mask = read_labels(path)
    assert np.argwhere(mask.voxels == 1).tolist() == [[0, 0, 0]]
    assert np.argwhere(mask.voxels == 2).tolist() == [[7, 31, 31]]
    scan = read_volume(tmp_path / "scans/images/case_00.nii.gz")
    assert np.allclose(mask.grid.affine, scan.grid.affine)
    if name == "seg.nrrd":
        assert read_names(path) == {"liver": 1, "thing": 2}
        assert len(list(out.iterdir())) == 1
    else:
        assert read_snap(out / "labels.itksnap.txt") == coloured(CLASSES)
        table = (out / "labels.ctbl").read_text().splitlines()
        assert table[3:] == ["1 liver 0 114 178 255", "2 thing 230 159 0 255"]


def test_names_of_others_are_left(tmp_path):
    write_scans(tmp_path / "scans", 1)
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/labels.ctbl").write_text("mine")
    summary = predict_folder(Corner(), tmp_path / "scans", tmp_path / "masks", form=form_of("nrrd"))
    assert (tmp_path / "masks/labels.ctbl").read_text() == "mine"
    assert any("labels.ctbl was there already" in note for note in summary.notes)


def test_a_corrected_mask_is_kept_in_any_format(tmp_path):
    write_scans(tmp_path / "scans", 1)
    out, form = tmp_path / "masks", form_of("mha")
    predict_folder(Corner(), tmp_path / "scans", out, form=form)
    content = (out / "case_00.mha").read_bytes()
    # The digest in the header is one of other voxels.
    at = content.index(b"fewmask mask ") + 13
    (out / "case_00.mha").write_bytes(content[:at] + b"0" * 40 + content[at + 40 :])
    with pytest.raises(BadConfig, match="not as fewmask drew it"):
        predict_folder(Corner(), tmp_path / "scans", out, form=form)


@pytest.mark.parametrize("name", ["dicom-seg", "rtstruct"])
def test_dicom_refers_to_the_scan(tmp_path, name):
    if name == "dicom-seg":
        pytest.importorskip("highdicom", reason="highdicom (extra `dicom`) is not installed")
    voxels = np.arange(60, dtype=np.int16).reshape(5, 3, 4)
    folder = write_series(tmp_path / "scans/p0", voxels, StudyInstanceUID="1.2.7")
    for n, path in enumerate(sorted(folder.iterdir())):
        change(path, SOPInstanceUID=f"1.2.8.{n}")
    for _ in range(2):
        summary = predict_folder(
            Corner(), tmp_path / "scans/p0", tmp_path / "masks", form=form_of(name)
        )
    path = tmp_path / f"masks/p0{ENDINGS[name]}"
    grid = read_series(folder).grid
    back = read_labels(path, grid=grid)
    assert np.argwhere(back.voxels == 2).tolist() == [[4, 2, 3]]
    assert pydicom.dcmread(path).StudyInstanceUID == "1.2.7"
    assert tell_terms(form_of(name))[0] in summary.notes


def test_dicom_is_for_dicom_scans(tmp_path):
    write_scans(tmp_path / "scans", 1)
    with pytest.raises(BadConfig, match="refers to the DICOM scan") as caught:
        predict_folder(Corner(), tmp_path / "scans", tmp_path / "masks", form=form_of("rtstruct"))
    assert not (tmp_path / "masks").exists()
    assert "format=seg.nrrd" in caught.value.fix


def test_only_tissue_is_told():
    assert "no coded term for thing" in tell_terms(form_of("dicom-seg"))[0]
    assert tell_terms(form_of("nifti")) == []


def test_two_formats_share_a_folder_and_neither_is_drawn_twice(tmp_path):
    """What a mask was made of stands in a file of its own for each format."""
    write_scans(tmp_path / "scans", 1)
    out = tmp_path / "masks"

    class Stamped(Corner):
        stamp = "weights 1"

    forms = [form_of(name) for name in ("nifti", "nrrd", "seg.nrrd", "mha")]
    kept = [
        [predict_folder(Stamped(), tmp_path / "scans", out, form=form).kept for form in forms]
        for _ in range(2)
    ]
    assert kept == [[[]] * 4, [["case_00"]] * 4]


def test_names_of_bids(tmp_path):
    """The scans keep their subject and session; the same command again keeps the masks."""
    write_scans(tmp_path / "plain", 2)
    for number, session in enumerate(("1", "2")):
        folder = tmp_path / "bids" / "sub-07" / f"ses-{session}" / "anat"
        folder.mkdir(parents=True)
        scan = tmp_path / "plain" / "images" / f"case_0{number}.nii.gz"
        scan.rename(folder / f"sub-07_ses-{session}_T1w.nii.gz")
    form = MaskForm("nifti", coloured(CLASSES), naming="bids")
    out = tmp_path / "masks"
    for _ in range(2):
        assert len(predict_folder(Corner(), tmp_path / "bids", out, form=form).written) == 2
    mask = out / "sub-07" / "ses-2" / "anat" / "sub-07_ses-2_desc-fewmask_dseg.nii.gz"
    assert np.argwhere(read_labels(mask).voxels == 2).tolist() == [[7, 31, 31]]
    assert (out / "desc-fewmask_dseg.tsv").read_text().splitlines()[1:] == [
        "1\tliver\t#0072b2", "2\tthing\t#e69f00",
    ]  # fmt: skip
    assert (out / "dataset_description.json").exists()


def test_c02_two_scans_with_one_name_of_bids_are_refused(tmp_path):
    write_scans(tmp_path / "plain", 2)
    (tmp_path / "scans").mkdir()
    for number, name in enumerate(("liver-7a", "liver7a")):
        scan = tmp_path / "plain" / "images" / f"case_0{number}.nii.gz"
        scan.rename(tmp_path / "scans" / f"{name}.nii.gz")
    form = MaskForm("nifti", coloured(CLASSES), naming="bids")
    with pytest.raises(BadConfig, match="would have one name"):
        predict_folder(Corner(), tmp_path / "scans", tmp_path / "masks", form=form)
    assert not (tmp_path / "masks").exists()
