"""The contract of a method as checks that run on every method, one of your own included.

    from fewmask.testing import check_method

    def test_my_method() -> None:
        check_method("my_method", {"width": 4})

Needs no test framework: a check that fails raises `ContractBroken`, an `AssertionError`. Methods
are built for two structures, on slices of 64 x 64 pixels or on patches of the method's own size,
at least 16 x 32 x 32 voxels. Choose settings that make it small: a check trains a few steps.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, get_args, get_type_hints

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fewmask.blocks.sam import Sam
from fewmask.core.batch import IGNORE, Batch, Labelled, Probabilities, Step, Task, Unlabelled, Weak
from fewmask.methods import (
    HasSam,
    Method,
    PresenceAware,
    Promptable,
    build,
    config_from,
    find_method,
)

TASK = Task(("liver", "spleen"), 64)
"""What methods are built for here."""
Make = Callable[[], Method]
"""Builds the method under test: the same random weights at every call."""


class ContractBroken(AssertionError):
    """A method does not keep the contract."""


def check_method(name: str, settings: Mapping[str, Any] | None = None) -> None:
    """All checks but that of learning, which takes longer.

    Parameters
    ----------
    name
        A method's name, as in `fewmask.methods.names()`.
    settings
        Settings that differ from the defaults, as plain data.

    Raises
    ------
    ContractBroken
        For the first check that fails.
    """
    for check in CHECKS:
        check(maker(name, settings))
    check_inference_only(name, settings)


def maker(name: str, settings: Mapping[str, Any] | None = None) -> Make:
    """A function that builds the method with these settings, from seed 0."""
    config = config_from(name, settings or {})

    def make() -> Method:
        torch.manual_seed(0)
        return build(name, config, TASK)

    return make


def check_losses(make: Make) -> None:
    """Each named loss, taken alone, moves a weight that learns; early and late, since objectives
    for unlabelled patches come when there is something to learn from.
    """
    method = make()
    take_steps(method, 2)  # LoRA's up-projections start at zero
    batch = phantom_batch(method)
    learning = [weight for weight in method.parameters() if weight.requires_grad]
    for index in (1, 8):
        for name, loss in method.losses(batch, Step(index, 10)).items():
            slopes = torch.autograd.grad(loss, learning, allow_unused=True, retain_graph=True)
            moved = any(slope is not None and bool(slope.any()) for slope in slopes)
            _require(moved, f"the loss {name!r} moves no weight at step {index} of 10")


def check_frozen(make: Make) -> None:
    """Steps change weights that learn and no others; networks called `teacher` or `averaged`
    follow and may move.
    """
    method = make()
    before = {name: weight.clone() for name, weight in method.named_parameters()}
    take_steps(method, 2)
    moved = False
    for name, weight in method.named_parameters():
        same = torch.equal(weight, before[name])
        moved = moved or (weight.requires_grad and not same)
        follows = any(part in ("teacher", "averaged") for part in name.split("."))
        _require(weight.requires_grad or follows or same, f"the frozen weight {name} changed")
    _require(moved, "two steps of training changed no weight")


def check_prediction(make: Make) -> None:
    """`predict` takes an image only, and gives probabilities for every pixel."""
    method = make()
    parameters = list(inspect.signature(method.predict).parameters)
    _require(parameters == ["image"], f"predict takes {parameters}, not ['image']")
    image = phantom_images(method, 3)
    _check_probabilities(run_predict(method, image), image)


def check_batch_independence(make: Make) -> None:
    """A batch of two equals two batches of one."""
    method = make()
    take_steps(method, 6)
    image = phantom_images(method, 2, seed=5)
    together = run_predict(method, image).probs
    alone = torch.cat([run_predict(method, image[row : row + 1]).probs for row in range(2)])
    _require(
        torch.allclose(together, alone, atol=1e-5), "an image's mask depends on its batch's others"
    )


def check_state(make: Make) -> None:
    """Weights that are loaded again predict the same bits."""
    method = make()
    take_steps(method, 2)
    image = phantom_images(method, 2)
    expected = run_predict(method, image).probs
    state = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    take_steps(method, 1)
    method.load_state_dict(state)
    same = torch.equal(run_predict(method, image).probs, expected)
    _require(same, "weights that were saved and loaded do not predict the same")


def check_reproducible(make: Make) -> None:
    """The same seed gives the same losses."""
    once, again = take_steps(make(), 3), take_steps(make(), 3)
    _require(once == again, f"the same seed gave {once}, then {again}")


def check_abilities(make: Make) -> None:
    """It keeps what `Promptable`, `PresenceAware` and `HasSam` promise, if it is one of them."""
    method = make().eval()
    has_sam = isinstance(getattr(method, "sam", None), Sam)
    _require(
        has_sam == isinstance(method, HasSam),
        "a method with a SAM in `sam`, and no other, inherits HasSam",
    )
    image = phantom_images(method, 2)
    outputs = {}
    with torch.no_grad():
        if isinstance(method, Promptable):
            outputs["boxes of NaN"] = method.segment(image, torch.full((2, 2, 4), torch.nan))
        if isinstance(method, PresenceAware):
            nothing = torch.zeros(2, 2, dtype=torch.bool)
            outputs["nothing present"] = method.predict_present(image, nothing)
    for given, output in outputs.items():
        _check_probabilities(output, image)
        _require(not bool(output.probs.argmax(1).any()), f"{given}, and yet there is a mask")


CHECKS: tuple[Callable[[Make], None], ...] = (
    check_losses,
    check_frozen,
    check_prediction,
    check_batch_independence,
    check_state,
    check_reproducible,
    check_abilities,
)


def check_inference_only(name: str, settings: Mapping[str, Any] | None = None) -> None:
    """Settings that are said to matter only when a scan is predicted change no gradient."""
    plain = dict(settings or {})
    usual = config_from(name, plain)
    hints = get_type_hints(type(usual))
    changed = {
        key: _another(getattr(usual, key), hints[key]) for key in find_method(name).inference_only
    }
    if not changed:
        return
    slopes = []
    for chosen in (plain, {**plain, **changed}):
        method = maker(name, chosen)()
        torch.manual_seed(1)  # of dropout
        losses = method.losses(phantom_batch(method), Step(7, 10))
        torch.stack(list(losses.values())).sum().backward()
        slopes.append({name: weight.grad for name, weight in method.named_parameters()})
    for weight, slope in slopes[0].items():
        other = slopes[1].get(weight)
        same = slope is other is None or (
            slope is not None and other is not None and torch.equal(slope, other)
        )
        _require(same, f"{', '.join(changed)}: not for inference only, {weight} learns otherwise")


def check_learns(name: str, settings: Mapping[str, Any] | None = None, steps: int = 200) -> None:
    """It learns one batch by heart: after `steps` steps its masks have a Dice above 0.9."""
    method = maker(name, settings)()
    batch, labelled = phantom_batch(method), phantom_labelled(method)
    if batch.weak is not None:
        # As in a data set, the outlined slices are among the tagged ones.
        pseudo = None if batch.weak.pseudo is None else labelled.mask
        batch = replace(batch, weak=Weak(labelled.image, labelled.present, pseudo=pseudo))
    take_steps(method, steps, batch)
    found = run_predict(method, labelled.image).probs.argmax(1)
    known = labelled.mask != IGNORE
    for index in range(1, TASK.k + 1):
        mask, truth = (found == index) & known, labelled.mask == index
        dice = 2 * float((mask & truth).sum()) / float(mask.sum() + truth.sum())
        _require(dice > 0.9, f"structure {index}: Dice {dice:.3f} after {steps} steps")


def take_steps(method: Method, steps: int, batch: Batch | None = None) -> dict[str, float]:
    """Train on one batch, the phantom's if none is given; the last step's losses."""
    optimiser, batch = method.optimiser(), batch or phantom_batch(method)
    losses: dict[str, Tensor] = {}
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


def run_predict(method: Method, image: Float[Tensor, "b 1 *space"]) -> Probabilities:
    """`predict` in eval mode, without gradients."""
    method.eval()
    with torch.no_grad():
        return method.predict(image)


def phantom_batch(method: Method) -> Batch:
    """A batch as the method's `batch_spec` asks for."""
    spec = method.batch_spec
    labelled = phantom_labelled(method)
    if spec.patch is not None:
        other, pseudo = phantom_patches(2, spec.patch, 2)
        unlabelled = Unlabelled(other, pseudo=None if spec.pseudo == "off" else pseudo)
        return Batch(labelled, None, unlabelled)
    weak = phantom_tagged(spec.weak) if spec.weak else None
    if weak is not None and spec.pseudo != "off":
        weak = replace(weak, pseudo=phantom_slices(spec.weak, 1)[1])
    empty = phantom_empty(spec.empty) if spec.empty else None
    if not spec.unlabelled:
        return Batch(labelled, weak, empty=empty)
    other, _ = phantom_slices(spec.unlabelled, 2)
    unlabelled = Unlabelled(other, 0.8 * other + 0.1 if spec.strong else None)
    return Batch(labelled, weak, unlabelled, empty=empty)


