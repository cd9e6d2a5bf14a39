"""What is special about `multimix`: saliency, what images alone teach, and the classifier's last
word.
"""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fewmask.core.batch import BatchSpec, Step, Task, Unlabelled
from fewmask.methods.multimix import Config, MultiMix, build
from fewmask.testing import phantom_batch, phantom_slices
from tests.narrow import part, required

SIDE = 64
SMALL = Config(channels=(8, 16, 16))


def make(config: Config = SMALL) -> MultiMix:
    torch.manual_seed(0)
    return build(config, Task(("liver", "spleen"), SIDE))


def testsaliency_is_the_slope_of_each_tag_with_a_peak_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For tags that weigh pixels, the slope is the weight: here by sizes 1, 2, 0, 4 and 5, 0, 0, 0
    in every image.
    """
    method = make()
    weights = torch.tensor([[[1.0, -2.0], [0.0, 4.0]], [[-5.0, 0.0], [0.0, 0.0]]])
    monkeypatch.setattr(
        method, "_encode", lambda image: ([], torch.einsum("bhw,khw->bk", image[:, 0], weights))
    )
    maps = method.saliency(torch.rand(3, 1, 2, 2))
    expected = torch.tensor([[[0.25, 0.5], [0.0, 1.0]], [[1.0, 0.0], [0.0, 0.0]]])
    assert torch.equal(maps, expected.expand(3, 2, 2, 2)) and not maps.requires_grad


def test_an_image_that_no_tag_depends_on_has_nosaliency(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make()
    monkeypatch.setattr(method, "_encode", lambda image: ([], 0 * image.flatten(1)[:, :2]))
    assert torch.equal(method.saliency(torch.rand(1, 1, 2, 2)), torch.zeros(1, 2, 2, 2))


def test_masks_teach_the_classifier_nothing() -> None:
    """The saliency is made of the classifier's weights, so a gradient through it would
    move them.
    """
    method = make()
    losses = method.losses(phantom_batch(method), Step(0, 10))
    (losses["dice"] + losses["ce"] + losses["consistency"]).backward()
    assert method.classifier.weight.grad is None
    assert all(
        weight.grad is not None and weight.grad.any()
        for weight in method.bridge.get_submodule("blocks.0.conv1").parameters()
    )


def test_outlined_slices_do_not_say_how_common_a_structure_is() -> None:
    """Tagged slices alone teach the classifier where there are any; without them the outlined ones
    do.
    """
    method = make().eval()
    batch = phantom_batch(method)
    assert batch.labelled is not None and batch.weak is not None
    absent = replace(
        batch, labelled=replace(batch.labelled, present=torch.zeros_like(batch.labelled.present))
    )
    assert (
        method.losses(absent, Step(0, 10))["classify"]
        == method.losses(batch, Step(0, 10))["classify"]
    )
    alone, alone_absent = replace(batch, weak=None), replace(absent, weak=None)
    assert (
        method.losses(alone_absent, Step(0, 10))["classify"]
        != method.losses(alone, Step(0, 10))["classify"]
    )


def test_consistency_is_the_divergence_of_the_strong_view_from_the_plain_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Plain view: 1/4 and 3/4 in both pixels; strong view: the same in one, 1/2 and 1/2 in the
    other. The mean halves it.
    """
    method = make(replace(SMALL, pseudo_weight=0.0, consistency_weight=0.1))
    slope = torch.tensor(math.log(3), requires_grad=True)
    monkeypatch.setattr(method, "_encode", lambda image: ([], torch.zeros(len(image), 1)))
    monkeypatch.setattr(
        method, "_decode", lambda image, _: torch.cat([torch.zeros_like(image), slope * image], 1)
    )
    plain, strong = torch.ones(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]])
    losses = method.unlabelled_losses(Unlabelled(plain, strong))
    assert list(losses) == ["consistency"]
    divergence = 1 / 4 * math.log((1 / 4) / (1 / 2)) + 3 / 4 * math.log((3 / 4) / (1 / 2))
    assert losses["consistency"].item() == pytest.approx(0.1 * divergence / 2, abs=1e-6)


