"""Folders of scans: what is read, what is refused, and that masks of others stay theirs."""

import gzip
import os
import shutil
import signal

import numpy as np
import pytest

from fewmask.core.errors import BadConfig, Interrupted, NoRoom
from fewmask.core.volume import LabelMap, Volume
from fewmask.io import atomic
from fewmask.io.nifti import read_labels
from fewmask.predict.folder import predict_folder
from fewmask.predict.predictor import Prediction
from fewmask.prepare.discover import discover
from fewmask.prepare.options import ScanOptions
from tests.io.test_dicom import write_series
from tests.scans import write_scans


class Nothing:
    """Says that there is nothing anywhere."""

    promptable = False

    def volume(self, volume: Volume) -> Prediction:
        return Prediction(
            LabelMap(np.zeros(volume.shape, np.uint8), volume.grid), None, 0, notes=("a note",)
        )

    def volume_with_boxes(self, volume, boxes):
        raise NotImplementedError


@pytest.fixture
def scans(tmp_path):
    write_scans(tmp_path / "scans", 3)
    return tmp_path / "scans"


def test_masks_that_no_model_drew_are_neither_replaced_nor_joined(scans, tmp_path) -> None:
    """Beside the scans, in the input, or in any folder: a person's outlines cannot be
    made again.
    """
    before = read_labels(scans / "labels" / "case_00.nii.gz").voxels
    with pytest.raises(BadConfig, match="inside the input folder"):
        predict_folder(Nothing(), scans, scans / "labels")
    with pytest.raises(BadConfig, match="3 masks in the output folder, not as fewmask drew them"):
        predict_folder(Nothing(), scans / "images", scans / "labels")
    assert np.array_equal(read_labels(scans / "labels" / "case_00.nii.gz").voxels, before)


def test_a_mask_that_a_person_corrected_is_kept(scans, tmp_path) -> None:
    """With its header as we wrote it, which is what an editor may do."""
    for _ in range(2):  # its own it makes anew
        assert len(predict_folder(Nothing(), scans, tmp_path / "masks").written) == 3
    path = tmp_path / "masks" / "case_01.nii.gz"
    stored = bytearray(gzip.decompress(path.read_bytes()))
    stored[-1] = 1
    path.write_bytes(gzip.compress(bytes(stored)))
    with pytest.raises(BadConfig, match="1 mask in the output folder, not as fewmask drew it"):
        predict_folder(Nothing(), scans, tmp_path / "masks")
    assert read_labels(path).voxels.sum() == 1


def test_a_nnunet_or_msd_folder_is_input_like_any_other(scans) -> None:
    (scans / "images").rename(scans / "imagesTr")
    (scans / "labels").rename(scans / "labelsTr")
    (scans / "dataset.json").write_text('{"labels": {"6": "liver"}}')
    with pytest.raises(BadConfig, match="inside the input folder"):
        predict_folder(Nothing(), scans, scans / "labelsTr")


def test_scans_that_cannot_be_told_apart_are_refused_aloud(scans, tmp_path) -> None:
    images = scans / "images"
    shutil.copy(images / "case_00.nii.gz", images / "CASE_00.nii.gz")
    summary = predict_folder(Nothing(), scans, tmp_path / "masks")
    assert summary.written == ["case_01", "case_02"] and [
        line["code"] for line in summary.refused
    ] == ["N43"]
    assert summary.notes == ["case_01: a note", "case_02: a note"]


def test_a_dicom_folder_among_scans_is_one_more_scan(scans, tmp_path) -> None:
    voxels = np.arange(5 * 3 * 4, dtype=np.int16).reshape(5, 3, 4)
    write_series(scans / "images" / "case_dicom", voxels)
    assert predict_folder(Nothing(), scans, tmp_path / "a").written == [
        "case_00",
        "case_01",
        "case_02",
        "case_dicom",
    ]
    for name in ("one", "two"):
        write_series(tmp_path / "series" / name, voxels)
    assert predict_folder(Nothing(), tmp_path / "series", tmp_path / "b").written == ["one", "two"]
    again = make_second(tmp_path / "series" / "one", voxels)
    assert predict_folder(Nothing(), tmp_path / "series", tmp_path / "c").written == [
        "one_s1",
        "one_s2",
        "two",
    ]
    chosen = predict_folder(
        Nothing(), tmp_path / "series" / "one", tmp_path / "d", options=ScanOptions(series=again)
    )
    assert chosen.written == ["one"]


