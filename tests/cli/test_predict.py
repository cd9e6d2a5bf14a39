"""What `fewmask predict` hands on to the network."""

import json
import sys
from typing import Any

import numpy as np
import pytest

import fewmask
from fewmask.cli.app import _leave, app
from fewmask.core.errors import BadConfig, PartlyDone
from fewmask.core.volume import LabelMap, Volume
from fewmask.io.image import read_names
from fewmask.io.nifti import read_labels
from fewmask.predict import Predictor
from fewmask.predict.predictor import Prediction
from fewmask.training import TrainRequest, train
from tests.narrow import required, watched
from tests.scans import prepare_scans

SMALL = {"unet": ("channels=(4,8)",), "vnet": ("patch=(16,16,16)", "filters=2", "norm=batch")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of a 2D and one of a 3D method, each of one step."""
    folder = tmp_path_factory.mktemp("runs")
    prepared = prepare_scans(folder)
    for method, settings in SMALL.items():
        train(
            TrainRequest(
                prepared.folder,
                folder / method,
                method=method,
                volumes=1,
                steps=1,
                amp="off",
                device="cpu",
                settings=settings,
            )
        )
    return folder


def predict(runs, method: str, *flags: str) -> None:
    import fewmask.cli.predict  # noqa: F401  registers the verb

    scan = runs / "scans" / "images" / "case_04.nii.gz"
    app(
        ["predict", str(runs / method), str(scan), "--out", str(runs / "masks"), *flags],
        standalone_mode=False,
    )


@pytest.mark.parametrize(("flags", "most"), [((), 2), (("--windows", "5"), 5)])
def test_the_network_sees_as_many_windows_at_a_time_as_is_said(
    runs, monkeypatch, flags, most
) -> None:
    """32 x 32 pixels under windows of 16, half a window apart: 9 of them."""
    asked: list[int] = []
    whole = Predictor.load

    def load(*arguments: Any) -> Predictor:
        predictor = whole(*arguments)
        note = watched(predictor.method.predict, lambda image: asked.append(len(image)))
        monkeypatch.setattr(predictor.method, "predict", note)
        return predictor

    monkeypatch.setattr(Predictor, "load", load)
    predict(runs, "vnet", *flags)
    assert max(asked) == most and sum(asked) == 9


@pytest.mark.parametrize("flags", [("--windows", "2"), ("--stride", "8,8,8"), ("--gaussian",)])
def test_flags_of_3d_methods_are_refused_by_the_others(runs, flags) -> None:
    with pytest.raises(BadConfig, match="for 3D methods"):
        predict(runs, "unet", *flags)


def test_windows_leave_no_gaps(runs) -> None:
    with pytest.raises(BadConfig, match="leaves gaps between windows of \\(16, 16, 16\\)"):
        predict(runs, "vnet", "--stride", "8,17,8")


def test_empty_masks_lead_what_is_said_and_end_in_code_5(runs, monkeypatch, capsys) -> None:
    """Of the run's own scans, which are tagged; on the page and in JSON too."""
    import fewmask.cli.predict
    import fewmask.cli.report  # noqa: F401  registers the verb

    def nothing(self: Predictor, volume: Volume) -> Prediction:
        return Prediction(LabelMap(np.zeros(volume.shape, np.uint8), volume.grid), None, 0)

    monkeypatch.setattr(Predictor, "volume", nothing)
    run, told = runs / "unet", "liver: 4 of 5 masks empty, but tags say it is there"
    verbs = {"predict": [str(run), str(runs / "prepared"), "--known", "auto"], "report": [str(run)]}
    for verb, words in verbs.items():
        for flags in ([], ["--json"]):
            with pytest.raises(PartlyDone, match="empty where a structure was expected") as raised:
                app([*flags, verb, *words], standalone_mode=False)
            said = capsys.readouterr().out
            assert raised.value.exit_code == 5 and raised.value.where[0].startswith(told)
            first = json.loads(said)["empty"][0] if flags else said
            assert first.startswith(told)  # the one scan left is all outlined
    page = (run / "report" / "index.html").read_text()
    assert page.index(told) < page.index('class="sentence"')
    assert "In masks of scans it learned from" in page


def test_what_is_partly_done_is_told_by_one_object(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["fewmask", "--json", "predict"])
    with pytest.raises(SystemExit) as done:
        _leave(PartlyDone("some are done"), False)
    assert done.value.code == 5 and capsys.readouterr().out == ""


def test_the_mean_of_a_2d_and_a_3d_run_is_what_each_says_together(runs) -> None:
    """The command's mask is the larger half of the two runs' probabilities, added up by hand."""
    scan = runs / "scans" / "images" / "case_04.nii.gz"
    predict(runs, "unet", "--with", str(runs / "vnet"), "--cleanup", "none")
    found = read_labels(runs / "masks" / "case_04.nii.gz").voxels
    alone = [fewmask.load(runs / name, cleanup="none") for name in ("unet", "vnet")]
    said = [required(one.predict(scan, probabilities=True).probabilities) for one in alone]
    together = fewmask.load([runs / "unet", runs / "vnet"], cleanup="none")
    mask = together.predict(scan, probabilities=True)
    mean = required(mask.probabilities)
    np.testing.assert_allclose(mean, (said[0] + said[1]) / 2, atol=1e-6)
    np.testing.assert_array_equal(mask.voxels, found)
    np.testing.assert_array_equal(np.asarray(mask), mean.argmax(0))
    assert f"mean with {runs / 'vnet'}, on cpu" in repr(together)
    with pytest.raises(BadConfig, match="no module of its own"):
        _ = together.module


def test_the_masks_of_a_mean_are_not_those_of_its_first_run(runs) -> None:
    import fewmask.cli.predict

    words = ["predict", str(runs / "vnet"), str(runs / "prepared"), "--with", str(runs / "unet")]
    with pytest.raises(BadConfig, match="masks of the mean"):
        app(words, standalone_mode=False)
    with pytest.raises(BadConfig, match="masks of the mean"):
        fewmask.predict_folder(fewmask.load([runs / "vnet", runs / "unet"]), runs / "prepared")
    assert not (runs / "vnet" / "predictions").exists()


def test_masks_in_the_format_of_slicer(runs) -> None:
    predict(runs, "unet", "--format", "seg.nrrd")
    assert read_names(runs / "masks" / "case_04.seg.nrrd") == {"liver": 1}
    with pytest.raises(BadConfig, match="refers to the DICOM scan"):
        predict(runs, "unet", "--format", "rtstruct")
    with pytest.raises(BadConfig, match="format 'png' is not known"):
        predict(runs, "unet", "--format", "png")
    with pytest.raises(BadConfig, match="cannot be read"):
        predict(runs, "unet", "--format", "rtstruct", "--term", "spleen=SCT:1:Spleen")
