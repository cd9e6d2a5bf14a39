"""From a scan, in whichever form, to its mask; and what a run folder tells. The lines in the README
are in test_readme.py.
"""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

import fewmask
from fewmask.api import LoadedRun, PredictedMask, TrainedRun
from fewmask.core.errors import BadConfig, BadDataset, BadScan
from fewmask.core.volume import LabelMap, Volume
from fewmask.io.nifti import is_prediction, read_labels, read_volume
from fewmask.io.prepared import Prepared
from fewmask.predict import Predicts
from fewmask.predict.predictor import Prediction
from tests.scans import AFFINE, SHAPE, prepare_scans, write_scans


class Bright:
    """Calls class 1 what is brighter than 60."""

    promptable = False

    def volume(self, volume: Volume) -> Prediction:
        labels = (volume.intensities() > 60).astype(np.uint8)
        return Prediction(LabelMap(labels, volume.grid), None, 0)

    def volume_with_boxes(self, volume, boxes):
        raise NotImplementedError


class BrightRun(LoadedRun):
    classes = ("liver",)


@pytest.fixture
def bright(tmp_path) -> LoadedRun:
    return BrightRun(tmp_path, cast(Predicts, Bright()))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> TrainedRun:
    """A U-Net after three steps, on 32 x 32 x 8 voxels."""
    folder = tmp_path_factory.mktemp("trained")
    prepare_scans(folder, recipe="ct")
    return fewmask.train(
        folder / "prepared",
        folder / "run",
        method="unet",
        slices=np.int64(3),  # type: ignore[arg-type]
        steps=3,
        settings={"channels": (4, 8), "labelled": 2},
    )


def test_no_scan_is_chosen_for_you(tmp_path, bright) -> None:
    cases = write_scans(tmp_path / "scans", 2)
    images = tmp_path / "scans" / "images"
    with pytest.raises(BadConfig, match="2 scans in"):
        bright.predict(images)
    assert bright.predict(images / f"{cases[0]}.nii.gz").voxels.shape == (8, 32, 32)
    shutil.copy(images / "case_00.nii.gz", images / "CASE_00.nii.gz")
    with pytest.raises(BadDataset, match="the same case"):  # and not the one scan that is left
        bright.predict(images)


def test_a_path_an_image_and_an_array_give_the_same_mask(tmp_path, bright) -> None:
    write_scans(tmp_path / "scans", 1)
    path = tmp_path / "scans" / "images" / "case_00.nii.gz"
    image = nib.load(path)
    array = np.asarray(image.dataobj)
    masks = [
        bright.predict(path),
        bright.predict(str(path)),
        bright.predict(image),
        bright.predict(array, affine=image.affine),
        bright.predict(array.astype(np.float64), affine=image.affine.tolist()),
        bright.predict(torch.from_numpy(array), affine=image.affine),
        bright.predict(read_volume(path)),
    ]
    for mask in masks:
        assert np.asarray(mask).shape == SHAPE  # the file's order, not (d, h, w)
        np.testing.assert_array_equal(np.asarray(mask), array > 60)
        np.testing.assert_allclose(mask.to_nibabel().affine, AFFINE)
        assert mask.shape == (8, 32, 32)


def test_one_bright_voxel_is_found_where_it_is(bright) -> None:
    """File axes: i to the left, j to the front, k to the feet; so d = 3 - k, h = 4 - j, w = i."""
    array = np.zeros((3, 5, 4), np.int16)
    array[2, 1, 0] = 100
    mask = bright.predict(array, affine=np.diag([-2.0, 3, -5, 1]))
    assert np.argwhere(mask.voxels).tolist() == [[3, 3, 2]]
    assert np.argwhere(np.asarray(mask)).tolist() == [[2, 1, 0]]
    assert mask.volumes_ml == {"liver": pytest.approx(0.03)}  # 2 x 3 x 5 mm
    assert repr(mask) == (
        "PredictedMask(shape: (4, 5, 3) (d, h, w); spacing: (5.00, 3.00, 2.00) mm; "
        "file: (3, 5, 4) LAI; liver: 0.0 mL)"
    )


def test_voxel_sizes_alone_mean_right_front_top(bright) -> None:
    array = np.zeros((2, 2, 2))
    array[0, 0, 1] = 100
    mask = bright.predict(array, spacing_mm=(1, 2, 3))
    np.testing.assert_array_equal(mask.grid.affine, np.diag([1, 2, 3, 1]))


