"""What `fewmask predict` hands on to the network."""

from typing import Any

import pytest

from fewmask.cli.app import app
from fewmask.core.errors import BadConfig
from fewmask.predict import Predictor
from fewmask.training import TrainRequest, train
from tests.narrow import watched
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