def test_a_scan_that_may_not_be_read_or_is_too_large_leaves_the_others_alone(
    scans, tmp_path
) -> None:
    class Small(Nothing):
        def volume(self, volume: Volume) -> Prediction:
            seen.append(volume)
            if len(seen) == 2:
                raise NoRoom("too large", code="F20")
            return super().volume(volume)

    seen: list[Volume] = []
    summary = predict_folder(Small(), scans, tmp_path / "masks")
    assert summary.written == ["case_00", "case_02"] and [
        line["code"] for line in summary.refused
    ] == ["F20"]


def test_when_nothing_comes_of_it_the_reason_is_the_reason(scans, tmp_path) -> None:
    class Tiny(Nothing):
        def volume(self, volume: Volume) -> Prediction:
            raise NoRoom("too large", fix="use a larger machine", code="F20")

    with pytest.raises(NoRoom, match="error: too large"):
        predict_folder(Tiny(), scans / "images" / "case_00.nii.gz", tmp_path / "masks")
    with pytest.raises(NoRoom, match="no mask could be made of any of the 3 scans") as caught:
        predict_folder(Tiny(), scans, tmp_path / "masks")
    assert caught.value.fix == "use a larger machine"


def test_patients_whose_folders_look_alike_keep_their_own_masks(tmp_path) -> None:
    voxels = np.arange(5 * 3 * 4, dtype=np.int16).reshape(5, 3, 4)
    for patient in ("patient_07", "patient_08"):
        write_series(tmp_path / patient / "DICOM", voxels)
        assert predict_folder(Nothing(), tmp_path / patient, tmp_path / "masks").written == [
            patient
        ]


def test_cases_are_called_as_check_calls_them(tmp_path) -> None:
    """One patient in a folder of patients; a file that its name calls a mask is not passed over."""
    voxels = np.arange(5 * 3 * 4, dtype=np.int16).reshape(5, 3, 4)
    for n in range(2):
        write_series(tmp_path / f"pacs/PAT01/v{n}", voxels + n, SeriesInstanceUID=f"1.{n}")
    names = list(discover(tmp_path / "pacs").patients)
    summary = predict_folder(Nothing(), tmp_path / "pacs", tmp_path / "masks")
    assert summary.written == names == ["PAT01_v0", "PAT01_v1"]
    write_scans(tmp_path / "scans", 1)
    scan = tmp_path / "scans/images/case_00.nii.gz"
    shutil.copy(scan, scan.with_name("mask of mary.nii.gz"))
    summary = predict_folder(Nothing(), scan.parent, tmp_path / "others")
    assert summary.written == ["case_00"]
    assert any("mask of mary.nii.gz" in note for note in summary.notes)


def test_trouble_with_masks_is_none_of_predicts_and_unread_files_are_named(scans, tmp_path) -> None:
    labels = scans / "labels"
    (labels / "case_00.nii").write_bytes(gzip.decompress((labels / "case_00.nii.gz").read_bytes()))
    (scans / "images" / "case_09.mgz").write_text("a scan")
    summary = predict_folder(Nothing(), scans, tmp_path / "masks")
    assert len(summary.written) == 3 and not summary.refused
    assert "seen and not used: images/case_09.mgz" in summary.notes[0]


def test_a_series_beside_files_is_not_passed_over_in_silence(scans, tmp_path) -> None:
    write_series(scans / "images" / "more", np.arange(5 * 3 * 4, dtype=np.int16).reshape(5, 3, 4))
    summary = predict_folder(Nothing(), scans / "images", tmp_path / "masks")
    assert len(summary.written) == 3 and "seen and not used: more/ (DICOM" in summary.notes[0]


def make_second(folder, voxels) -> str:
    """A second series in the folder, and its number."""
    write_series(folder / "more", voxels, SeriesInstanceUID="9.9", SeriesNumber=11)
    return "11"


