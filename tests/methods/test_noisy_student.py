"""Teacher and students: what they plan, learn from, and what the presence head may say."""

import pytest
import torch

from fewmask.core.batch import IGNORE, UNKNOWN, Batch, Labelled, Step, Task, Weak
from fewmask.core.errors import BadConfig
from fewmask.methods import build, config_from, stages
from fewmask.methods._pyramid import Pyramid
from fewmask.testing import TASK, phantom_slices

SMALL = {"labelled": 1, "weak": 2}


def made(name: str = "noisy_student", **settings: object) -> Pyramid:
    torch.manual_seed(0)
    method = build(name, config_from(name, {**SMALL, **settings}), TASK)
    assert isinstance(method, Pyramid)
    return method


def batch(present: list[list[int]], pseudo: torch.Tensor | None = None) -> Batch:
    image, mask = phantom_slices(1)
    labelled = Labelled(image, mask, torch.ones(1, 2, dtype=torch.long))
    return Batch(labelled, Weak(image.repeat(2, 1, 1, 1), torch.tensor(present), pseudo=pseudo))


def test_every_student_goes_on_from_the_one_before_and_its_labels() -> None:
    """0.3 for the teacher, the rest in halves."""
    plan = stages("noisy_student", config_from("noisy_student", {}))
    assert [(s.name, s.init_from, s.pseudo_labels_from, s.pseudo_labels_to) for s in plan] == [
        ("teacher", "", "", "labels1"),
        ("student1", "teacher", "labels1", "labels2"),
        ("", "student1", "labels2", ""),
    ]
    assert [s.share for s in plan] == [s.steps_share for s in plan] == [0.3, 0.35, 0.35]
    one = stages("noisy_student", config_from("noisy_student", {"rounds": 1, "lr": 0.5}))
    assert [s.name for s in one] == ["teacher", ""] and one[0].config.lr == 0.5


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_plan_without_a_student_is_refused(share: float) -> None:
    with pytest.raises(BadConfig, match="nobody would learn") as caught:
        stages("noisy_student", config_from("noisy_student", {"teacher_share": share}))
    assert "lite_unet" in caught.value.fix


@pytest.mark.parametrize("setting", ["rounds", "most_scans"])
def test_no_round_and_no_scan_are_refused(setting: str) -> None:
    with pytest.raises(BadConfig, match=f"{setting} = 0"):
        config_from("noisy_student", {setting: 0})


def test_whoever_asks_for_many_structures_is_told_that_small_ones_take_long() -> None:
    many = Task(tuple("abcd"), 32)
    assert made().note == made("lite_unet").note == ""
    assert build("lite_unet", config_from("lite_unet", SMALL), many).note.startswith("4 structures")


def test_the_last_steps_learn_from_outlines_and_tags_alone() -> None:
    """`pure` is a tenth: step 8 of 10 has the labels, step 9 does not."""
    method = made()
    given = batch([[1, 0], [0, 0]], phantom_slices(1)[1].repeat(2, 1, 1))
    assert set(method.losses(given, Step(8, 10))) == {"ce", "dice", "classify", "pseudo"}
    assert set(method.losses(given, Step(9, 10))) == {"ce", "dice", "classify", "empty"}
    teacher = set(made("lite_unet").losses(batch([[1, 0], [0, 0]]), Step(0, 10)))
    assert teacher == {"ce", "dice", "classify", "empty"}


def test_unsure_pixels_teach_nothing() -> None:
    nothing = torch.full((2, TASK.size, TASK.size), IGNORE)
    losses = made().losses(batch([[1, 0], [0, 0]], nothing), Step(0, 10))
    assert float(losses["pseudo"].detach()) == 0


def test_only_what_was_taught_both_ways_is_gated() -> None:
    """Structure 1 was seen present and absent, structure 2 never absent, so that only the first can
    be denied.
    """
    method = made("lite_unet").eval()
    method.losses(batch([[1, 1], [0, UNKNOWN]]), Step(0, 10))
    assert method.seen.tolist() == [[True, True], [False, True]]
    with torch.no_grad():
        for net in (method.net, method.averaged):
            net.present.bias.fill_(-30.0)
        answer = method.predict(phantom_slices(1)[0])
    assert answer.present is not None and answer.present.tolist()[0] == [pytest.approx(0), 1]
    assert not answer.probs[:, 1].any() and answer.probs[:, 2].any()


def test_without_tags_the_labels_say_what_is_there() -> None:
    """The phantom shows both structures; a slice with pixels left out denies nothing."""
    method = made()
    mask = phantom_slices(1)[1].repeat(2, 1, 1)
    mask[1] = 0
    silent = [[UNKNOWN, UNKNOWN]] * 2
    method.losses(batch(silent, mask), Step(0, 10))
    assert method.seen.all()
    other = made()
    mask[1, 0, 0] = IGNORE
    other.losses(batch(silent, mask), Step(0, 10))
    assert not other.seen[:, 0].any() and other.seen[:, 1].all()


def test_the_average_follows() -> None:
    """After the first step it is a tenth of what it was and nine tenths of the new weights."""
    method = made()
    before = method.averaged.last.weight.clone()
    with torch.no_grad():
        method.net.last.weight.add_(1.0)
    method.after_step(Step(0, 10))
    assert torch.allclose(method.averaged.last.weight, before + 0.9, atol=1e-6)
