"""`presence` means the same in every method of slices."""

import pytest
import torch
from torch import nn

from fewmask.core.batch import Batch, Step
from fewmask.core.errors import BadConfig
from fewmask.methods import Method, PresenceAware, build, config_from
from fewmask.testing import TASK, phantom_batch, phantom_slices, take_steps
from tests.methods.test_contract import SMALL
from tests.narrow import required

METHODS = ("ada_sam", "multimix", "sam_mix", "sam_pp", "trans_unet", "unet")
BESIDE = ("sam_pp", "trans_unet", "unet")
"""Methods that get a classifier only to be told what a slice holds."""


def make(name: str, **settings: object) -> Method:
    torch.manual_seed(0)
    return build(name, config_from(name, {**SMALL[name], **settings}), TASK)


@pytest.mark.parametrize("name", METHODS)
def test_only_a_scan_asks_neighbours_and_only_none_learns_nothing_of_presence(name) -> None:
    for presence, neighbours in (("none", 0.0), ("slice", 0.0), ("scan", 1.5)):
        method = make(name, presence=presence, presence_cost=1.5)
        assert isinstance(method, PresenceAware) and method.neighbours == neighbours
        assert method.batch_spec.presence == (presence != "none")
        assert bool(method.batch_spec.weak) == (presence != "none" or name not in BESIDE)


@pytest.mark.parametrize("name", BESIDE)
def test_without_presence_nothing_is_built_and_with_it_the_rest_starts_the_same(name) -> None:
    plain, gated = make(name, presence="none"), make(name, presence="slice")
    state = gated.state_dict()
    assert all(torch.equal(state[key], value) for key, value in plain.state_dict().items())
    added = {key.partition(".")[0] for key in state} - {
        key.partition(".")[0] for key in plain.state_dict()
    }
    assert added == {"classifier"}
    assert "classify" in gated.losses(phantom_batch(gated), Step(5, 10))
    assert "classify" not in plain.losses(phantom_batch(plain), Step(5, 10))


@pytest.mark.parametrize("name", BESIDE)
def test_the_classifier_says_and_may_be_overruled(name) -> None:
    """It affirms the liver and denies the spleen in every slice."""
    method = make(name, presence="slice")
    take_steps(method, 25)
    method.eval()
    head = method.classifier.net.head  # type: ignore[union-attr]
    assert isinstance(head, nn.Linear)
    nn.init.zeros_(head.weight)
    head.bias.data = torch.tensor([3.0, -3.0])
    image = phantom_slices(2)[0]
    with torch.no_grad():
        own = method.predict(image)
        every = torch.ones(2, 2, dtype=torch.bool)
        overruled = method.predict_present(image, every)  # type: ignore[operator]
    assert own.probs[:, 2].max() < 1e-6 and overruled.probs[:, 2].max() > 1e-3
    assert torch.equal(required(own.present), torch.sigmoid(head.bias.detach()).expand(2, 2))
    assert torch.allclose(own.probs.sum(1), torch.ones_like(own.probs[:, 0]), atol=1e-5)


def test_sam_pp_follows_its_own_classifier_with_cam_and_its_coarse_mask_otherwise() -> None:
    assert make("sam_pp", coarse="cam").presence == "slice"
    assert make("sam_pp").presence == "none" and make("sam_pp").classifier is None


@pytest.mark.parametrize("counted", [True, False])
def test_outlined_slices_count_as_tagged_in_sam_mix_if_they_are_to(counted) -> None:
    """With other tags on the outlined slices the loss of the tags moves, or does not."""
    method = make("sam_mix", outlined_as_tags=counted).eval()
    batch = phantom_batch(method)
    labelled = required(batch.labelled)
    other = Batch(
        type(labelled)(labelled.image, labelled.mask, torch.zeros_like(labelled.present)),
        batch.weak,
    )
    with torch.no_grad():
        first, second = (method.losses(b, Step(5, 10))["classify"] for b in (batch, other))
    assert (float(first) != float(second)) == counted


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(BadConfig, match="presence"):
        config_from("unet", {"presence": "auto"})