class Stamped(Nothing):
    """Comes from a run folder, and counts what it is asked; some scans are too much for it."""

    stamp = "weights 1"

    def __init__(self, fails: dict[int, BaseException] | None = None) -> None:
        self.asked = 0
        self.fails = fails or {}

    def volume(self, volume: Volume) -> Prediction:
        self.asked += 1
        if error := self.fails.get(self.asked):
            raise error
        return super().volume(volume)


def test_whole_masks_of_the_same_run_and_scan_are_kept(scans, tmp_path) -> None:
    """N24: the same command goes on where it stopped; another run, a changed scan or a mask that is
    cut off is drawn again.
    """
    images, out = scans / "images", tmp_path / "masks"

    def ask(stamp: str = "weights 1", **changes: object) -> tuple[int, int]:
        predictor = Stamped()
        predictor.stamp = stamp
        summary = predict_folder(predictor, images, out, **changes)  # type: ignore[arg-type]
        assert len(summary.written) == 3 and "case_00: a note" in summary.notes
        return predictor.asked, len(summary.kept)

    assert ask() == (3, 0)
    assert ask() == (0, 3)
    (out / "case_01.nii.gz").unlink()
    assert ask() == (1, 2)
    shutil.copy(images / "case_00.nii.gz", images / "case_02.nii.gz")
    assert ask() == (1, 2)
    assert ask("weights 2") == (3, 0)
    assert ask("weights 2", again=True) == (3, 0)
    assert ask("") == ask("") == (3, 0)  # who does not say what it is draws always


def test_parts_share_the_scans(scans, tmp_path) -> None:
    images, out = scans / "images", tmp_path / "masks"
    done = [predict_folder(Stamped(), images, out, part=(i, 2)).written for i in (1, 2)]
    assert done == [["case_00", "case_02"], ["case_01"]]
    for part in ((0, 2), (3, 2), (4, 4)):
        with pytest.raises(BadConfig):
            predict_folder(Stamped(), images, out, part=part)


@pytest.mark.parametrize("error", [MemoryError(), KeyError("x"), OSError(5, "broken drive")])
def test_what_one_scan_raises_ends_that_scan(scans, tmp_path, error) -> None:
    summary = predict_folder(Stamped({2: error}), scans / "images", tmp_path / "masks")
    assert summary.written == ["case_00", "case_02"]
    (line,) = summary.refused
    assert line["case"] == "case_01" and line["fix"]
    assert sorted(path.name for path in (tmp_path / "masks").glob("*.nii.gz")) == [
        "case_00.nii.gz",
        "case_02.nii.gz",
    ]
    assert not any("stay" in note for note in summary.notes)
    predict_folder(Stamped(), scans / "images", tmp_path / "masks")
    later = predict_folder(Stamped({2: error}), scans / "images", tmp_path / "masks", again=True)
    (note,) = [note for note in later.notes if "stay" in note]
    assert note.endswith("of 1 of the scans that were refused now: case_01.nii.gz")


def test_a_mask_that_cannot_be_written_ends_that_scan_and_a_full_disk_all(
    scans, tmp_path, monkeypatch
) -> None:
    out = tmp_path / "masks"
    (out / "case_01.made.json").mkdir(parents=True)  # in the way
    summary = predict_folder(Stamped(), scans / "images", out)
    assert summary.written == ["case_00", "case_02"] and summary.refused[0]["case"] == "case_01"

    def full(path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "sync", full)
    with pytest.raises(NoRoom) as caught:
        predict_folder(Stamped(), scans / "images", tmp_path / "others")
    assert caught.value.code == "F09" and list((tmp_path / "others").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_f03_a_signal_leaves_whole_masks_only(scans, tmp_path, number) -> None:
    class Stops(Stamped):
        def volume(self, volume: Volume) -> Prediction:
            prediction = super().volume(volume)
            if self.asked == 2:
                os.kill(os.getpid(), number)
            return prediction

    out = tmp_path / "masks"
    with pytest.raises(Interrupted) as caught:
        predict_folder(Stops(), scans / "images", out)
    assert caught.value.exit_code == 128 + number
    assert [path.name for path in out.iterdir() if "case_01" in path.name] == []
    assert predict_folder(Stamped(), scans / "images", out).kept == ["case_00"]