def test_only_the_strong_view_learns_from_consistency(monkeypatch: pytest.MonkeyPatch) -> None:
    """With strong logits (0, a s) in one pixel the slope is s (sigmoid(a s) - plain's share), at a
    = 0 and s = 1: 1/2 - 3/4.
    """
    method = make(replace(SMALL, pseudo_weight=0.0, consistency_weight=1.0))
    given = {
        1.0: torch.tensor(math.log(3), requires_grad=True),
        2.0: torch.tensor(0.0, requires_grad=True),
    }
    monkeypatch.setattr(method, "_encode", lambda image: ([], torch.zeros(len(image), 1)))

    def decode(image: Tensor, _: list[Tensor]) -> Tensor:
        return torch.stack([torch.zeros(()), given[image.item()]]).view(1, 2, 1, 1)

    monkeypatch.setattr(method, "_decode", decode)
    losses = method.unlabelled_losses(
        Unlabelled(torch.full((1, 1, 1, 1), 1.0), torch.full((1, 1, 1, 1), 2.0))
    )
    losses["consistency"].backward()
    assert given[1.0].grad is None and required(given[2.0].grad).item() == pytest.approx(-0.25)


def test_views_that_agree_cost_nothing() -> None:
    method = make()
    image = phantom_slices(2)[0]
    assert method.unlabelled_losses(Unlabelled(image, image))[
        "consistency"
    ].item() == pytest.approx(0, abs=1e-7)
    assert method.unlabelled_losses(Unlabelled(image, 1 - image))["consistency"].item() > 1e-5


def test_pseudo_labels_count_from_their_confidence_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """P of the plain views 0.9 (yes), 0.6 (unsure), 0.2 (no); the strong views all say 3/4. Unsure
    ones count 0 in the mean.
    """
    method = make(replace(SMALL, pseudo_weight=0.5, consistency_weight=0.0))
    monkeypatch.setattr(method, "_encode", lambda image: ([], image[:, 0, 0]))
    monkeypatch.setattr(method, "_decode", lambda image, _: torch.zeros(len(image), 2, 1, 1))
    plain = torch.tensor([0.9, 0.6, 0.2]).logit().view(3, 1, 1, 1)
    strong = torch.full((3, 1, 1, 1), math.log(3))
    losses = method.unlabelled_losses(Unlabelled(plain, strong))
    assert list(losses) == ["pseudo"]
    assert losses["pseudo"].item() == pytest.approx(
        0.5 * (math.log(4 / 3) + 0 + math.log(4)) / 3, abs=1e-6
    )


def test_without_both_terms_no_slice_is_asked_for() -> None:
    assert make(replace(SMALL, pseudo_weight=0.0, consistency_weight=0.0)).batch_spec == BatchSpec(
        labelled=4, weak=4, presence=True
    )


def test_a_class_that_the_classifier_denies_goes_to_the_background() -> None:
    """Liver is affirmed, spleen denied: spleen's share is background's, liver's stays; without the
    gate nothing moves.
    """
    method = make().eval()
    classifier = part(method, "classifier", torch.nn.Linear)
    torch.nn.init.zeros_(classifier.weight)
    classifier.bias.data = torch.tensor([0.0, -0.01])  # P = 0.5 is not denied
    image = phantom_slices(2)[0]
    with torch.no_grad():
        gated = method.predict(image)
        method.config = replace(method.config, presence="none")
        plain = method.predict(image)
    present = required(gated.present)
    assert torch.equal(present, required(plain.present)) and present[:, 0].tolist() == [0.5, 0.5]
    assert plain.probs[:, 2].min() > 0 and not gated.probs[:, 2].any()
    assert torch.equal(gated.probs[:, 1], plain.probs[:, 1])
    assert torch.equal(gated.probs[:, 0], plain.probs[:, 0] + plain.probs[:, 2])
