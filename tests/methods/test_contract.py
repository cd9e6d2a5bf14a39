"""What every method keeps (docs/design.md, "A method"); a new file in `methods/` is tested
without asking.
"""

import inspect
from dataclasses import fields, replace

import pytest
import torch

from fewmask.core.batch import IGNORE, Batch, Labelled, Probabilities, Step, Task, Unlabelled, Weak
from fewmask.methods import build, config_class, config_from, is_external, names, training_settings
from fewmask.methods._method import Method

SIDE, CLASSES = 64, ("liver", "spleen")
VOLUMES = {"patch": [16, 32, 32], "filters": 4, "dropout": 0.1, "lr": 5e-3}
SMALL = {
    "sam_mix": {"encoder": "tiny", "classifier_width": 8, "lr": 2e-3},
    "ada_sam": {
        "encoder": "tiny",
        "lr": 2e-3,
        "feedback_side": 4,
        "feedback_width": 16,
        "feedback_heads": 2,
    },
    "multimix": {"channels": [8, 16, 16], "lr": 5e-3, "pseudo_confidence": 0.0},
    "sam_pp": {"encoder": "tiny", "channels": [8, 16, 16], "classifier_width": 8, "lr": 2e-3},
    "trans_unet": {"channels": [8, 16, 16], "width": 16, "layers": 2, "heads": 2, "lr": 5e-3},
    "unet": {"channels": [8, 16, 16], "lr": 5e-3},
    **dict.fromkeys(("vnet", "mean_teacher", "ac_mt", "cps", "self_training", "bcp"), VOLUMES),
    "ua_mt": {
        **VOLUMES,
        "dropout": 0.0,
        "warmup": 1,
    },  # it counts where it is sure: nowhere of three classes while it is fresh
    "magicnet": {**VOLUMES, "patch": [32, 32, 32], "cubes": 2},
    "canvas_sam": {
        "encoder": "tiny",
        "patch": [16, 32, 32],
        "canvas": 128,
        "lr": 2e-3,
        "bezier": "off",
    },
    "cfr": VOLUMES,
    "sfr_plus": VOLUMES,
}
NETWORKS = [name for name in names() if not is_external(name)]
VARIANTS = [
    *[(name, {}) for name in NETWORKS],
    ("sam_mix", {"tune": "lora", "choose": "score", "dense_prompt": True}),
    ("sam_mix", {"pool": "attention"}),
    ("sam_mix", {"tune": "decoder", "component": "union"}),
    (
        "sam_mix",
        {
            "pseudo_weight": 0.25,
            "consistency_weight": 0.01,
            "pseudo_confidence": 0.0,
            "dense_prompt": True,
        },
    ),
    ("ada_sam", {"feedback": False}),
    ("ada_sam", {"feedback_query": "features"}),
    ("ada_sam", {"tune": "lora", "surrogate_share": 0.5, "component": "largest"}),
    ("ada_sam", {"head": "pooled", "guide_weight": 0.0}),
    ("sam_pp", {"coarse": "cam"}),
    ("sam_pp", {"tune": "lora"}),
    ("unet", {"tags_as_empty": True}),
    ("vnet", {"optimiser": "sgd", "lr": 0.05}),
    ("vnet", {"norm": "batch"}),
    ("mean_teacher", {"labelled_too": False}),
    ("mean_teacher", {"joint_pass": True, "norm": "batch"}),
    ("canvas_sam", {"montage": False, "tune": "lora", "bezier": "as_released"}),
    ("canvas_sam", {"canvas": 64, "tune": "decoder", "pseudo_weight": 1.0, "bezier": "scaled"}),
    ("cfr", {"term": "none"}),
    ("cfr", {"term": "bcp"}),
    ("cfr", {"term": "cps"}),
    ("cfr", {"term": "ac_mt"}),
    ("cfr", {"term": "self_training"}),
    ("cfr", {"term": "ua_mt", "dropout": 0.0, "warmup": 1}),
    ("cfr", {"term": "magicnet", "cubes": 2, "patch": [32, 32, 32]}),
]
TASK = Task(CLASSES, SIDE)
SLOW = {"ua_mt", "cps", "bcp", "magicnet", "sfr_plus"}
"""More than five seconds to overfit."""
STEPS = {"bcp": 130}
"""It sees pasted boxes only, and is asked about whole patches."""


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


