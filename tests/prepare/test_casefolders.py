"""One folder per case, in the layouts of known data sets; and whose scan each one is."""

from pathlib import Path

import numpy as np
import pytest

from fewmask.prepare.discover import discover
from tests.io.test_dicom import write_series
from tests.prepare.folders import SCAN, draw, lay, pairs


def names(pattern: str, count: int = 2) -> list[str]:
    return [pattern.format(n) for n in range(count)]


@pytest.mark.parametrize(
    ("scan", "mask", "case"),
    [
        ("case_{0:05d}/imaging.nii.gz", "case_{0:05d}/segmentation.nii.gz", "case_00000"),
        ("p{0}/p{0}_frame01.nii.gz", "p{0}/p{0}_frame01_gt.nii.gz", "p0_frame01"),
        ("train/Patient_{0}/Patient_{0}.nii.gz", "train/Patient_{0}/GT.nii.gz", "Patient_0"),
        (
            "sub-{0}/anat/sub-{0}_T1w.nii.gz",
            "derivatives/labels/sub-{0}/anat/sub-{0}_T1w_seg-manual.nii.gz",
            "sub-0_T1w",
        ),
        (
            "sub-{0}/anat/sub-{0}_T1w.nii.gz",
            "derivatives/m/sub-{0}/sub-{0}_label-liver_mask.nii.gz",
            "sub-0_T1w",
        ),
        ("s{0}/ct.nii.gz", "s{0}/segmentations.nii.gz", "s0"),
        ("s{0}/scan.nii.gz", "s{0}/mask/mask.nii.gz", "s0"),
        ("img/img{0:04d}.nii.gz", "label/label{0:04d}.nii.gz", "img0000"),
        ("deep/down/case_{0}/image.nii.gz", "deep/down/case_{0}/label.nii.gz", "case_0"),
    ],
)
def test_layouts_of_known_data_sets(tmp_path: Path, scan: str, mask: str, case: str) -> None:
    lay(tmp_path, *names(scan), *names(mask))
    layout = discover(tmp_path)
    assert (len(layout.pairs), layout.pairs[0].case, layout.problems) == (2, case, ())
    for n, pair in enumerate(layout.pairs):
        assert pair.image == tmp_path / scan.format(n) and pair.mask == tmp_path / mask.format(n)
    assert {seen.use for seen in layout.files} == {"scan", "mask"}


@pytest.mark.parametrize("folder", ["segmentations", "masks"])
def test_a_file_per_structure(tmp_path: Path, folder: str) -> None:
    layout = discover(
        lay(tmp_path, *names("s{}/ct.nii.gz"), f"s0/{folder}/liver.nii.gz", f"s0/{folder}/x.nii.gz")
    )
    assert [sorted(pair.parts) for pair in layout.pairs] == [["liver", "x"], []]


def test_structures_beside_the_scan_and_in_folders_of_their_own(tmp_path: Path) -> None:
    draw(tmp_path / "a", *names("p{}/ct.nii.gz"), voxels=SCAN)
    draw(tmp_path / "a", *names("p{}/liver.nii.gz"), *names("p{}/spleen.nii.gz"))
    layout = discover(tmp_path / "a")
    assert [(one.case, sorted(one.parts)) for one in layout.pairs] == [
        ("p0", ["liver", "spleen"]),
        ("p1", ["liver", "spleen"]),
    ]
    contrasts = [f"B{n}/B{n}_{what}.nii.gz" for n in range(2) for what in ("t1", "flair")]
    draw(tmp_path / "c", *contrasts, voxels=SCAN)
    draw(tmp_path / "c", *names("B{0}/B{0}_lesion.nii.gz"))
    layout = discover(tmp_path / "c")
    assert [(one.case, list(one.parts)) for one in layout.pairs] == [
        ("B0", ["lesion"]),
        ("B1", ["lesion"]),
    ]
    draw(tmp_path / "b", *names("venous/case_{}.nii.gz"), voxels=SCAN)
    draw(tmp_path / "b", *names("liver/case_{}.nii.gz"))
    layout = discover(tmp_path / "b")
    assert [(one.case, one.image.parent.name, list(one.parts)) for one in layout.pairs] == [
        ("case_0", "venous", ["liver"]),
        ("case_1", "venous", ["liver"]),
    ]
    lay(tmp_path / "d", *names("images/c{}.nii.gz"), *names("labels/liver/c{}.nii.gz"))
    lay(tmp_path / "d", "labels/spleen/c1.nii.gz", "labels/spleen/c7.nii.gz")
    layout = discover(tmp_path / "d")
    assert [(one.case, sorted(one.parts)) for one in layout.pairs] == [
        ("c0", ["liver"]),
        ("c1", ["liver", "spleen"]),
    ]
    assert [problem.where for problem in layout.problems] == [("c7",)], "it has no scan"


