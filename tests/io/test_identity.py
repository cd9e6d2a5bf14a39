"""PHI1: what may identify a person is found in headers and sidecars, and never shown."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fewmask.io.identity import identifying_fields, identifying_text
from fewmask.io.nifti import write_volume
from fewmask.prepare.check import check
from fewmask.prepare.options import PrepareOptions
from tests.scans import write_scans

_SECRETS = ("DOE", "JOHN", "7654321", "19610203", "1961", "HOSPITAL")


def change(path: Path, extension: bytes = b"", code: int = 6, **fields: bytes) -> None:
    image = nib.load(path)
    for name, value in fields.items():
        image.header[name] = value
    if extension:
        image.header.extensions.append(nib.nifti1.Nifti1Extension(code, extension))
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), path)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"descrip": b"DOE^JOHN MRN7654321"}, "field descrip"),
        ({"db_name": b"HOSPITAL"}, "field db_name"),
        ({"aux_file": b"born 03.02.1961"}, "field aux_file"),
        ({"intent_name": b"7654321"}, "field intent_name"),
        ({"extension": b"patient JOHN"}, "extension 1"),
        ({"extension": b"\x08\x00\x05\x00", "code": 2}, "extension 1"),
    ],
)
def test_phi1_the_field_is_named_and_its_content_is_not(tmp_path, changes, field) -> None:
    write_scans(tmp_path, 1)
    path = tmp_path / "images" / "case_00.nii.gz"
    assert identifying_fields(path) == ()
    change(path, **changes)
    (told,) = identifying_fields(path)
    assert told.startswith(f"PHI1: {field} of case_00.nii.gz may identify a person")
    report = check(tmp_path, PrepareOptions({"liver": (6,)}))
    text = repr(report.notes) + repr(report.problems)
    assert told in text and not any(secret in text for secret in _SECRETS)


def test_phi1_in_a_sidecar(tmp_path) -> None:
    write_scans(tmp_path, 1)
    path = tmp_path / "images" / "case_00.nii.gz"
    sidecar = {"PatientName": "DOE^JOHN", "PatientSex": "", "PatientPosition": "HFS", "kVp": 120}
    path.with_name("case_00.json").write_text(json.dumps(sidecar))
    (told,) = identifying_fields(path)
    assert "'PatientName'" in told and "DOE" not in told
    path.with_name("case_00.json").write_text("{")
    assert identifying_fields(path) == ()


def test_what_tools_write_is_no_name(tmp_path) -> None:
    texts = ("FSL5.0", "TE=2.3;Time=0.000", "fewmask 0.1.0", "SPM12: spm_write_vol", "5.0.11 2mm")
    assert [identifying_text(text) for text in texts] == [""] * len(texts)


def test_outputs_carry_nothing_of_a_header(tmp_path) -> None:
    write_scans(tmp_path, 1)
    path = tmp_path / "images" / "case_00.nii.gz"
    change(path, b"patient JOHN", descrip=b"DOE^JOHN", db_name=b"HOSPITAL")
    from fewmask.io.nifti import read_volume

    write_volume(tmp_path / "out.nii", read_volume(path))
    data = (tmp_path / "out.nii").read_bytes()
    assert not any(secret.encode() in data for secret in _SECRETS)