def patches(
    count: int, patch: tuple[int, int, int], seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise with two bright boxes in its first 16 slices, elsewhere for another seed, and their
    label map.
    """
    noise = torch.rand(count, 1, *patch, generator=torch.Generator().manual_seed(seed))
    mask = torch.zeros(count, *patch, dtype=torch.long)
    for row in range(count):
        mask[row, 3:12, 4 + row + seed : 14 + row + seed, 4:16] = 1
        mask[row, 5:14, 20:30, 18 - seed : 28 + row - seed] = 2
    return (0.3 * noise + 0.35 * (mask == 1)[:, None] + 0.6 * (mask == 2)[:, None]).float(), mask


def images(method: Method, count: int, seed: int = 0) -> torch.Tensor:
    return (
        slices(count, seed)[0]
        if method.batch_spec.patch is None
        else patches(count, method.batch_spec.patch, seed)[0]
    )


def tagged(count: int) -> Weak:
    """Slices whose tags are true: a structure that is tagged absent is not in them."""
    tags = torch.tensor([[1, 0], [0, -1], [0, 0], [-1, 1]] * 4)[:count]
    image, mask = slices(count, 1)
    for index, brighter in ((1, 0.35), (2, 0.6)):
        absent = (tags[:, index - 1] == 0)[:, None, None] & (mask == index)
        image = image - brighter * absent[:, None]
    return Weak(image, tags)


def batch_for(method: Method) -> Batch:
    if method.batch_spec.patch is not None:
        image, mask = patches(2, method.batch_spec.patch)
        mask = mask.clone()
        mask[:, 0] = IGNORE
        other, made = patches(2, method.batch_spec.patch, 2)
        pseudo = None if method.batch_spec.pseudo == "off" else made
        return Batch(
            Labelled(image, mask, torch.ones(2, 2, dtype=torch.long)),
            None,
            Unlabelled(other, pseudo=pseudo),
        )
    image, mask = slices(max(2, method.batch_spec.labelled))
    labelled = Labelled(image, mask, torch.ones(len(image), 2, dtype=torch.long))
    weak = unlabelled = None
    if method.batch_spec.weak:
        weak = tagged(method.batch_spec.weak)
    if method.batch_spec.unlabelled:
        other = slices(method.batch_spec.unlabelled, 2)[0]
        unlabelled = Unlabelled(other, (other * 0.8 + 0.1) if method.batch_spec.strong else None)
    return Batch(labelled, weak, unlabelled)


def train(method: Method, steps: int, batch: Batch | None = None) -> dict[str, float]:
    optimiser, batch = method.optimiser(), batch or batch_for(method)
    losses: dict[str, torch.Tensor] = {}
    for index in range(steps):
        method.train()
        torch.manual_seed(index)
        losses = method.losses(batch, Step(index, steps))
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(method.parameters(), method.clip_norm)
        optimiser.step()
        method.after_step(Step(index, steps))
    return {name: float(value.detach()) for name, value in losses.items()}


def test_each_named_loss_alone_moves_a_weight(method: Method) -> None:
    """Early and late: terms for unlabelled patches come when there is something to learn from."""
    train(method, 2)  # LoRA's up-projections start at zero
    batch = batch_for(method)
    named = [pair for index in (1, 8) for pair in method.losses(batch, Step(index, 10)).items()]
    for name, loss in named:
        slopes = torch.autograd.grad(
            loss,
            [p for p in method.parameters() if p.requires_grad],
            allow_unused=True,
            retain_graph=True,
        )
        assert any(slope is not None and float(slope.abs().max()) > 0 for slope in slopes), (
            f"{name} moves nothing"
        )


def test_frozen_weights_stay(method: Method) -> None:
    still = {name: weight for name, weight in method.named_parameters() if not weight.requires_grad}
    frozen = {
        name: weight.clone() for name, weight in still.items() if ".teacher." not in name
    }  # a teacher follows
    moving = {
        name: weight.clone() for name, weight in method.named_parameters() if weight.requires_grad
    }
    train(method, 2)
    after = dict(method.named_parameters())
    assert all(torch.equal(after[name], weight) for name, weight in frozen.items())
    assert any(not torch.equal(after[name], weight) for name, weight in moving.items())


def test_predict_takes_an_image_only_and_answers_for_every_pixel(method: Method) -> None:
    assert list(inspect.signature(method.predict).parameters) == ["image"]
    image = images(method, 3)
    answer = ask(method, image)
    assert answer.probs.shape == (3, 3, *image.shape[2:])
    assert torch.allclose(answer.probs.sum(1), torch.ones(3, *image.shape[2:]), atol=1e-5)


def test_a_batch_of_two_equals_two_batches_of_one(method: Method) -> None:
    train(method, 6)
    image = images(method, 2, 5)
    both = ask(method, image).probs
    alone = torch.cat([ask(method, one[None]).probs for one in image])
    assert torch.allclose(both, alone, atol=1e-5)


def test_saved_and_loaded_it_predicts_the_same_bits(method: Method) -> None:
    train(method, 2)
    image = images(method, 2)
    expected = ask(method, image).probs
    state = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    train(method, 1)
    method.load_state_dict(state)
    assert torch.equal(ask(method, image).probs, expected)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join([v[0], *v[1]]))
def test_same_seed_same_losses(variant: tuple[str, dict]) -> None:
    assert train(make(*variant), 3) == train(make(*variant), 3)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in NETWORKS]
)
def test_it_overfits_one_phantom(name: str) -> None:
    method = make(
        name, {"warmup": 5} if "warmup" in {f.name for f in fields(config_class(name))} else {}
    )
    batch = batch_for(method)
    assert batch.labelled is not None
    if batch.weak is not None:
        # As in a data set, the outlined slices are among the tagged ones.
        batch = replace(batch, weak=Weak(batch.labelled.image, batch.labelled.present))
    train(method, STEPS.get(name, 180 if method.batch_spec.patch is None else 70), batch)
    found = ask(method, batch.labelled.image).probs.argmax(1)
    for index in (1, 2):
        known = batch.labelled.mask != IGNORE
        p, t = (found == index) & known, batch.labelled.mask == index
        assert 2 * float((p & t).sum()) / float(p.sum() + t.sum()) > 0.9


def ask(method: Method, image: torch.Tensor) -> Probabilities:
    method.eval()
    with torch.no_grad():
        return method.predict(image)


LATE = {"gate": False, "neighbours": 1.0}
"""Settings that some methods say no weight depends on, and what to change them to."""


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_said_to_matter_only_when_a_scan_is_predicted_teaches_nothing(name: str) -> None:
    record = {field.name: None for field in fields(config_class(name))}
    late = [key for key in record if key not in training_settings(name, record)]
    assert set(late) == set(LATE) & set(record)
    one, other = make(name, {}), make(name, {key: LATE[key] for key in late})
    for method in (one, other) if late else ():
        torch.manual_seed(1)  # of dropout
        torch.stack(list(method.losses(batch_for(method), Step(7, 10)).values())).sum().backward()
        assert any(weight.grad is not None for weight in method.parameters())
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b) and (a.grad is None) == (b.grad is None)
        assert a.grad is None or b.grad is None or torch.equal(a.grad, b.grad)
