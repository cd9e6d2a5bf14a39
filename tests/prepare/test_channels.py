"""A further channel is never a scan of its own, and four digits may count cases instead."""

import json
from pathlib import Path

import numpy as np
import pytest

from fewmask.core.errors import BadConfig
from fewmask.predict.folder import open_scans
from fewmask.prepare.discover import discover
from fewmask.prepare.options import ScanOptions
from tests.prepare.folders import AFFINE, SCAN, draw, lay, pairs, uses

TWO = [f"imagesTr/p{n}_000{c}.nii.gz" for n in range(3) for c in range(2)]
MASKS = [f"labelsTr/p{n}.nii.gz" for n in range(3)]
RIGHT = {f"p{n}": f"p{n}.nii.gz" for n in range(3)}


@pytest.mark.parametrize(
    "record",
    [
        None,
        {"modality": {"0": "T1", "1": "T2"}, "labels": {"0": "background", "1": "liver"}},
        {
            "modality": {"0": "T1", "1": "T2"},
            "training": [{"image": f"./imagesTr/p{n}.nii.gz"} for n in range(3)],
        },
        {"channel_names": {"0": "T1", "1": "T2"}, "file_ending": ".nii.gz"},
    ],
)
def test_channels_of_nnunet_with_and_without_its_list(tmp_path: Path, record) -> None:
    lay(tmp_path, *TWO, *MASKS)
    if record is not None:
        (tmp_path / "dataset.json").write_text(json.dumps(record))
    layout = discover(tmp_path)
    assert (pairs(layout), layout.problems) == (RIGHT, ())
    assert {pair.image.name for pair in layout.pairs} == {f"p{n}_0000.nii.gz" for n in range(3)}
    assert uses(layout, tmp_path)["imagesTr/p0_0001.nii.gz"] == "channel"
    names = record is not None
    first, other = ("0 = T1", "1 = T2") if names else ("0", "1")
    said = f"channel {first} of each scan is used; of other channels 3 files are not read ({other})"
    assert layout.scan_notes[0].startswith(said)
    second = discover(tmp_path, channel="T2" if names else "1")
    assert pairs(second) == RIGHT
    assert {pair.image.name for pair in second.pairs} == {f"p{n}_0001.nii.gz" for n in range(3)}


def test_predict_sees_the_same_scans_and_notes(tmp_path: Path) -> None:
    lay(tmp_path, *TWO)
    scans = open_scans(tmp_path / "imagesTr")
    assert list(scans.found) == ["p0", "p1", "p2"] and "channel 0" in scans.notes[0]
    assert list(open_scans(tmp_path / "imagesTr", options=ScanOptions(channel="1")).found) == [
        "p0",
        "p1",
        "p2",
    ]


def test_a_channel_that_is_not_there(tmp_path: Path) -> None:
    lay(tmp_path, *TWO)
    with pytest.raises(BadConfig, match="no scan has a channel '7'") as caught:
        discover(tmp_path, channel="7")
    assert caught.value.where == ("there are: 0, 1",)
    with pytest.raises(BadConfig, match="none has several"):
        discover(lay(tmp_path / "plain", "images/a.nii"), channel="1")
    assert len(discover(tmp_path / "plain", channel="0").pairs) == 1


def test_scans_that_lack_the_channel_are_a_problem_and_no_scans(tmp_path: Path) -> None:
    layout = discover(lay(tmp_path, *TWO, "imagesTr/p9_0001.nii.gz", "labelsTr/p0.nii.gz"))
    assert list(pairs(layout)) == ["p0", "p1", "p2"]
    assert [(problem.code, problem.where) for problem in layout.problems] == [("N50", ("p9",))]
    assert uses(layout, tmp_path)["imagesTr/p9_0001.nii.gz"] == "refused"


def test_digits_count_cases_where_masks_are_called_so(tmp_path: Path) -> None:
    names = [f"{part}/a_000{n}.nii.gz" for part in ("images", "labels") for n in range(3)]
    assert pairs(discover(lay(tmp_path, *names))) == {
        f"a_000{n}": f"a_000{n}.nii.gz" for n in range(3)
    }


