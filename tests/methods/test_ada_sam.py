"""What is special about `ada_sam`: where the gradient comes from, and that the truth can never be
part of it at test time.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from fewmask.core.batch import Step, Task
from fewmask.core.errors import BadConfig
from fewmask.methods.ada_sam import AdaSam, Config, Feedback, build
from fewmask.testing import phantom_batch, phantom_slices
from tests.narrow import required, watched

SIDE = 64
TASK = Task(("liver", "spleen"), SIDE)
SMALL = Config(encoder="tiny", feedback_side=4, feedback_width=16, feedback_heads=2, dropout=0.0)


def make(config: Config = SMALL) -> AdaSam:
    torch.manual_seed(0)
    return build(config, TASK)


def last_layer(method: AdaSam) -> nn.Linear:
    layer = list(method.head.modules())[-1]
    assert isinstance(layer, nn.Linear)
    return layer


def test_feedback_starts_as_nothing_and_its_gate_learns() -> None:
    torch.manual_seed(0)
    feedback = Feedback(8, 16, 2, 4)
    features, gradient = torch.randn(2, 8, 6, 6), torch.randn(2, 8, 6, 6)
    assert torch.equal(feedback(features, gradient), features)
    feedback(features, gradient).square().sum().backward()
    assert float(required(feedback.gate.grad).abs()) > 0


def test_feedback_does_not_depend_on_the_gradients_size_and_ignores_zeros() -> None:
    torch.manual_seed(0)
    feedback = Feedback(8, 16, 2, 4)
    with torch.no_grad():
        feedback.gate.fill_(1.0)
        features, gradient = torch.randn(2, 8, 6, 6), torch.randn(2, 8, 6, 6)
        changed = feedback(features, gradient)
        assert torch.allclose(
            feedback(features, 1e-6 * gradient), changed, atol=1e-4
        ) and not torch.allclose(changed, features)
        assert torch.equal(feedback(features, torch.zeros_like(gradient)), features)


def test_the_gradient_decides_what_is_attended() -> None:
    """Untrained already: another gradient gives another change, and the change differs from place
    to place.
    """
    torch.manual_seed(0)
    feedback = Feedback(32, 64, 4, 8)
    features, gradient = torch.randn(2, 32, 8, 8), torch.randn(2, 32, 8, 8)
    with torch.no_grad():
        feedback.gate.fill_(1.0)
        change = feedback(features, gradient) - features
        other = feedback(features, gradient.roll(1, 0)) - features
    assert float((change - other).norm() / change.norm()) > 0.5
    assert float(change.std((2, 3)).norm() / change.square().mean((2, 3)).sqrt().norm()) > 0.3


def test_head_and_gate_have_learning_rates_of_their_own_and_the_gate_does_not_decay() -> None:
    method = make(replace(SMALL, lr=1e-3, head_lr=0.01, gate_lr=0.03))
    rest, head, gate = method.optimiser().param_groups
    assert (
        gate["lr"] == 0.03
        and gate["weight_decay"] == 0
        and rest["lr"] == 1e-3
        and head["lr"] == 0.01
    )
    assert len(gate["params"]) == 1 and gate["params"][0] is method.feedback.gate  # type: ignore[union-attr]
    assert set(map(id, head["params"])) == set(map(id, method.head.parameters()))
    assert len(rest["params"]) + len(head["params"]) + 1 == sum(
        weight.requires_grad for weight in method.parameters()
    )
    assert len(make(replace(SMALL, feedback=False)).optimiser().param_groups) == 2


def test_the_activation_is_grad_cam() -> None:
    """Against the definition: gradient of the logit with respect to every place, averaged, as
    channel weights.
    """
    method = make(replace(SMALL, head="pooled", guide_weight=0.0)).eval()
    features = torch.randn(2, 32, 8, 8)
    output = method.classify(features, SIDE)
    leaf = features.clone().requires_grad_()
    for k in range(2):
        slope = torch.autograd.grad(method.head(leaf.mean((2, 3)))[:, k].sum(), leaf)[0]
        raw = torch.relu((features * slope.mean((2, 3), keepdim=True)).sum(1))
        low, high = raw.amin((1, 2), keepdim=True), raw.amax((1, 2), keepdim=True)
        assert torch.allclose(output.heat[:, k], (raw - low) / (high - low), atol=1e-4)


def test_the_head_answers_from_where_it_looks() -> None:
    """One place of 64 is looked at alone: the logit is what the head finds there, and the map is 1
    there and 0 elsewhere.
    """
    method = make().eval()
    head = nn.Linear(32, 4)  # two structures: two looks, then two finds
    nn.init.zeros_(head.bias)
    with torch.no_grad():
        head.weight.zero_()
        head.weight[0, 0] = head.weight[1, 1] = 1.0
        head.weight[2, 2] = 1.0
        head.weight[3, 3] = -1.0
    method.head = head
    features = torch.zeros(1, 32, 8, 8)
    features[0, 0, 2, 5] = 100.0
    features[0, 1, 7, 0] = 100.0
    features[0, 2] = torch.arange(64.0).view(8, 8)
    features[0, 3] = torch.arange(64.0).view(8, 8)
    output = method.classify(features, SIDE)
    assert output.logits.tolist() == [[21.0, -56.0]]
    assert (
        output.heat.sum((2, 3)).tolist() == [[1.0, 1.0]]
        and output.heat[0, 0, 2, 5] == output.heat[0, 1, 7, 0] == 1
    )
    assert output.boxes[0, 0].tolist() == [5 * SIDE / 8, 2 * SIDE / 8, 6 * SIDE / 8, 3 * SIDE / 8]


@pytest.mark.parametrize("guide_weight", [0.5, 0.0])
def test_tags_teach_where_to_look_only_where_no_outline_does(guide_weight: float) -> None:
    method = make(replace(SMALL, guide_weight=guide_weight))
    method.classify(torch.randn(2, 32, 8, 8), SIDE).logits.sum().backward()
    grad = required(last_layer(method).weight.grad)
    assert grad[2:].any() and bool(grad[:2].any()) == (guide_weight == 0)


def test_a_head_that_sees_the_average_cannot_be_guided() -> None:
    with pytest.raises(BadConfig, match="no outline can say"):
        make(replace(SMALL, head="pooled"))


@pytest.mark.parametrize(
    "settings", [{}, {"guide_weight": 0.0}, {"head": "pooled", "guide_weight": 0.0}]
)
def test_no_tag_reaches_what_the_head_sees(settings: dict[str, Any]) -> None:
    """Whatever the tags say, the same features are classified: what differs is the loss alone."""
    method = make(replace(SMALL, **settings)).eval()
    with torch.no_grad():
        method.feedback.gate.fill_(1.0)  # type: ignore[union-attr]
    seen: list[torch.Tensor] = []
    method.feedback.register_forward_hook(lambda module, given, made: seen.append(made))  # type: ignore[union-attr]
    batch = phantom_batch(method)
    assert batch.labelled is not None and batch.weak is not None
    method.losses(batch, Step(0, 10))
    other = replace(
        batch,
        labelled=replace(batch.labelled, present=1 - batch.labelled.present),
        weak=replace(batch.weak, present=1 - batch.weak.present),
    )
    method.losses(other, Step(0, 10))
    assert torch.equal(seen[0], seen[1]) and float(seen[0].detach().abs().sum()) > 0


def test_the_truth_enters_the_gradient_of_outlined_slices_only_and_only_by_the_asked_share() -> (
    None
):
    """Invert the outlined masks: with a share of surrogates of 1 nothing changes, with 0 only
    outlined slices change.
    """
    for share, changes in ((1.0, False), (0.0, True)):
        method = make(replace(SMALL, surrogate_share=share)).eval()
        batch = phantom_batch(method)
        assert batch.labelled is not None and batch.weak is not None
        image = torch.cat([batch.labelled.image, batch.weak.image])
        embedding = method.sam.encode(image).detach()
        boxes = torch.tensor([8.0, 10, 30, 34]).expand(len(image), 2, 4)
        inverted = type(batch.labelled)(
            batch.labelled.image, 2 - batch.labelled.mask, batch.labelled.present
        )
        one, two = (
            method.feedback_query(embedding, boxes, SIDE, known, Step(0, 10))
            for known in (batch.labelled, inverted)
        )
        n = len(batch.labelled.image)
        assert torch.equal(one[n:], two[n:]) and torch.equal(one[:n], two[:n]) != changes


def test_as_a_control_the_features_ask_and_no_gradient_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = make(replace(SMALL, feedback_query="features")).eval()
    monkeypatch.setattr(
        torch.autograd, "grad", lambda *given, **named: pytest.fail("a gradient was taken")
    )
    asked: list[tuple[torch.Tensor, ...]] = []
    method.feedback.register_forward_hook(lambda module, given, made: asked.append(given))  # type: ignore[union-attr]
    method.losses(phantom_batch(method), Step(0, 10))
    method.predict(phantom_slices(2)[0])
    assert len(asked) == 2 and all(torch.equal(features, query) for features, query in asked)
    assert not asked[0][1].requires_grad


def test_predict_takes_gradients_even_where_none_are_recorded() -> None:
    method = make().eval()
    with torch.no_grad():
        required(method.feedback).gate.fill_(0.5)
        last_layer(method).bias.fill_(3.0)
        with_feedback = method.predict(phantom_slices(2)[0])
        method.feedback = None
        without = method.predict(phantom_slices(2)[0])
    assert not torch.equal(required(with_feedback.present), required(without.present))
    assert not with_feedback.probs.requires_grad


def test_two_looks_cost_one_run_of_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    method, runs = make(), []
    note = watched(method.sam.encode, lambda image: runs.append(len(image)))
    monkeypatch.setattr(method.sam, "encode", note)
    batch = phantom_batch(method)
    assert batch.labelled is not None and batch.weak is not None
    method.losses(batch, Step(0, 10))
    assert runs == [len(batch.labelled.image) + len(batch.weak.image)]
    method.eval().predict(phantom_slices(2)[0])
    assert runs[1:] == [2]


def test_feedback_reaches_the_second_activation_and_its_boxes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the correction put in its place: activations and boxes are those of the corrected
    features, masks of the embedding.
    """
    method = make().eval()
    seen: list[torch.Tensor] = []
    classify = method.classify
    note = watched(classify, lambda features, side: seen.append(features))
    monkeypatch.setattr(method, "classify", note)
    monkeypatch.setattr(method.feedback, "forward", lambda features, gradient: features.flip(-1))
    with torch.no_grad():
        answer = method.predict(phantom_slices(2)[0])
        assert torch.equal(seen[1], seen[0].flip(-1))
        expected = classify(seen[1], SIDE)
    assert answer.heat is not None and torch.equal(answer.heat, expected.heat)
    there = ~answer.boxes.isnan()  # type: ignore[union-attr]
    assert torch.equal(answer.boxes[there], expected.boxes[there])  # type: ignore[index]
