"""Every method, killed at seven points one after the other and gone on with each time, ends in the
bits of a training that nobody killed (faults F01).

Everything runs in forks of this process, which never computes: see `child`.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from fewmask.core.batch import Step
from fewmask.core.progress import ProgressEvent
from fewmask.io import weights
from fewmask.io.weights import fit_into
from fewmask.methods import config_class
from fewmask.training import TrainRequest, train
from fewmask.training import loop as training_loop
from fewmask.training.stages import plan_stages
from tests.kills.child import die, in_child, must
from tests.methods.test_contract import NETWORKS, SMALL
from tests.scans import prepare_scans

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="forks"),
    pytest.mark.timeout(2700),
]
STEPS, SAVE = 5, 2
"""Of every stage; states after steps 2, 4 and 5."""
MOST = 12
"""Of a whole run: the first stage of some methods is a small part of it."""
FAST = ("unet",)
TIMED = {"environment.json"}
"""Files that say on what machine and when."""

_PATCH = pytest.MonkeyPatch()
"""Used in children alone: nothing is put back."""


def _at(point: str) -> None:
    os.environ["FEWMASK_FAULT"] = f"kill@{point}"


def _is_state(path: Path) -> bool:
    """Is it a state's file, under its own or its temporary name?"""
    return path.name.lstrip(".").startswith("state-") and ".safetensors" in path.name


def _in_the_write() -> None:
    """Half of a state's file is there, under its temporary name."""

    def half(tensors: Mapping[str, Any], path: Path, *rest: Any, **more: Any) -> None:
        save_file(tensors, path, *rest, **more)
        if _is_state(path):
            os.truncate(path, path.stat().st_size // 2)
            die()

    _PATCH.setattr(weights, "save_file", half)


def _before_the_rename() -> None:
    """A state's file is whole, and has its temporary name still."""
    rename = Path.replace

    def stop(path: Path, target: Any) -> Path:
        if _is_state(Path(target)):
            die()
        return rename(path, target)

    _PATCH.setattr(Path, "replace", stop)


def _while_it_is_looked_at(event: ProgressEvent) -> None:
    """As scans are predicted for the clean-up rule (this program's validation); for a method that
    labels scans for itself, as the second is labelled.
    """
    if event.note.startswith("clean-up: ") or event.note.endswith(" scans labelled"):
        die()


POINTS: dict[str, Callable[[], None]] = {
    "after the first step": partial(_at, "step:1"),
    "between two saves": partial(_at, "step:3"),
    "inside the write of a state": _in_the_write,
    "between write and rename": _before_the_rename,
    "between losses and state": partial(_at, "before-save:4"),
    "between state and its record": partial(_at, "in-save:4"),
    "while scans are predicted": lambda: None,  # told by the progress
}


def request(prepared: Path, out: Path, method: str, seed: int = 0) -> TrainRequest:
    """A few steps of a small network, with what draws at random switched on."""
    settings = dict(SMALL[method])
    known = {field.name for field in fields(config_class(method))}
    if "dropout" in known and method not in ("ua_mt",):
        settings["dropout"] = 0.1
    words = tuple(f"{key}={value}" for key, value in settings.items())
    budget = {"volumes": 2} if "patch" in settings else {"slices": 6}
    asked = TrainRequest(
        prepared,
        out,
        method,
        amp="off",
        device="cpu",
        threads=1,
        save_minutes=1e3,
        save_steps=SAVE,
        keep_states=True,  # they are compared too
        settings=words,
        seed=seed,
        **budget,  # type: ignore[arg-type]
    )
    wanted = round(STEPS / min(stage.steps_share for stage in plan_stages(asked)))
    return replace(asked, steps=min(wanted, MOST))


def digests(run: Path) -> dict[str, str]:
    """Of every file of a run, those of its stages and its labels too: weights, states with their
    optimiser and teacher, losses, clean-up, budget, split, settings.
    """
    return {
        path.relative_to(run).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in TIMED
    }


def kill(asked: TrainRequest, point: str) -> int:
    """What became of a training that was to be killed there."""

    def killed() -> None:
        POINTS[point]()
        if point == "while scans are predicted":
            train(asked, _while_it_is_looked_at)
        else:
            train(asked)

    return in_child(killed)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """Made in a child too: reading scans starts threads. What most children would import is
    imported before they are forked.
    """
    import_module("monai.networks.nets")
    folder: Path = tmp_path_factory.mktemp("kills")
    must(lambda: prepare_scans(folder))
    return folder / "prepared"


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory) -> Callable[[str], dict[str, str]]:
    """Of each method, the bits of a training that nobody killed."""
    known: dict[str, dict[str, str]] = {}

    def get(method: str) -> dict[str, str]:
        if method not in known:
            out = tmp_path_factory.mktemp(method) / "run"
            must(lambda: train(request(prepared, out, method)))
            known[method] = digests(out)
        return known[method]

    return get


@pytest.mark.parametrize(
    "method", [pytest.param(m, marks=[] if m in FAST else pytest.mark.slow) for m in NETWORKS]
)
def test_f01_killed_at_seven_points(prepared, tmp_path, whole, method) -> None:
    asked = request(prepared, tmp_path / "run", method)
    for point in POINTS:
        assert kill(asked, point) == -9, f"{point}: it was not killed"
        assert not (asked.out / "weights.safetensors").exists()
    for point in POINTS:  # once more, in the stage that follows, of methods that have one
        if kill(asked, point) == 0:
            break
    must(lambda: train(asked))
    assert digests(asked.out) == whole(method)


def _another_seed(asked: TrainRequest) -> TrainRequest:
    return replace(asked, seed=1)


def _no_moments(asked: TrainRequest) -> TrainRequest:
    _PATCH.setattr(training_loop, "restore_optimiser", lambda *_: None)
    return asked


def _ambient_numbers(asked: TrainRequest) -> TrainRequest:
    _PATCH.setattr(Step, "torch_seed", lambda *_: torch.seed())
    return asked


def _no_teacher(asked: TrainRequest) -> TrainRequest:
    def forget(network: torch.nn.Module, tensors: Mapping[str, Any], path: Path) -> None:
        fresh = network.state_dict()
        lost = {n: fresh[n] if "teacher." in n else t for n, t in tensors.items()}
        assert any("teacher." in name for name in tensors)
        fit_into(network, lost, path)

    _PATCH.setattr(training_loop, "fit_into", forget)
    return asked


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [_another_seed, _no_moments, _ambient_numbers, _no_teacher])
def test_f01_controls_that_must_differ(prepared, tmp_path, whole, spoil) -> None:
    """What the comparison is for: a resume that forgets one thing is seen."""
    method, out = "mean_teacher", tmp_path / "run"
    asked = request(prepared, out, method)
    if spoil is not _another_seed:
        assert kill(asked, "between two saves") == -9
    must(lambda: train(spoil(asked)))
    found, expected = digests(out), whole(method)
    assert found.keys() == expected.keys()
    assert found["weights.safetensors"] != expected["weights.safetensors"]
