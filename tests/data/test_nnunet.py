"""nnU-Net's raw layout: what the budget grants, the ignore label for the rest, and our own reader
understands it.
"""

import json

import numpy as np
import pytest

from fewmask.core.budget import Budget, draw_slices
from fewmask.core.errors import BadConfig
from fewmask.core.volume import LabelMap
from fewmask.data.nnunet import write_raw
from fewmask.io.nifti import read_labels, read_volume, write_labels
from fewmask.io.prepared import Prepared
from fewmask.prepare.build import prepare
from fewmask.prepare.discover import discover
from fewmask.prepare.options import PrepareOptions
from tests.scans import prepare_scans, write_scans


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare_scans(tmp_path_factory.mktemp("scans"))


def test_whole_masks_are_whole(prepared, tmp_path) -> None:
    raw = write_raw(prepared, Budget("volumes", 0, volumes=("case_01",)), tmp_path / "raw")
    assert raw.cases == ("case_01",) and not raw.ignored
    record = json.loads((raw.folder / "dataset.json").read_text())
    assert record == {
        "channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "numTraining": 1,
        "file_ending": ".nii.gz",
    }  # fmt: skip
    with prepared.case("case_01") as file:
        labels, scan = file.labels(range(8)), file.volume()
    written = read_labels(raw.folder / "labelsTr" / "case_01.nii.gz")
    image = read_volume(raw.folder / "imagesTr" / "case_01_0000.nii.gz")
    assert np.array_equal(written.voxels, labels) and np.array_equal(image.voxels, scan.voxels)
    assert np.allclose(image.grid.affine, scan.grid.affine)


def test_withheld_slices_are_ignored_not_background(prepared, tmp_path) -> None:
    budget = draw_slices(prepared.candidates(prepared.split.train), prepared.patients, 2, 0)
    raw = write_raw(prepared, budget, tmp_path / "raw")
    assert (
        raw.ignored
        and json.loads((raw.folder / "dataset.json").read_text())["labels"]["ignore"] == 2
    )
    for case in raw.cases:
        voxels = read_labels(raw.folder / "labelsTr" / f"{case}.nii.gz").voxels
        known = {d for name, d in budget.slices if name == case}
        assert {d for d in range(8) if (voxels[d] != 2).any()} == known
        with prepared.case(case) as file:
            assert all(np.array_equal(voxels[d], file.labels([d])[0]) for d in known)


def test_our_own_reader_takes_it_back(prepared, tmp_path) -> None:
    raw = write_raw(
        prepared, Budget("volumes", 0, volumes=("case_00", "case_02")), tmp_path / "raw"
    )
    layout = discover(raw.folder)
    assert layout.kind == "nnunet" and [pair.case for pair in layout.pairs] == [
        "case_00",
        "case_02",
    ]
    assert layout.names == {"liver": 1}


def test_partial_outlines_come_back_as_they_were(tmp_path) -> None:
    """Outlined are slices 3 and 4 of one scan, 2 of another, all four of a third, none of the
    fourth; what nobody outlined is `ignore` there and unknown here, never background."""
    scans = tmp_path / "scans"
    write_scans(scans, 4)
    for case, kept in (("case_00", (3, 4)), ("case_01", (2,)), ("case_03", ())):
        path = scans / "labels" / f"{case}.nii.gz"
        mask = read_labels(path)
        path.unlink()
        voxels = mask.voxels * np.isin(np.arange(8), kept)[:, None, None].astype(np.uint8)
        if kept:
            write_labels(path, LabelMap(voxels, mask.grid))
    prepare(scans, tmp_path / "a", PrepareOptions(labels={"liver": (6,)}, recipe="ct", jobs=1))
    first = Prepared.open(tmp_path / "a")
    outlined = {"case_00": [3, 4], "case_01": [2], "case_02": [2, 3, 4, 5], "case_03": []}
    assert first.candidates(first.cases) == outlined
    granted = tuple((case, d) for case, slices in outlined.items() for d in slices)
    raw = write_raw(first, Budget("slices", 0, slices=granted), tmp_path / "raw", rest=True)
    assert [path.name for path in (raw.folder / "imagesTs").iterdir()] == ["case_03_0000.nii.gz"]
    again = PrepareOptions(labels={"liver": ("liver",)}, recipe="ct", jobs=1)
    prepare(raw.folder, tmp_path / "b", again)
    second = Prepared.open(tmp_path / "b")
    assert second.candidates(second.cases) == outlined
    assert not any(row.complete for row in second.cases.values())
    for case in outlined:
        with first.case(case) as one, second.case(case) as other:
            assert np.array_equal(one.volume().voxels, other.volume().voxels)
            if outlined[case]:
                assert np.array_equal(one.labels(range(8)), other.labels(range(8)))


def test_nothing_granted_or_a_used_folder_is_refused(prepared, tmp_path) -> None:
    with pytest.raises(BadConfig, match="no mask"):
        write_raw(prepared, Budget("slices", 0), tmp_path / "raw")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("mine")
    with pytest.raises(BadConfig, match="other files"):
        write_raw(prepared, Budget("volumes", 0, volumes=("case_00",)), tmp_path / "used")