@pytest.mark.parametrize(
    ("array", "given", "error", "words"),
    [
        (np.ones((2, 2, 2)), {}, BadConfig, "how large its voxels are"),
        (
            np.ones((2, 2, 2)),
            {"affine": np.eye(4), "spacing_mm": (1, 1, 1)},
            BadConfig,
            "how large",
        ),
        (np.ones((2, 2, 2)), {"affine": np.eye(4)}, BadScan, "no contrast"),
        (np.array([[[0, np.nan]]]), {"affine": np.eye(4)}, BadScan, "NaN or Inf"),
        (np.array([[[0, 1e300]]]), {"affine": np.eye(4)}, BadScan, "beyond float32"),
        (np.zeros((2, 2, 2, 2)), {"affine": np.eye(4)}, BadScan, "one volume"),
        (np.zeros((2, 2)), {"affine": np.eye(4)}, BadScan, "one volume"),
        (np.zeros((2, 2, 2), bool), {"affine": np.eye(4)}, BadScan, "not a grey value"),
        (np.ones((2, 2, 2)), {"affine": np.zeros((4, 4))}, BadScan, "affine is singular"),
        (np.ones((2, 2, 2)), {"affine": np.eye(3)}, BadScan, "4 x 4"),
    ],
)
def test_arrays_that_are_no_scan(bright, array, given, error, words) -> None:
    with pytest.raises(error, match=words):
        bright.predict(array, **given)


def test_images_that_do_not_say_where_they_lie(bright) -> None:
    array = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    image = nib.Nifti1Image(array, np.eye(4))
    with pytest.raises(BadConfig, match="its own affine"):
        bright.predict(image, affine=np.eye(4))
    image.header.set_xyzt_units("meter")
    with pytest.raises(BadScan, match="counts in meter"):
        bright.predict(image)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    with pytest.raises(BadScan, match="does not say how it lies"):
        bright.predict(image)
    with pytest.raises(BadScan, match="does not say how it lies"):
        bright.predict(nib.Nifti1Image(array, None))


def test_an_affine_beside_a_path_is_refused(tmp_path, bright) -> None:
    write_scans(tmp_path / "scans", 1)
    with pytest.raises(BadConfig, match="its own affine"):
        bright.predict(tmp_path / "scans" / "images" / "case_00.nii.gz", affine=np.eye(4))


def test_probabilities_are_the_mask_s_in_the_order_of_the_file(trained) -> None:
    array = np.random.default_rng(0).normal(0, 100, (20, 24, 6))
    affine = np.diag([-3.0, 3, -5, 1])
    mask = fewmask.predict(trained, array, affine=affine, probabilities=True)
    assert mask.probabilities is not None and mask.probabilities.dtype == np.float32
    assert mask.probabilities.shape == (2, 20, 24, 6)
    np.testing.assert_array_equal(mask.probabilities.argmax(0), np.asarray(mask))
    assert 0 < np.asarray(mask).mean() < 1  # both occur, so an order that is wrong would show
    np.testing.assert_allclose(mask.probabilities.sum(0), 1, atol=1e-5)
    plain = fewmask.predict(trained, array, affine=affine)
    np.testing.assert_array_equal(plain.voxels, mask.voxels)
    assert plain.probabilities is None and "with probabilities" in repr(mask)


def test_probabilities_of_a_3d_method_are_its_mask_s(tmp_path) -> None:
    prepare_scans(tmp_path, recipe="ct")
    run = fewmask.train(
        tmp_path / "prepared",
        tmp_path / "run",
        method="vnet",
        volumes=2,
        steps=2,
        settings={"patch": (16, 16, 16), "labelled": 2, "norm": "batch", "filters": 4},
    )
    array = np.random.default_rng(0).normal(0, 100, (20, 24, 18))
    drawn = run.load(cleanup="none")
    mask = drawn.predict(array, spacing_mm=(3, 3, 3), probabilities=True)
    assert mask.probabilities is not None
    np.testing.assert_array_equal(mask.probabilities.argmax(0), np.asarray(mask))
    np.testing.assert_allclose(mask.probabilities.sum(0), 1, atol=1e-4)


def test_what_a_program_of_its_own_cannot_give(bright, monkeypatch) -> None:
    monkeypatch.setattr(BrightRun, "record", SimpleNamespace(method="nnunet"))
    array = np.arange(8.0).reshape(2, 2, 2)
    with pytest.raises(BadConfig, match="program of its own"):
        bright.predict(array, spacing_mm=(1, 1, 1), probabilities=True)
    with pytest.raises(BadConfig, match="program of its own"):
        _ = bright.module


