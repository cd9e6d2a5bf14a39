"""Names of BIDS, and the files beside masks that have them."""

import json

import pytest

from fewmask.io.bids import mask_path, write_description
from fewmask.io.segments import Segment


@pytest.mark.parametrize(
    ("case", "path"),
    [
        ("sub-01_T1w", "sub-01/anat/sub-01_desc-fewmask_dseg.nii.gz"),
        ("sub-01_ses-2_T1w", "sub-01/ses-2/anat/sub-01_ses-2_desc-fewmask_dseg.nii.gz"),
        ("ses-b_sub-a_acq-x", "sub-a/ses-b/anat/sub-a_ses-b_acq-x_desc-fewmask_dseg.nii.gz"),
        ("sub-1_desc-preproc_T1w", "sub-1/anat/sub-1_desc-fewmask_dseg.nii.gz"),
        ("liver 12_art", "sub-liver12art/anat/sub-liver12art_desc-fewmask_dseg.nii.gz"),
        ("sub-../x", "sub-x/anat/sub-x_desc-fewmask_dseg.nii.gz"),
        ("_-", "sub-x/anat/sub-x_desc-fewmask_dseg.nii.gz"),
    ],
)
def test_a_case_has_its_subject_session_and_entities(case, path) -> None:
    assert mask_path(case, ".nii.gz").as_posix() == path


def test_what_lies_beside_the_masks(tmp_path) -> None:
    segments = [Segment("liver", 1, (221, 130, 101)), Segment("spleen", 2)]
    assert write_description(tmp_path, segments) == []
    about = json.loads((tmp_path / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative" and about["GeneratedBy"][0]["Name"] == "fewmask"
    table = (tmp_path / "desc-fewmask_dseg.tsv").read_text()
    assert table == "index\tname\tcolor\n1\tliver\t#dd8265\n2\tspleen\t#ffffff\n"
    assert "*.signs.json\n" in (tmp_path / ".bidsignore").read_text()
    assert write_description(tmp_path, segments) == [], "the same again"
    (note,) = write_description(tmp_path, segments[:1])
    assert note == "desc-fewmask_dseg.tsv was there already and is left as it is"
