"""Which case a file name means, what scan and mask share, and which names are unusable or tell too
much.
"""

import unicodedata
from pathlib import Path

import pytest

from fewmask.core.names import unusable
from fewmask.prepare.names import (
    bare,
    case_id,
    core_key,
    exact_key,
    identifying,
    looks_like_mask,
    stem,
)

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "größe.nii") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("a.nii", "a"),
        ("a.nii.gz", "a"),
        ("A.NII.GZ", "A"),
        ("a.hdr", "a"),
        ("a.img.gz", "a"),
        ("a.b.nii", "a.b"),
        ("a.nii.nii.gz", "a.nii"),
        ("a.dcm", "a"),
        (".nii.gz", ""),
    ],
)
def test_extensions_are_taken_off_once(name: str, without: str) -> None:
    assert bare(Path(name)) == without


def test_the_same_letters_are_the_same_name_however_they_are_encoded() -> None:
    """ö as one letter, and as o with two dots: the name as it is differs, its meaning does not."""
    assert COMPOSED != DECOMPOSED and bare(Path(DECOMPOSED)) != bare(Path(COMPOSED))
    assert stem(Path(DECOMPOSED)) == stem(Path(COMPOSED)) == "größe"
    assert case_id(Path(DECOMPOSED)) == case_id(Path(COMPOSED))


def test_one_channel_number_is_not_part_of_the_case() -> None:
    assert case_id(Path("x/liver_007_0000.nii.gz")) == "liver_007"
    assert case_id(Path("liver_007.nii.gz")) == "liver_007"
    assert exact_key(Path("Liver_007_0000.nii.gz")) == exact_key(Path("LIVER_007.nii"))


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("img0007", "0007"),
        ("label0007", "0007"),
        ("0007_seg", "0007"),
        ("volume-3", "3"),
        ("segmentation-3", "3"),
        ("Case_01_CT", "case_01"),
        ("case_01_seg_manual", "case_01"),
        ("image", "image"),
    ],
)
def test_scan_and_mask_share_the_core_of_their_names(name: str, shared: str) -> None:
    assert core_key(Path(f"{name}.nii.gz")) == shared


@pytest.mark.parametrize("name", ["a_seg", "a-label", "a.mask", "a GT", "seg_a", "label7", "GT"])
def test_masks_are_known_by_a_word_at_an_end_of_their_names(name: str) -> None:
    assert looks_like_mask(Path(f"{name}.nii.gz"))


@pytest.mark.parametrize("name", ["a", "segovia_1", "a_segment", "aseg", "a_ct"])
def test_other_names_are_no_masks(name: str) -> None:
    assert not looks_like_mask(Path(f"{name}.nii.gz"))


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("", "nothing is left"),
        (" . ", "nothing is left"),
        ("a\nb", "control characters"),
        ("a/b", "slashes"),
        ("a\\b", "slashes"),
        ("a\udc80", "undecodable"),
        ("x" * 221, "longer than 220 bytes"),
        ("ö" * 111, "longer than 220 bytes"),
        ("con", "reserved on Windows"),
        ("LPT1.scan", "reserved on Windows"),
    ],
)
def test_names_that_cannot_be_ours_say_why(case: str, why: str) -> None:
    assert why in unusable(case)


@pytest.mark.parametrize("case", ["a", "x" * 220, "ö" * 110, "console", "com10", "größe 3", "a.b"])
def test_names_that_can_be_ours(case: str) -> None:
    assert unusable(case) == ""


@pytest.mark.parametrize(
    ("case", "what"),
    [
        ("DOE^JANE", "a name written family^given"),
        ("scan_1984-12-31", "a date"),
        ("31.12.1984", "a date"),
        ("19841231_ct", "a date"),
        ("mrn-123", "a record number"),
        ("PID 0042", "a record number"),
        ("case_1234567", "a record number"),
        ("case_123456", ""),
        ("1984-13-31", ""),
        ("liver_042", ""),
    ],
)
def test_what_may_identify_a_person(case: str, what: str) -> None:
    assert identifying(case) == what
