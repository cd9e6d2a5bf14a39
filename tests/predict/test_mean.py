"""The mean of networks whose answers are known."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from fewmask.core.batch import BatchSpec, Probabilities, Task
from fewmask.core.errors import BadCheckpoint, BadConfig, NoRoom
from fewmask.core.recipe import Recipe
from fewmask.core.volume import Grid, Volume
from fewmask.methods._method import Method
from fewmask.predict import MeanPredictor, Predictor, load_mean, mean
from fewmask.predict.windows import Windows

SCAN = Volume(np.zeros((11, 12, 10), np.int16), Grid((10, 12, 11), np.diag([-1.0, -1, 1, 1])))


class Says(Method):
    """The same probabilities everywhere."""

    def __init__(self, *probs: float, patch: tuple[int, int, int] | None = None) -> None:
        super().__init__()
        self.batch_spec = BatchSpec(patch)
        self.probs = torch.tensor(probs)

    def losses(self, batch, step):
        raise NotImplementedError

    def optimiser(self):
        raise NotImplementedError

    def predict(self, image):
        shape = (len(image), -1, *image.shape[2:])
        flat = self.probs.reshape(1, -1, *[1] * (image.ndim - 2))
        return Probabilities(flat.expand(shape))


def predictor(method: Method, spacing_mm: float = 1.0) -> Predictor:
    recipe = Recipe("ct", "ct", window_hu=(0.0, 100.0), spacing_mm=spacing_mm, size=16)
    task = Task(("liver", "spleen"), 16)
    return Predictor(method, recipe, task, torch.device("cpu"), bf16=False)


@pytest.mark.parametrize("kept", [2**28, 0], ids=["in memory", "in files"])
def test_each_has_one_voice_whatever_it_is(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Liver by two of three, but the sure one has more to say: the means of three are 0.30, 0.33
    and 0.37. One works on patches, one on a coarser grid.
    """
    monkeypatch.setattr(mean, "_IN_MEMORY", kept)
    members = [
        predictor(Says(0.35, 0.5, 0.15)),
        predictor(Says(0.35, 0.4, 0.25, patch=(16, 16, 16))),
        predictor(Says(0.2, 0.1, 0.7), spacing_mm=2.0),
    ]
    probabilities = np.full((3, 11, 12, 10), np.nan, np.float32)
    found = MeanPredictor(members).volume(SCAN, probabilities)
    for row, expected in zip(probabilities, (0.3, 1 / 3, 1.1 / 3), strict=True):
        np.testing.assert_allclose(row, expected, atol=1e-6)
    assert (found.label_map.voxels == 2).all() and found.label_map.grid is SCAN.grid
    assert (MeanPredictor(members[:2]).volume(SCAN).label_map.voxels == 1).all()


def test_the_first_of_equal_classes_wins() -> None:
    both = [predictor(Says(0.25, 0.5, 0.25)), predictor(Says(0.25, 0.25, 0.5))]
    assert (MeanPredictor(both).volume(SCAN).label_map.voxels == 1).all()


def test_windows_are_for_those_that_have_some() -> None:
    flat, deep = predictor(Says(1.0, 0, 0)), predictor(Says(1.0, 0, 0, patch=(16, 16, 16)))
    moved = MeanPredictor([flat, deep]).with_windows(batch=5)
    assert moved.members[0] is flat and moved.members[1].windows == Windows((16, 16, 16), batch=5)
    with pytest.raises(BadConfig, match="3D methods"):
        MeanPredictor([flat, flat]).with_windows(batch=5)
    with pytest.raises(BadConfig, match="no oracle-box bound"):
        MeanPredictor([flat, flat]).volume_with_boxes(SCAN, np.zeros((11, 2, 4)))


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="files cannot be reserved here")
def test_a_full_disk_is_told_before_anything_is_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mean, "_IN_MEMORY", 0)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(NoRoom, match="15840 bytes needed"):
        MeanPredictor([predictor(Says(1.0, 0, 0))] * 2).volume(SCAN)


def run_folder(path: Path, method: str, *classes: str) -> Path:
    """As much of a finished run as is looked at before its weights are opened."""
    path.mkdir()
    record = {"method": method, "config": {}, "seed": 0, "steps": 1}
    record["task"] = {"classes": list(classes), "size": 16}
    (path / "config.json").write_text(json.dumps(record))
    (path / "weights.safetensors").touch()
    return path


def test_runs_that_cannot_be_averaged_are_refused(tmp_path: Path) -> None:
    liver = run_folder(tmp_path / "a", "unet", "liver")
    spleen = run_folder(tmp_path / "b", "vnet", "spleen")
    outside = run_folder(tmp_path / "c", "nnunet", "liver")
    with pytest.raises(BadConfig, match="other structures: liver and spleen"):
        load_mean([liver, spleen])
    with pytest.raises(BadConfig, match="no part in a mean"):
        load_mean([liver, outside])
    with pytest.raises(BadConfig, match="named twice"):
        load_mean([liver, tmp_path / "b" / ".." / "a"])
    (spleen / "weights.safetensors").unlink()
    with pytest.raises(BadCheckpoint, match="not finished"):
        load_mean([liver, spleen])
