"""Methods from outside the package: found, trained, asked and checked like those inside; and what a
method file may not say.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fewmask import methods
from fewmask.core.batch import Batch, BatchSpec, Probabilities, Step, Task
from fewmask.core.errors import BadConfig
from fewmask.methods import Method, MethodSpec, register_method
from fewmask.methods.unet import METHOD as UNET
from fewmask.predict import Predictor
from fewmask.predict.work import load_prepared
from fewmask.testing import ContractBroken, check_learns, check_method, take_steps
from fewmask.training import TrainRequest, train
from tests.scans import prepare_scans


@dataclass(frozen=True)
class Config:
    """Settings of `toy`."""

    width: int = 8
    """Channels of the hidden layer."""
    cut: float = 0.0
    """Only when a scan is predicted: probabilities below it go to the background."""


class Toy(Method):
    """Two convolutions."""

    batch_spec = BatchSpec(labelled=2)

    def __init__(self, width: int, classes: int, cut: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 5, padding=2), nn.ReLU(), nn.Conv2d(width, classes, 1)
        )
        self.cut = cut

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        assert batch.labelled is not None
        return {
            "ce": functional.cross_entropy(self.layers(batch.labelled.image), batch.labelled.mask)
        }

    def predict(self, image: Tensor) -> Probabilities:
        probs = torch.softmax(self.layers(image), 1)
        kept = probs[:, 1:] * (probs[:, 1:] >= self.cut)
        return Probabilities(torch.cat([1 - kept.sum(1, keepdim=True), kept], 1))

    def optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.02)


def build(config: Config, task: Task) -> Toy:
    return Toy(config.width, task.k + 1, config.cut)


TOY = MethodSpec(Config, build, inference_only=("cut",))


@pytest.fixture(autouse=True)
def nothing_stays_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "_registered", {})


def test_a_registered_method_is_trained_and_predicts(tmp_path: Path) -> None:
    register_method("toy", TOY)
    assert "toy" in methods.names() and not methods.is_external("toy")
    prepared = prepare_scans(tmp_path / "scans")
    request = TrainRequest(
        prepared=prepared.folder,
        out=tmp_path / "run",
        method="toy",
        slices=3,
        steps=3,
        amp="off",
        device="cpu",
        settings=("width=4",),
    )
    run = train(request)
    lines = (run / "losses.csv").read_text().splitlines()
    assert lines[0].split(",")[:2] == ["step", "ce"] and len(lines) == 4
    predictor = Predictor.load(run, "cpu")
    assert isinstance(predictor.method, Toy) and not predictor.promptable
    volume = load_prepared(prepared, prepared.split.test[0])
    assert predictor.volume(volume).label_map.voxels.shape == volume.shape


def test_the_contract_is_checked_on_it() -> None:
    register_method("toy", TOY)
    check_method("toy", {"width": 4})
    check_learns("toy", steps=200)


class Blind(Toy):
    """A loss that moves nothing."""

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {**super().losses(batch, step), "nothing": 0 * next(self.layers.parameters()).sum()}


class Crowded(Toy):
    """A prediction that depends on the other images of the batch."""

    def predict(self, image: Tensor) -> Probabilities:
        return super().predict(image - image.mean())


class Peeking(Toy):
    """A prediction that takes a mask."""

    def predict(self, image: Tensor, mask: Tensor | None = None) -> Probabilities:
        return super().predict(image)


class Forgetful(Toy):
    """A prediction that depends on what is not saved."""

    steps = 0

    def after_step(self, step: Step) -> None:
        self.steps += 1

    def predict(self, image: Tensor) -> Probabilities:
        return super().predict(image + self.steps)


class Careless(Toy):
    """Probabilities that do not add up."""

    def predict(self, image: Tensor) -> Probabilities:
        return Probabilities(2 * super().predict(image).probs)


class Random(Toy):
    """Losses that depend on numbers without a key."""

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        factor = float(np.random.default_rng().random())
        return {name: factor * loss for name, loss in super().losses(batch, step).items()}


class Thawing(Toy):
    """A frozen weight that changes."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.layers[2].requires_grad_(False)

    def after_step(self, step: Step) -> None:
        list(self.layers.parameters())[-1].add_(1.0)


class Stubborn(Toy):
    """A mask where no box is."""

    def segment(self, image: Tensor, boxes: Tensor) -> Probabilities:
        probs = torch.zeros(len(image), 3, *image.shape[2:])
        probs[:, 1] = 1
        return Probabilities(probs)


class Taught(Toy):
    """A loss that depends on what is said to matter in prediction only."""

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {name: (1 + self.cut) * loss for name, loss in super().losses(batch, step).items()}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Blind, "'nothing' moves no weight"),
        (Crowded, "depends on its batch's others"),
        (Peeking, r"predict takes \['image', 'mask'\]"),
        (Forgetful, "saved and loaded"),
        (Careless, "do not add up to 1"),
        (Random, "the same seed gave"),
        (Thawing, "frozen weight layers.2.bias changed"),
        (Stubborn, "boxes of NaN, and yet there is a mask"),
        (Taught, "cut: not for inference only"),
    ],
)
def test_a_method_that_breaks_the_contract_is_found_out(kind: type[Toy], message: str) -> None:
    spec = replace(TOY, build=lambda config, task: kind(config.width, task.k + 1, config.cut))
    register_method("broken", spec)
    with pytest.raises(ContractBroken, match=message):
        check_method("broken", {"width": 4})


