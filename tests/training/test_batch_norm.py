"""Statistics of batch norms from all training scans: by hand, and at the end of a training."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from fewmask.core.batch import BatchSpec, Probabilities, Task
from fewmask.core.recipe import Recipe
from fewmask.core.volume import Grid, Volume
from fewmask.io.weights import load_tensors
from fewmask.methods._method import Method
from fewmask.predict import Predictor
from fewmask.training import TrainRequest, train
from fewmask.training.batch_norm import renew_norms
from tests.narrow import required
from tests.scans import prepare_scans


class TwoNorms(Method):
    """One norm answers, the other is a teacher's."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.other = nn.BatchNorm3d(1), nn.BatchNorm3d(1)
        self.batch_spec = BatchSpec(patch=(2, 4, 4))

    def losses(self, batch, step):
        return {}

    def optimiser(self):
        raise NotImplementedError

    def predict(self, image):
        own = torch.sigmoid(self.asked(image))
        return Probabilities(torch.cat([1 - own, own], 1))


def statistics(norm: nn.BatchNorm3d) -> tuple[float, float]:
    """Mean and variance of its only channel."""
    return float(required(norm.running_mean)), float(required(norm.running_var))


def flat(hu: int) -> Volume:
    """A scan of one grey level."""
    return Volume(np.full((4, 8, 8), hu, np.int16), Grid((8, 8, 4), np.eye(4)))


def test_the_mean_over_scans_and_nothing_else() -> None:
    """Grey levels 0.2 and 0.6 fill two scans: mean 0.4, and no variance within any window."""
    recipe = Recipe("ct", "ct", window_hu=(0.0, 100.0), spacing_mm=1.0, slice_mm=1.0, size=16)
    method = TwoNorms()
    predictor = Predictor(method, recipe, Task(("organ",), 16), torch.device("cpu"), bf16=False)
    renew_norms(predictor, [])
    assert statistics(method.asked) == (0, 1), "no scan, nothing new"
    renew_norms(predictor, [flat(20), flat(60)])
    mean, variance = statistics(method.asked)
    assert mean == pytest.approx(0.4, abs=1e-6) and variance == pytest.approx(0.0, abs=1e-9)
    assert statistics(method.other) == (0, 1)
    assert not method.asked.training and method.asked.momentum == 0.1
    assert predictor.windows is not None and predictor.windows.stride is None


def test_norms_are_themselves_again_when_a_scan_fails() -> None:
    """The second scan cannot be opened: nothing stays in training mode."""
    recipe = Recipe("ct", "ct", window_hu=(0.0, 100.0), spacing_mm=1.0, slice_mm=1.0, size=16)
    method = TwoNorms()
    predictor = Predictor(method, recipe, Task(("organ",), 16), torch.device("cpu"), bf16=False)

    def scans() -> Iterator[Volume]:
        yield flat(20)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        renew_norms(predictor, scans())
    for norm in (method.asked, method.other):
        assert not norm.training and norm.momentum == 0.1


def test_at_the_end_of_training_only_statistics_change(tmp_path) -> None:
    prepared = prepare_scans(tmp_path, 4)
    notes: list[str] = []

    def fit(name: str, *settings: str) -> dict[str, torch.Tensor]:
        request = TrainRequest(
            prepared=prepared.folder, out=tmp_path / name, method="vnet", volumes=1, steps=2,
            device="cpu", amp="off",
            settings=("patch=(16,32,32)", "filters=4", "norm=batch", *settings),
        )  # fmt: skip
        return load_tensors(
            train(request, lambda state: notes.append(state.note)) / "weights.safetensors"
        )

    plain, renewed = fit("plain"), fit("renewed", "renew_norms=true")
    scans = len(prepared.split.train)
    assert notes[-2] == f"batch norms: {scans} of {scans} scans seen"
    assert notes[-1] == "clean-up: 1 of 1 scans seen", "by the network as it will be"
    changed = {name for name in plain if not torch.equal(plain[name], renewed[name])}
    assert changed and all(
        name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in changed
    )