def test_digits_of_one_name_count_channels_only_on_one_grid(tmp_path: Path) -> None:
    files = ("p0_0000.nii.gz", "p0_0001.nii.gz")
    assert list(pairs(discover(draw(tmp_path / "one", *files, voxels=SCAN)))) == ["p0"]
    draw(tmp_path / "two", files[0], voxels=SCAN)
    draw(tmp_path / "two", files[1], voxels=SCAN[:, :, :3].copy())
    assert list(pairs(discover(tmp_path / "two"))) == ["p0_0000", "p0_0001"]
    assert AFFINE.shape == (4, 4) and np.ptp(SCAN) > 0


def test_contrasts_are_channels_by_name_or_number(tmp_path: Path) -> None:
    names = [f"B{n}_{what}.nii.gz" for n in range(2) for what in ("t1", "flair", "seg")]
    lay(tmp_path, *names)
    assert pairs(discover(tmp_path)) == {"B0": "B0_seg.nii.gz", "B1": "B1_seg.nii.gz"}
    for channel in ("t1", "T1", "1"):
        images = {pair.image.name for pair in discover(tmp_path, channel=channel).pairs}
        assert images == {"B0_t1.nii.gz", "B1_t1.nii.gz"}


def test_one_contrast_is_part_of_the_name(tmp_path: Path) -> None:
    assert list(pairs(discover(lay(tmp_path, "a_t1.nii", "b_t1.nii")))) == ["a_t1", "b_t1"]


def test_folders_of_contrasts_hold_channels_of_one_scan(tmp_path: Path) -> None:
    files = [f"{c}/p{n}.nii" for c in ("T1", "t2-flair") for n in range(3)]
    layout = discover(lay(tmp_path, *files, *(f"labels/p{n}.nii" for n in range(3))))
    taken = {pair.case: pair.image.parent.name for pair in layout.pairs}
    assert taken == {f"p{n}": "T1" for n in range(3)}
    assert all(pair.has_mask for pair in layout.pairs) and len(layout.further) == 3
    assert not layout.problems
    others = discover(tmp_path, channel="t2-flair").pairs
    assert {pair.image.parent.name for pair in others} == {"t2-flair"}
    assert layout.patients == {f"p{n}": f"p{n}" for n in range(3)}


@pytest.mark.parametrize(
    ("files", "patients"),
    [
        (("arterial/p1", "arterial/p2", "arterial/p3", "venous/p1", "venous/p2", "venous/p3"), 3),
        (("a/v1", "a/v2", "a/v3", "b/v1", "b/v2", "b/v3"), 2),
        (("a/pre", "a/post", "b/pre", "b/post", "c/pre", "c/post"), 3),
        (("a/x1", "b/x2", "c/x3"), 3),
    ],
)
def test_a_name_that_returns_beside_is_one_patient(
    tmp_path: Path, files: tuple[str, ...], patients: int
) -> None:
    layout = discover(lay(tmp_path, *(f"{name}.nii" for name in files)))
    assert len(layout.pairs) == len(files) and len(set(layout.patients.values())) == patients
    several = any("taken for one patient each" in note for note in layout.notes)
    assert several == (patients < len(files))


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        (["p1_art", "p1_venous", "p2_art", "p2_venous"], ["p1", "p1", "p2", "p2"]),
        (["p1", "p1_followup", "p2"], ["p1", "p1", "p2"]),
        (["a-v1", "a_V2", "b-v1"], ["a", "a", "b-v1"]),
        (["liver_art", "x_1", "x_2"], ["liver_art", "x_1", "x_2"]),
    ],
)
def test_phases_and_visits_in_names_are_one_patients(
    tmp_path: Path, names: list[str], patients: list[str]
) -> None:
    layout = discover(lay(tmp_path, *(f"{name}.nii" for name in names)))
    assert layout.patients == dict(zip(sorted(names), patients, strict=True))
    assert any("no split divides" in note for note in layout.notes) == (names != patients)