def phantom_labelled(method: Method) -> Labelled:
    """Two slices or more, or two patches whose first slice nobody reviewed."""
    spec = method.batch_spec
    if spec.patch is None:
        image, mask = phantom_slices(max(2, spec.labelled))
    else:
        image, mask = phantom_patches(2, spec.patch)
        mask[:, 0] = IGNORE
    return Labelled(image, mask, torch.ones(len(image), TASK.k, dtype=torch.long))


def phantom_images(method: Method, count: int, seed: int = 0) -> Float[Tensor, "b 1 *space"]:
    """Slices or patches, as the method sees them."""
    if method.batch_spec.patch is None:
        return phantom_slices(count, seed)[0]
    return phantom_patches(count, method.batch_spec.patch, seed)[0]


def phantom_slices(
    count: int, seed: int = 0
) -> tuple[Float[Tensor, "b 1 h w"], Int[Tensor, "b h w"]]:
    """Noise with two bright squares, and their label map."""
    side = TASK.size
    mask = torch.zeros(count, side, side, dtype=torch.long)
    for row in range(count):
        mask[row, 10 + row : 34 + row, 8:30] = 1
        mask[row, 36:54, 36 : 50 + row] = 2
    return _shaded(mask, seed), mask


def phantom_patches(
    count: int, patch: tuple[int, int, int], seed: int = 0
) -> tuple[Float[Tensor, "b 1 d h w"], Int[Tensor, "b d h w"]]:
    """Noise with two bright boxes in its first 16 slices, elsewhere for another seed, and their
    label map.
    """
    mask = torch.zeros(count, *patch, dtype=torch.long)
    for row in range(count):
        mask[row, 3:12, 4 + row + seed : 14 + row + seed, 4:16] = 1
        mask[row, 5:14, 20:30, 18 - seed : 28 + row - seed] = 2
    return _shaded(mask, seed), mask