def test_what_never_learns_is_found_out() -> None:
    register_method("toy", TOY)
    with pytest.raises(ContractBroken, match="after 1 steps"):
        check_learns("toy", steps=1)


PACKAGE = """
from dataclasses import dataclass
from fewmask.methods import MethodSpec
from fewmask.methods import vnet

@dataclass(frozen=True)
class Config(vnet.Config):
    patch: tuple[int, int, int] = (16, 32, 32)
    filters: int = 2

SPEC = MethodSpec(Config, vnet.METHOD.build)
SCRAP = "no spec"
"""
ASK = """
from fewmask import methods
from fewmask.core.errors import BadConfig
from fewmask.testing import take_steps, maker
assert "outside" in methods.names() and set(methods.names()) > {"unet", "sam_mix"}
print(sorted(take_steps(maker("outside")(), 3)))
for name in ("scrap", "unet"):
    try:
        methods.find_method(name)
    except BadConfig as error:
        print(error)
"""


def test_an_installed_package_brings_methods_by_an_entry_point(tmp_path: Path) -> None:
    (tmp_path / "bringer.py").write_text(PACKAGE)
    info = tmp_path / "bringer-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bringer\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[fewmask.methods]\noutside = bringer:SPEC\nscrap = bringer:SCRAP\nunet = bringer:SPEC\n"
    )
    path = os.pathsep.join([str(Path(methods.__file__).parents[2]), str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("['supervised']\n")
    assert "the entry point bringer:SCRAP is no MethodSpec but str" in done.stdout
    assert "the method 'unet' comes from several places" in done.stdout
    assert "entry point of bringer" in done.stdout


def test_a_name_is_given_once() -> None:
    for name in ("unet", "Toy", "my method", "_toy", ""):
        with pytest.raises(BadConfig) as refused:
            register_method(name, TOY)
        assert refused.value.did == "nothing was registered"
    with pytest.raises(BadConfig, match="already"):
        register_method("unet", TOY, replace=True)
    register_method("toy", TOY)
    with pytest.raises(BadConfig, match="already"):
        register_method("toy", UNET)
    register_method("toy", UNET, replace=True)
    assert methods.find_method("toy") is UNET


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    register_method("toy_story", TOY)
    for name, fix in (
        ("toy_stroy", "did you mean 'toy_story'?"),
        ("SAM_MIX", "did you mean 'sam_mix'?"),
    ):
        with pytest.raises(BadConfig) as refused:
            methods.find_method(name)
        assert refused.value.fix == fix and refused.value.code == "C01"
    with pytest.raises(BadConfig) as refused:
        methods.find_method("zzz")
    assert refused.value.fix.startswith("use one of: ac_mt, ")


def module(**names: Any) -> ModuleType:
    made = ModuleType("fewmask.methods.mine")
    vars(made).update(names)
    return made


@pytest.mark.parametrize(
    ("names", "fix"),
    [
        ({"METHD": TOY}, "did you mean 'METHOD'?"),
        ({"METHOD": TOY, "other": TOY}, "known are: "),
        ({"METHOD": TOY, "inference_onli": ("cut",)}, "did you mean 'inference_only'?"),
        ({"METHOD": TOY, "external": True}, "all that a method declares stands in METHOD ="),
    ],
)
def test_a_public_name_that_no_method_has_is_refused(names: dict[str, Any], fix: str) -> None:
    with pytest.raises(BadConfig, match="has a public name") as refused:
        methods.spec_of(module(**names))
    assert fix in refused.value.fix


def test_a_file_without_a_method_is_refused_and_constants_are_not() -> None:
    with pytest.raises(BadConfig, match="is no MethodSpec but None"):
        methods.spec_of(module(Config=Config, build=build))
    fine = module(METHOD=TOY, build=build, DEPTH=16, _rates={"a": 1}, Kind=int)
    assert methods.spec_of(fine) is TOY


def test_a_spec_that_contradicts_its_config_is_refused() -> None:
    with pytest.raises(TypeError, match="has no setting gate"):
        MethodSpec(Config, build, inference_only=("gate",))
    with pytest.raises(TypeError, match="inference_onli"):
        MethodSpec(Config, build, inference_onli=("cut",))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="no frozen dataclass"):
        MethodSpec(dict, build)


def test_a_program_has_no_network_to_build() -> None:
    assert methods.is_external("nnunet")
    config = methods.config_class("nnunet")()
    with pytest.raises(BadConfig, match="nnunet is a program, not a network of ours"):
        methods.build("nnunet", config, Task(("liver",), 64))


def test_every_method_file_has_a_spec_and_no_misplaced_name() -> None:
    for name in methods.names():
        assert isinstance(methods.find_method(name), MethodSpec)


def test_taking_steps_says_the_last_losses() -> None:
    register_method("toy", TOY)
    first, later = (
        take_steps(methods.build("toy", Config(), Task(("a", "b"), 64)), n)["ce"] for n in (1, 20)
    )
    assert later < first
