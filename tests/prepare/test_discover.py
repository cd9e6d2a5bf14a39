"""Layouts, pairing by case id, and what in a folder is never opened. Files here are empty:
discovery opens none.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from fewmask.core.errors import BadDataset
from fewmask.prepare.discover import Layout, discover
from tests.io.test_dicom import write_series


def lay(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def shown(layout: Layout) -> dict[str, str | None]:
    return {pair.case: pair.mask.name if pair.mask else None for pair in layout.pairs}


def rows(layout: Layout) -> list[str]:
    return [problem.code for problem in layout.problems]


def test_plain(tmp_path):
    layout = discover(lay(tmp_path, "images/b.nii.gz", "images/a.nii", "labels/a.nii.gz"))
    assert (layout.kind, shown(layout)) == ("plain", {"a": "a.nii.gz", "b": None})
    assert layout.notes == ("1 of 2 scans without a mask: used as unlabelled",)
    assert layout.problems == ()


@pytest.mark.parametrize("folder", ["masks", "segmentations", "Labels", "labelsTr"])
def test_mask_folders(tmp_path, folder):
    assert shown(discover(lay(tmp_path, "images/a.nii", f"{folder}/a.nii"))) == {"a": "a.nii"}


@pytest.mark.parametrize(
    ("scan", "mask"),
    [
        ("case_1.nii.gz", "case_1_seg.nii.gz"),
        ("case_1_0000.nii.gz", "case_1.nii.gz"),
        ("img0007.nii.gz", "label0007.nii.gz"),
        ("P3-ct.nii", "p3-mask.nii.gz"),
        ("Ünal.nii", "U\u0308nal_label.nii"),
    ],
)
def test_common_affixes(tmp_path, scan, mask):
    layout = discover(lay(tmp_path, f"images/{scan}", f"labels/{mask}"))
    assert [pair.mask.name for pair in layout.pairs if pair.mask] == [mask]
    assert layout.problems == ()


def test_an_affix_that_could_mean_two_scans_pairs_nothing(tmp_path):
    layout = discover(lay(tmp_path, "images/img_1.nii", "images/scan_1.nii", "labels/label_1.nii"))
    assert shown(layout) == {"img_1": None, "scan_1": None}
    assert rows(layout) == ["M15"]


def test_hidden_file_in_one_folder_shifts_nothing(tmp_path):  # M16, N49
    names = [f"{part}/c{n}.nii.gz" for part in ("images", "labels") for n in range(5)]
    layout = discover(
        lay(tmp_path, *names, "labels/._c0.nii.gz", "images/.DS_Store", "labels/Thumbs.db")
    )
    assert shown(layout) == {f"c{n}": f"c{n}.nii.gz" for n in range(5)}
    assert layout.ignored == 3
    assert any("3 hidden" in note for note in layout.notes)


def test_masks_without_scan_are_listed_with_nearest_names(tmp_path):  # M15
    layout = discover(
        lay(
            tmp_path,
            "images/liver_012.nii",
            "images/liver_013.nii",
            "labels/liver_12.nii",
            "labels/liver_013.nii",
        )
    )
    assert shown(layout) == {"liver_012": None, "liver_013": "liver_013.nii"}
    text = str(layout.problems[0])
    assert "liver_12.nii   nearest scans: liver_012" in text
    assert rows(layout) == ["M15"]


def test_packed_and_unpacked_twin(tmp_path):  # N42
    layout = discover(lay(tmp_path, "images/a.nii", "images/a.nii.gz", "images/b.nii"))
    assert shown(layout) == {"b": None}
    assert rows(layout) == ["N42"]
    assert "a.nii.gz" in str(layout.problems[0])


@pytest.mark.parametrize(
    "names",
    [("Case.nii", "case.nii"), ("\u00e9.nii", "e\u0301.nii"), ("a.nii.gz", "a_0000.nii.gz")],
)
def test_names_that_mean_the_same_case(tmp_path, names):  # N43
    layout = discover(lay(tmp_path, *(f"images/{name}" for name in names), "images/other.nii"))
    assert shown(layout) == {"other": None}
    assert rows(layout) == ["N43"]


def test_lits_in_sub_folders(tmp_path):
    layout = discover(
        lay(
            tmp_path,
            "batch1/volume-0.nii",
            "batch1/volume-10.nii",
            "batch2/segmentation-10.nii",
            "batch2/segmentation-0.nii",
        )
    )
    assert (layout.kind, shown(layout)) == (
        "lits",
        {"volume-0": "segmentation-0.nii", "volume-10": "segmentation-10.nii"},
    )


def test_totalsegmentator(tmp_path):
    layout = discover(
        lay(
            tmp_path,
            "s0011/ct.nii.gz",
            "s0011/segmentations/liver.nii.gz",
            "s0011/segmentations/spleen.nii.gz",
            "s0012/mri.nii.gz",
            "meta.csv",
        )
    )
    assert layout.kind == "totalsegmentator"
    assert [pair.case for pair in layout.pairs] == ["s0011", "s0012"]
    assert sorted(layout.pairs[0].parts) == ["liver", "spleen"]
    assert [pair.has_mask for pair in layout.pairs] == [True, False]


def test_msd_with_names_and_tests(tmp_path):
    lay(tmp_path, "imagesTr/liver_1.nii.gz", "labelsTr/liver_1.nii.gz", "imagesTs/liver_9.nii.gz")
    record = {
        "labels": {"0": "background", "1": "liver", "2": "cancer"},
        "modality": {"0": "CT"},
        "training": [{"image": "./imagesTr/liver_1.nii.gz"}, {"image": "../../etc/liver_2.nii.gz"}],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(record))
    layout = discover(tmp_path)
    assert (layout.kind, layout.names) == ("msd", {"liver": 1, "cancer": 2})
    assert shown(layout) == {"liver_1": "liver_1.nii.gz", "liver_9": None}
    assert rows(layout) == ["M15"]
    assert "liver_2.nii.gz" in str(layout.problems[0])


def test_nnunet_channels_and_regions(tmp_path):
    lay(tmp_path, "imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", "labelsTr/a.nii.gz")
    record = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "whole": [1, 2], "core": 2},
        "file_ending": ".nii.gz",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(record))
    layout = discover(tmp_path)
    assert (layout.kind, shown(layout)) == ("nnunet", {"a": "a.nii.gz"})
    assert layout.names == {"whole": (1, 2), "core": 2}
    assert any("of other channels 1 file is not read (1 = T2)" in note for note in layout.notes)


def test_label_table_that_is_no_table(tmp_path):
    lay(tmp_path, "imagesTr/a.nii.gz")
    (tmp_path / "dataset.json").write_text('{"labels": {"liver": 1.5}}')
    with pytest.raises(BadDataset, match=r"'liver' = 1.5"):
        discover(tmp_path)


def test_scans_alone_and_with_masks_beside_them(tmp_path):
    layout = discover(lay(tmp_path / "a", "x.nii", "y.nii.gz"))
    assert (layout.kind, shown(layout)) == ("scans", {"x": None, "y": None})
    layout = discover(lay(tmp_path / "b", "x.nii", "x_seg.nii", "lone_mask.nii"))
    assert shown(layout) == {"x": "x_seg.nii"}
    assert rows(layout) == ["M15"], "what is called a mask is never a scan beside others"


def test_dicom_folders(tmp_path):
    voxels = np.zeros((2, 3, 3), np.int16)
    write_series(tmp_path / "two/p1", voxels)
    write_series(tmp_path / "two/p2/study/series", voxels)
    layout = discover(tmp_path / "two")
    assert (layout.kind, shown(layout)) == ("dicom", {"p1": None, "p2": None})
    layout = discover(tmp_path / "two/p1")
    assert [(pair.case, pair.image.name) for pair in layout.pairs] == [("p1", "p1")]


def test_dicom_folders_with_nifti_masks(tmp_path):
    write_series(tmp_path / "images/p1", np.zeros((2, 3, 3), np.int16))
    layout = discover(lay(tmp_path, "labels/p1.nii.gz"))
    assert (layout.kind, shown(layout)) == ("plain", {"p1": "p1.nii.gz"})


def test_oddities_are_listed_and_never_opened(tmp_path):  # N46
    root = lay(tmp_path / "data", "images/good.nii.gz", "images/real.nii.gz")
    outside = lay(tmp_path, "secret.nii.gz") / "secret.nii.gz"
    images = root / "images"
    (images / "out.nii.gz").symlink_to(outside)
    (images / "gone.nii.gz").symlink_to(images / "nowhere")
    (images / "circle.nii.gz").symlink_to(images / "circle.nii.gz")
    (images / "inside.nii.gz").symlink_to(images / "real.nii.gz")
    (images / "folder.nii.gz").mkdir()
    os.mkfifo(images / "pipe.nii.gz")
    layout = discover(root)
    assert sorted(shown(layout)) == ["good", "inside", "real"]
    text = "\n".join(problem.what for problem in layout.problems)
    for words in (
        "out.nii.gz is a link that leaves",
        "gone.nii.gz is a link to a file that is not there",
        "circle.nii.gz is a link that points to itself",
    ):
        assert words in text
    assert "folder.nii.gz is a folder" in text
    assert "pipe.nii.gz is a named pipe" in text
    assert set(rows(layout)) == {"N46"}
    assert "out" in shown(discover(root, follow_links=True))


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31m", "..", "CON"])
def test_names_that_cannot_become_ours(tmp_path, name):  # N45
    layout = discover(lay(tmp_path, f"images/{name}.nii", "images/fine.nii"))
    if name == "..":  # "...nii" is a hidden file
        assert layout.ignored == 1
    else:
        assert rows(layout) == ["N45"]
        assert str(layout.problems[0]).replace("\n", "").isprintable()
    assert list(shown(layout)) == ["fine"]


@pytest.mark.parametrize("name", ["-x", "a b", "50%", "o'neil", "scan \U0001f600", "x" * 200])
def test_odd_names_that_are_fine(tmp_path, name):  # N45
    layout = discover(lay(tmp_path, f"images/{name}.nii", f"labels/{name}.nii"))
    assert shown(layout) == {name: f"{name}.nii"}


@pytest.mark.parametrize(
    "name", ["doe^jane", "scan_20240131", "ct-31.01.1959", "MRN_88213", "0012345678"]
)
def test_names_that_may_identify_are_warned_of_and_not_repeated(tmp_path, name):
    layout = discover(lay(tmp_path, f"images/{name}.nii"))
    assert len(layout.pairs) == 1
    assert any("may identify a person" in note for note in layout.notes)
    assert not any(name in note for note in layout.notes)


@pytest.mark.parametrize(
    "name", ["s0011", "hippocampus_123", "ct_00", "la_06SR5RBREL16DQ6M8LWS", "volume-130"]
)
def test_names_of_public_sets_are_no_warning(tmp_path, name):
    assert discover(lay(tmp_path, f"images/{name}.nii")).notes == ()


def test_empty_and_foreign_folders(tmp_path):
    with pytest.raises(BadDataset) as caught:
        discover(tmp_path)
    assert all(
        word in str(caught.value)
        for word in ("the folder is empty", "images/case_01.nii.gz", "LiTS", "DICOM", "fix:")
    )
    with pytest.raises(BadDataset, match="no scans found") as caught:
        discover(lay(tmp_path / "n", "a.mgz", "b.mnc"))
    assert ".mgz, .mnc are not read" in str(caught.value)
    with pytest.raises(BadDataset) as caught:
        discover(lay(tmp_path / "sets", "set1/images/a.nii", "set2/images/a.nii").resolve())
    assert "give one of its folders: set1, set2" in str(caught.value)
    with pytest.raises(BadDataset, match="not there"):
        discover(tmp_path / "absent")


def test_two_mask_folders_are_not_chosen_between(tmp_path):
    with pytest.raises(BadDataset, match="several mask folders: labels, masks"):
        discover(lay(tmp_path, "images/a.nii", "labels/a.nii", "masks/a.nii"))


def test_unreadable_folder_is_a_problem_of_its_own(tmp_path, monkeypatch):  # N47
    lay(tmp_path, "images/a.nii", "images/closed/b.nii")
    real = os.scandir

    def scandir(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    layout = discover(tmp_path)
    assert shown(layout) == {"a": None}
    assert [(problem.code, problem.exit_code) for problem in layout.problems] == [("N47", 4)]


def test_real_scans():
    folder = os.environ.get("FEWMASK_DATA")
    if not folder:
        pytest.skip("FEWMASK_DATA is not set")
    layout = discover(Path(folder) / "ct-abdomen")
    assert len(layout.pairs) == 18
    assert all(pair.mask is not None and pair.mask.name == pair.image.name for pair in layout.pairs)
    assert layout.problems == ()