def phantom_tagged(count: int) -> Weak:
    """Slices whose tags are true: a structure that is tagged absent is not in them."""
    tags = torch.tensor([[1, 0], [0, -1], [0, 0], [-1, 1]]).repeat(-(-count // 4), 1)[:count]
    image, mask = phantom_slices(count, 1)
    for index, brighter in ((1, 0.35), (2, 0.6)):
        absent = (tags[:, index - 1] == 0)[:, None, None] & (mask == index)
        image = image - brighter * absent[:, None]
    return Weak(image, tags)


def phantom_empty(count: int) -> Weak:
    """Noise without squares, tagged as such."""
    nothing = torch.zeros(count, TASK.size, TASK.size, dtype=torch.long)
    return Weak(_shaded(nothing, 3), torch.zeros(count, TASK.k, dtype=torch.long))


def _shaded(mask: Int[Tensor, " b *space"], seed: int) -> Float[Tensor, "b 1 *space"]:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(len(mask), 1, *mask.shape[1:], generator=generator)
    image = 0.3 * noise + 0.35 * (mask == 1)[:, None] + 0.6 * (mask == 2)[:, None]
    return image.float()


def _another(value: object, hint: object) -> object:
    """Another value of a setting: a switch is turned, a number gets larger, a word becomes another
    of those allowed.
    """
    words = [word for word in get_args(hint) if word != value]
    if isinstance(value, str) and words:
        return words[0]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    raise ContractBroken(f"inference_only: {value!r} is no switch, number or choice of words")


def _check_probabilities(output: Probabilities, image: Float[Tensor, "b 1 *space"]) -> None:
    shape = (len(image), TASK.k + 1, *image.shape[2:])
    _require(output.probs.shape == shape, f"probs of {tuple(output.probs.shape)}, not {shape}")
    total = output.probs.sum(1)
    _require(
        torch.allclose(total, torch.ones_like(total), atol=1e-5),
        "probabilities of a pixel do not add up to 1",
    )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ContractBroken(message)
