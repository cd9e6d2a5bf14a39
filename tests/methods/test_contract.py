"""What every method on the shelf keeps (design, section 2); a new file in `methods/` is tested without asking."""

import inspect

import pytest
import torch

from fewmask.core.batch import Batch, Labelled, Probabilities, Step, Task, Unlabelled, Weak
from fewmask.methods import build, config_from, names
from fewmask.methods._method import Method

SIDE, CLASSES = 64, ("liver", "spleen")
SMALL = {
    "sam_mix": {"encoder": "tiny", "classifier_width": 8, "lr": 2e-3},
    "ada_sam": {"encoder": "tiny", "lr": 2e-3, "feedback_side": 4, "feedback_width": 16, "feedback_heads": 2},
    "multimix": {"channels": [8, 16, 16], "lr": 5e-3, "pseudo_confidence": 0.0},
    "sam_pp": {"encoder": "tiny", "channels": [8, 16, 16], "classifier_width": 8, "lr": 2e-3},
    "trans_unet": {"channels": [8, 16, 16], "width": 16, "layers": 2, "heads": 2, "lr": 5e-3},
    "unet": {"channels": [8, 16, 16], "lr": 5e-3},
}
VARIANTS = [
    *[(name, {}) for name in names()],
    ("sam_mix", {"tune": "lora", "choose": "score"}),
    ("sam_mix", {"tune": "decoder", "dense_prompt": False, "component": "union"}),
    ("sam_mix", {"pseudo_weight": 0.25, "consistency_weight": 0.01, "pseudo_confidence": 0.0}),
    ("ada_sam", {"feedback": False}),
    ("ada_sam", {"tune": "lora", "surrogate_share": 1.0, "component": "largest"}),
    ("sam_pp", {"coarse": "cam"}),
    ("sam_pp", {"tune": "lora"}),
    ("unet", {"tags_as_empty": True}),
]
TASK = Task(CLASSES, SIDE)


@pytest.fixture(params=VARIANTS, ids=lambda v: "-".join([v[0], *v[1]]))
def method(request: pytest.FixtureRequest) -> Method:
    return make(*request.param)


def make(name: str, settings: dict) -> Method:
    torch.manual_seed(0)
    return build(name, config_from(name, {**SMALL.get(name, {}), **settings}), TASK)


def slices(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise with two bright squares, and their label map."""
    noise = torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    mask = torch.zeros(count, SIDE, SIDE, dtype=torch.long)
    for row in range(count):
        mask[row, 10 + row : 34 + row, 8:30] = 1
        mask[row, 36:54, 36 : 50 + row] = 2
    return (0.3 * noise + 0.35 * (mask == 1)[:, None] + 0.6 * (mask == 2)[:, None]).float(), mask


def batch_for(method: Method) -> Batch:
    image, mask = slices(max(2, method.feed.labelled))
    labelled = Labelled(image, mask, torch.ones(len(image), 2, dtype=torch.long))
    weak = unlabelled = None
    if method.feed.weak:
        weak = Weak(slices(method.feed.weak, 1)[0], torch.tensor([[1, 0], [0, -1], [0, 0], [-1, 1]] * 4)[: method.feed.weak])
    if method.feed.unlabelled:
        other = slices(method.feed.unlabelled, 2)[0]
        unlabelled = Unlabelled(other, (other * 0.8 + 0.1) if method.feed.strong else None)
    return Batch(labelled, weak, unlabelled)


def train(method: Method, steps: int) -> dict[str, float]:
    optimiser, batch = method.optimiser(), batch_for(method)
    losses: dict[str, torch.Tensor] = {}
    for index in range(steps):
        method.train()
        torch.manual_seed(index)
        losses = method.losses(batch, Step(index, steps))
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(method.parameters(), method.clip_norm)
        optimiser.step()
    return {name: float(value.detach()) for name, value in losses.items()}


def test_each_named_loss_alone_moves_a_weight(method: Method) -> None:
    train(method, 2)  # LoRA's up-projections start at zero
    batch = batch_for(method)
    for name, loss in method.losses(batch, Step(1, 10)).items():
        slopes = torch.autograd.grad(
            loss, [p for p in method.parameters() if p.requires_grad], allow_unused=True, retain_graph=True
        )
        assert any(slope is not None and float(slope.abs().max()) > 0 for slope in slopes), f"{name} moves nothing"


def test_frozen_weights_stay(method: Method) -> None:
    frozen = {name: weight.clone() for name, weight in method.named_parameters() if not weight.requires_grad}
    moving = {name: weight.clone() for name, weight in method.named_parameters() if weight.requires_grad}
    train(method, 2)
    after = dict(method.named_parameters())
    assert all(torch.equal(after[name], weight) for name, weight in frozen.items())
    assert any(not torch.equal(after[name], weight) for name, weight in moving.items())


def test_predict_takes_an_image_only_and_answers_for_every_pixel(method: Method) -> None:
    assert list(inspect.signature(method.predict).parameters) == ["image"]
    answer = ask(method, slices(3)[0])
    assert answer.probs.shape == (3, 3, SIDE, SIDE)
    assert torch.allclose(answer.probs.sum(1), torch.ones(3, SIDE, SIDE), atol=1e-5)


def test_a_batch_of_two_equals_two_batches_of_one(method: Method) -> None:
    train(method, 6)
    image = slices(2, 5)[0]
    both = ask(method, image).probs
    alone = torch.cat([ask(method, one[None]).probs for one in image])
    assert torch.allclose(both, alone, atol=1e-5)


def test_saved_and_loaded_it_predicts_the_same_bits(method: Method) -> None:
    train(method, 2)
    image = slices(2)[0]
    expected = ask(method, image).probs
    state = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    train(method, 1)
    method.load_state_dict(state)
    assert torch.equal(ask(method, image).probs, expected)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join([v[0], *v[1]]))
def test_same_seed_same_losses(variant: tuple[str, dict]) -> None:
    assert train(make(*variant), 3) == train(make(*variant), 3)


@pytest.mark.parametrize("name", names())
def test_it_overfits_one_phantom(name: str) -> None:
    method = make(name, {"warmup": 5} if name in SMALL else {})
    train(method, 180)
    batch = batch_for(method)
    assert batch.labelled is not None
    found = ask(method, batch.labelled.image).probs.argmax(1)
    for index in (1, 2):
        p, t = found == index, batch.labelled.mask == index
        assert 2 * float((p & t).sum()) / float(p.sum() + t.sum()) > 0.9


def ask(method: Method, image: torch.Tensor) -> Probabilities:
    method.eval()
    with torch.enable_grad() if method.needs_grad_in_predict else torch.no_grad():
        return method.predict(image)