def test_masks_inside_a_case_are_no_cases(tmp_path: Path) -> None:
    draw(tmp_path, *names("case_{}/imaging.nii.gz"), voxels=SCAN)
    draw(tmp_path, *names("case_{}/segmentation.nii.gz"))
    draw(tmp_path, *names("case_{}/instances/tumor_instance-1_annotation-1.nii.gz"))
    layout = discover(tmp_path)
    assert pairs(layout) == {f"case_{n}": "segmentation.nii.gz" for n in range(2)}
    assert sum(seen.use == "unused" for seen in layout.files) == 2


def test_digits_of_folders_count_cases(tmp_path: Path) -> None:
    draw(tmp_path, *names("case_000{}/imaging.nii.gz"), voxels=SCAN)
    assert list(pairs(discover(tmp_path))) == ["case_0000", "case_0001"]
    channels = [f"p{n}/image_000{c}.nii.gz" for n in range(2) for c in range(2)]
    draw(tmp_path / "b", *channels, voxels=SCAN)
    assert list(pairs(discover(tmp_path / "b"))) == ["p0_image", "p1_image"]


def test_visits_are_scans_of_one_patient(tmp_path: Path) -> None:
    files = [f"p{n}/v{v}/ct.nii.gz" for n in range(3) for v in (1, 2)]
    layout = discover(lay(tmp_path, *files))
    assert layout.patients["p0_v1"] == layout.patients["p0_v2"] == "p0"
    assert len(set(layout.patients.values())) == 3
    assert any("3 folders hold several scans" in note for note in layout.notes)
    bids = [f"sub-{n}/ses-{v}/anat/sub-{n}_ses-{v}_T1w.nii" for n in range(2) for v in (1, 2)]
    assert set(discover(lay(tmp_path / "bids", *bids)).patients.values()) == {"sub-0", "sub-1"}


def test_a_folder_of_many_scans_is_no_patient(tmp_path: Path) -> None:
    sites = [f"{site}/p{n}/ct.nii.gz" for site in ("north", "south") for n in range(13)]
    assert len(set(discover(lay(tmp_path, *sites)).patients.values())) == 26
    loose = [f"{site}/{site[0]}{n}.nii" for site in ("a_1", "b_1") for n in range(5)]
    assert set(discover(lay(tmp_path / "loose", *loose)).patients.values()) == {
        f"{site}{n}" for site in "ab" for n in range(5)
    }
    sets = [*names("train/p{}/ct.nii"), "test/p9/ct.nii"]
    assert sorted(discover(lay(tmp_path / "sets", *sets)).patients.values()) == ["p0", "p1", "p9"]


def test_all_phases_in_one_file_are_no_scan_beside_single_ones(tmp_path: Path) -> None:
    layout = discover(lay(tmp_path, *names("p{0}/p{0}_frame01.nii"), *names("p{0}/p{0}_4d.nii")))
    assert list(pairs(layout)) == ["p0_frame01", "p1_frame01"]
    assert [seen.path.name for seen in layout.files if seen.use == "unused"] == [
        "p0_4d.nii",
        "p1_4d.nii",
    ]


def test_masks_with_dicom_folders_leave_the_series_the_scans(tmp_path: Path) -> None:
    write_series(tmp_path / "p1/series", np.zeros((2, 3, 3), np.int16))
    layout = discover(lay(tmp_path, "p1/liver.nii.gz"))
    assert (layout.kind, [pair.case for pair in layout.pairs]) == ("dicom", ["p1"])
    layout = discover(lay(tmp_path, "labels/p1.nii.gz"))
    assert (layout.kind, pairs(layout)) == ("dicom", {"p1": "p1.nii.gz"})
