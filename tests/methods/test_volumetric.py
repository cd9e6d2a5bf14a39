"""How the 3D methods are trained: AdamW by default, or what the literature does."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch

from fewmask.core.batch import Step, Task
from fewmask.core.errors import BadConfig
from fewmask.core.recipe import Recipe
from fewmask.core.volume import Grid, Volume
from fewmask.methods import build, config_class, config_from, names
from fewmask.methods._volumetric import VolumetricNet
from fewmask.methods.vnet import Config
from fewmask.predict import Predictor
from fewmask.training.batch_norm import renew_norms
from tests.narrow import required

TASK = Task(("left atrium",), 16)


def make(**changes: object) -> VolumetricNet:
    config = Config(**{"patch": (16, 32, 32), "filters": 2, **changes})  # type: ignore[arg-type]
    method = build("vnet", config, TASK)
    assert isinstance(method, VolumetricNet)
    return method


@pytest.mark.parametrize(
    ("changes", "kind", "lr", "weight_decay"),
    [
        ({}, torch.optim.AdamW, 1e-3, 0.01),
        ({"lr": 0.003, "weight_decay": 0.0}, torch.optim.AdamW, 0.003, 0.0),
        ({"optimiser": "sgd"}, torch.optim.SGD, 0.01, 1e-4),
        ({"optimiser": "sgd", "lr": 0.0}, torch.optim.SGD, 0.0, 1e-4),
    ],
)
def test_each_optimiser_has_its_own_rates_unless_they_are_said(
    changes: dict[str, Any], kind: type, lr: float, weight_decay: float
) -> None:
    optimiser = make(**changes).optimiser()
    (group,) = optimiser.param_groups
    assert type(optimiser) is kind and (group["lr"], group["weight_decay"]) == (lr, weight_decay)
    assert group.get("momentum", 0.9) == 0.9


@pytest.mark.parametrize(("name", "networks"), [("vnet", 1), ("mean_teacher", 1), ("cps", 2)])
def test_the_last_layer_may_learn_faster_and_a_teacher_s_does_not_learn(
    name: str, networks: int
) -> None:
    """Of every network that learns by gradients: a row and a bias."""
    method = build(
        name, config_from(name, {"patch": [16, 32, 32], "filters": 2, "head_lr": 0.03}), TASK
    )
    others, heads = method.optimiser().param_groups
    assert (others["lr"], heads["lr"]) == (1e-3, 0.03)
    assert [tuple(weight.shape) for weight in heads["params"]] == [(2, 2, 1, 1, 1), (2,)] * networks
    learning = sum(weight.requires_grad for weight in method.parameters())
    assert len(others["params"]) + len(heads["params"]) == learning


def test_whoever_asks_for_many_structures_is_told_how_they_are_learned() -> None:
    many = Task(tuple("abcd"), 16)
    few = make()
    config = {"patch": [16, 32, 32], "filters": 2}
    note = build("mean_teacher", config_from("mean_teacher", config), many).note
    told = build(
        "mean_teacher", config_from("mean_teacher", {**config, "head_lr": 0.03}), many
    ).note
    assert few.note == told == "" and note.startswith("4 structures: ") and "`head_lr=0.03`" in note


def test_the_literature_s_rate_drops_twice_and_ours_warms_and_cools() -> None:
    """2,500 and 5,000 of 6,000 steps; half a cosine is 1/2 in the middle."""
    theirs, ours = make(optimiser="sgd").schedule, make(warmup=100).schedule
    rates = [theirs(Step(i, 6000)) for i in (0, 2499, 2500, 4999, 5000, 5999)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert ours(Step(49, 6000)) == pytest.approx(0.5, abs=1e-3) and ours(
        Step(3000, 6000)
    ) == pytest.approx(0.5)
    assert ours(Step(5999, 6000)) < 1e-6


def test_instance_norms_answer_alike_in_training_and_after_it() -> None:
    """Each patch by its own mean and variance: no statistics, and a patch four times as bright
    looks the same.
    """
    torch.manual_seed(0)
    method = make(dropout=0.0)
    image = torch.rand(1, 1, 16, 32, 32)
    with torch.no_grad():
        trained, found = method.train().predict(image).probs, method.eval().predict(image).probs
        brighter = method.student(4 * image) - method.student(image)
    assert torch.equal(trained, found) and not list(method.student.buffers())
    assert float(brighter.abs().max()) < 0.01


SHAPES = {"patch": [16, 32, 48], "turns": True}
THREE_D = [name for name in names() if "turns" in {f.name for f in fields(config_class(name))}]


@pytest.mark.parametrize("name", THREE_D)
def test_a_patch_that_a_quarter_turn_would_reshape_is_refused(name: str) -> None:
    with pytest.raises(BadConfig, match="32 x 48") as refused:
        build(name, config_from(name, SHAPES), TASK)
    assert refused.value.fix == "use `turns=false`, or a square patch: `patch=(16,32,32)`"


@pytest.mark.parametrize("name", THREE_D)
@pytest.mark.parametrize("centred", [-0.5, 1.5])
def test_more_than_all_patches_cannot_be_centred(name: str, centred: float) -> None:
    with pytest.raises(BadConfig, match="is no part of the labelled patches"):
        build(name, config_from(name, {"patch": [16, 32, 32], "centred": centred}), TASK)


def test_without_turns_a_patch_need_not_be_square() -> None:
    assert make(patch=(16, 32, 48), turns=False).batch_spec.patch == (16, 32, 48)


@pytest.mark.parametrize(
    ("name", "setting"),
    [("vnet", "labelled"), ("mean_teacher", "unlabelled"), ("bcp", "unlabelled")],
)
def test_a_step_without_patches_is_refused(name: str, setting: str) -> None:
    with pytest.raises(BadConfig, match=f"{setting} ?= ?0"):
        build(name, config_from(name, {"patch": [32, 32, 32], setting: 0}), TASK)


def test_norms_that_cannot_be_had_are_refused() -> None:
    with pytest.raises(BadConfig, match="no statistics"):
        make(renew_norms=True)
    with pytest.raises(BadConfig, match="one voxel"):
        make(patch=(16, 16, 16))


@pytest.mark.parametrize("name", ["vnet", "cps", "cfr"])
def test_the_average_predicts_where_it_is_on_and_is_not_there_where_it_is_off(name: str) -> None:
    """After one step 1/10 of the start is kept; old weight files, which have none, still fit."""
    config = {"patch": [16, 32, 32], "filters": 2, "dropout": 0.0}
    off = build(name, config_from(name, config), TASK)
    assert not any("averaged" in key for key in off.state_dict())
    torch.manual_seed(0)
    method = build(name, config_from(name, {**config, "average": 0.9}), TASK).eval()
    assert isinstance(method, VolumetricNet) and method.averaged is not None
    image = torch.rand(1, 1, 16, 32, 32)
    before = method.predict(image).probs
    with torch.no_grad():
        bias, follower = (required(net.last.bias) for net in (method.student, method.averaged))
        bias += 1 - torch.eye(2)[0]  # the structure's logit
    assert torch.equal(method.predict(image).probs, before)
    method.after_step(Step(0, 10))
    shift = follower - bias
    assert shift.tolist() == pytest.approx([0.0, -0.1], abs=1e-6)
    assert (method.predict(image).probs[:, 1] > before[:, 1]).all()


@pytest.mark.parametrize("average", [-0.1, 1.0])
def test_an_average_that_never_moves_is_refused(average: float) -> None:
    with pytest.raises(BadConfig, match="learns nothing"):
        make(average=average)


def test_renewed_norms_are_those_of_the_average() -> None:
    """They are what takes part in the prediction; the student keeps its own."""
    method = make(norm="batch", renew_norms=True, average=0.9)
    recipe = Recipe("ct", "ct", window_hu=(0.0, 100.0), spacing_mm=1.0, slice_mm=1.0, size=32)
    scan = Volume(np.full((16, 32, 32), 60, np.int16), Grid((32, 32, 16), np.eye(4)))
    before = {key: value.clone() for key, value in method.state_dict().items()}
    renew_norms(Predictor(method, recipe, TASK, torch.device("cpu"), False), [scan])
    moved = {
        key for key, value in method.state_dict().items() if not torch.equal(value, before[key])
    }
    assert moved and all(key.startswith("averaged.") for key in moved)


@pytest.mark.parametrize("name", ["vnet", "cfr", "canvas_sam", "unet", "lite_unet"])
def test_a_look_reaches_the_loader_and_is_off_unless_it_is_said(name: str) -> None:
    config = {"canvas_sam": {"encoder": "tiny"}}.get(name, {})
    assert not build(name, config_from(name, config), TASK).batch_spec.new_looks
    looks = {"random_convolution": 0.25, "frequency_swap": 0.5}
    spec = build(name, config_from(name, {**config, **looks}), TASK).batch_spec
    assert (spec.random_convolution, spec.frequency_swap) == (0.25, 0.5)
    for setting in looks:
        with pytest.raises(BadConfig, match=f"{setting}=2 is no part of the images"):
            build(name, config_from(name, {**config, setting: 2.0}), TASK)