def test_a_mask_is_saved_once_and_as_a_person_s(tmp_path, bright) -> None:
    """Someone may have changed its voxels, so no later prediction replaces it."""
    array = np.zeros((2, 3, 4))
    array[1, 2, 3] = 100
    mask = bright.predict(array, affine=np.diag([-1.0, 1, 1, 1]))
    path = mask.save(tmp_path / "mask.nii.gz")
    assert np.asarray(nib.load(path).dataobj).tolist() == (array > 60).astype(int).tolist()
    assert not is_prediction(path)
    with pytest.raises(BadConfig, match="a file already"):
        mask.save(path)
    mask.voxels[:] = 0
    assert not read_labels(mask.save(str(path), overwrite=True)).voxels.any()


def test_a_run_is_a_path_and_tells_its_losses(trained, tmp_path) -> None:
    assert (Path(trained) / "config.json").exists() and os.fspath(trained) == str(trained)
    assert (trained / "losses.csv").exists()
    assert [row["step"] for row in trained.history] == [0, 1, 2]
    assert all(set(row) == {"step", "ce", "dice"} for row in trained.history)
    assert trained.record.method == "unet" and trained.metrics == []
    assert repr(trained) == f"TrainedRun({trained}, unet, 3 slices, 3 steps, 0 scores)"


def test_a_loaded_run_holds_the_network(trained) -> None:
    run = trained.load(device="cpu")
    assert isinstance(run.module, nn.Module) and not run.module.training
    assert run.classes == ("liver",) and run.history == trained.history
    assert repr(run).endswith("classes: liver, on cpu)")
    array = np.random.default_rng(0).normal(0, 100, (8, 8, 3))
    same = fewmask.predict(run, array, spacing_mm=(3, 3, 5))
    assert isinstance(same, PredictedMask)
    np.testing.assert_array_equal(same.voxels, run.predict(array, spacing_mm=(3, 3, 5)).voxels)


def test_windows_are_for_3d_methods(trained) -> None:
    with pytest.raises(BadConfig, match="3D methods"):
        fewmask.load(trained, stride=(1, 2, 3))


def test_progress_is_told(trained, tmp_path) -> None:
    steps, scans = [], []
    run = fewmask.train(
        trained.record.prepared, tmp_path / "run", method="unet", slices=3, steps=2,
        settings=["channels=(4, 8)"], on_progress=lambda event: steps.append(event.done),
    )  # fmt: skip
    fewmask.predict_folder(
        run,
        Path(trained.record.prepared).parent / "scans" / "images",
        tmp_path / "masks",
        on_progress=lambda event: scans.append((event.done, event.total, event.item)),
    )
    assert steps == [1, 2]
    assert scans[0] == (1, 5, "case_00") and len(scans) == 5


def test_where_masks_of_a_folder_go(trained) -> None:
    prepared = Path(trained.record.prepared)
    with pytest.raises(BadConfig, match="where should the masks go"):
        fewmask.predict_folder(trained, prepared.parent / "scans")
    summary = fewmask.predict_folder(trained, prepared, cases=["case_03"])
    assert repr(summary) == "PredictSummary(1 written; 0 refused; 0 notes)"
    assert (trained / "predictions" / "case_03.nii.gz").exists()


@pytest.mark.parametrize("table", [True, False])
def test_patients_are_a_table_or_a_pattern(tmp_path, table) -> None:
    cases = write_scans(tmp_path / "scans", 2)
    (tmp_path / "p.csv").write_text("case,patient\n" + "".join(f"{case},0\n" for case in cases))
    source = tmp_path / "p.csv" if table else "case_(.)"
    fewmask.prepare(tmp_path / "scans", tmp_path / "prepared", {"liver": 6}, patients=source)
    assert set(Prepared.open(tmp_path / "prepared").patients.values()) == {"0"}


def test_reading_options_reach_the_reader(tmp_path) -> None:
    write_scans(tmp_path / "scans", 1)
    report = fewmask.check(tmp_path / "scans", labels={"liver": 6}, spacing_mm=(2, 2, 5))
    assert report.cases[0].spacing_mm == (5, 2, 2)
    assert repr(report).startswith("CheckReport(plain: 1 scan (1 ct), 1 with outlines; 0 problems")
