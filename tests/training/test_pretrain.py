"""Pre-training: every part learns, a killed one resumes to the same bits, and it gets better at
what it trains for.
"""

import pytest
import torch

from fewmask.blocks.losses import sam_mask_losses
from fewmask.blocks.sam import build_sam, size_named
from fewmask.core.batch import Step
from fewmask.core.errors import BadConfig, Interrupted, NoRoom, TrainingFailed
from fewmask.core.progress import ProgressEvent
from fewmask.io.run import States
from fewmask.io.weights import load_tensors
from fewmask.synth.prompt import Targets, choose_targets
from fewmask.training.pretrain import PretrainConfig, answer_losses, draw_questions
from fewmask.training.pretrain_run import pretrain

TINY = PretrainConfig(size="tiny", steps=4, pixels=256 * 256, warmup=1)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def few_are_scored(monkeypatch) -> None:
    """Eight scenes instead of 64, each time."""
    monkeypatch.setattr("fewmask.training.pretrain.HELD_OUT", 1)


def test_the_best_of_three_masks_is_taught() -> None:
    """Mask 1 is right, so focal and Dice are nearly 0 whatever the others are; scores are held
    against all three IoUs.
    """
    mask = torch.zeros(1, 8, 8)
    mask[:, 2:6, 2:6] = 1
    logits = torch.stack([-20 * torch.ones(8, 8), 40 * mask[0] - 20, 20 * torch.ones(8, 8)])[None]
    losses = sam_mask_losses(logits, torch.tensor([[0.0, 1.0, 0.25]]), mask)
    assert all(float(loss) < 1e-3 for loss in losses.values())
    # The full mask has IoU 16 / 64 = 0.25; a score of 1.25 there is wrong by 1, and the mean over
    # three masks is 1/3.
    assert float(
        sam_mask_losses(logits, torch.tensor([[0.0, 1.0, 1.25]]), mask)["score"]
    ) == pytest.approx(1 / 3)


def test_every_part_of_sam_gets_a_gradient_from_some_prompt() -> None:
    """Of 24 steps at most: no more are taken than are needed."""
    torch.manual_seed(0)
    sam = build_sam(size_named("tiny"))
    dead = {name for name, _ in sam.named_parameters()}
    for index in range(24):
        sum(
            answer_losses(sam, draw_questions(TINY, Step(index, 24), CPU, sam.patch)).values()
        ).backward()  # type: ignore[union-attr]
        dead = {
            name
            for name, weight in sam.named_parameters()
            if weight.grad is None or not bool(weight.grad.any())
        }
        if not dead:
            break
    assert not dead


def test_a_step_with_nothing_to_ask_draws_again(monkeypatch) -> None:
    """The first two draws have no target; the third one's images are those that are asked about."""
    real, calls = choose_targets, []

    def choose(scenes, per_image, least, rng):
        calls.append(scenes.image)
        found = real(scenes, per_image, least, rng)
        return found if len(calls) == 3 else Targets(found.rows[:0], found.mask[:0])

    monkeypatch.setattr("fewmask.training.pretrain.choose_targets", choose)
    asked = draw_questions(TINY, Step(0, 4), CPU, 8)
    assert (
        len(calls) == 3
        and torch.equal(asked.image, calls[2])
        and not torch.equal(calls[1], calls[2])
    )


def test_an_interrupted_pretraining_ends_in_the_same_bits(tmp_path) -> None:
    whole = load_tensors(pretrain(TINY, tmp_path / "whole", device="cpu", score_every=2))
    assert States(tmp_path / "whole").latest() is None, "a finished one keeps no states"

    class Stop(Exception):
        pass

    def stop(state) -> None:
        if state.done == 2:
            raise Stop

    with pytest.raises(Stop):
        pretrain(
            TINY, tmp_path / "cut", device="cpu", save_minutes=0.0, score_every=2, on_progress=stop
        )
    for path in (tmp_path / "cut").glob("state-00000002.*"):
        path.unlink()  # as if killed between the scores of a step and its state
    again = load_tensors(pretrain(TINY, tmp_path / "cut", device="cpu", score_every=2))
    assert (
        all(torch.equal(whole[name], again[name]) for name in whole)
        and whole.keys() == again.keys()
    )
    assert all(tensor.dtype == torch.float16 for tensor in again.values())
    scores = [(tmp_path / name / "scores.csv").read_bytes() for name in ("whole", "cut")]
    assert scores[0] == scores[1] and scores[0].count(b"\n") == 3
    losses = [States(tmp_path / name).losses.read_bytes() for name in ("whole", "cut")]
    assert losses[0] == losses[1] and losses[0].count(b"\n") == 5


def poison(monkeypatch, change) -> None:
    """From step 2 on `change` is done to the losses of the step."""
    honest, calls = answer_losses, []

    def losses(sam, asked):
        calls.append(asked)
        found = honest(sam, asked)
        return change(sam, found) if len(calls) > 2 else found

    monkeypatch.setattr("fewmask.training.jobs.answer_losses", losses)


def test_f17_a_gradient_that_is_not_a_number_names_the_step_and_its_images(
    tmp_path, monkeypatch
) -> None:
    """The loss itself is finite: 0, with a slope of infinity times 0."""

    def root(sam, found):
        weight = next(iter(sam.parameters()))
        return found | {"dice": found["dice"] + ((weight - weight) ** 0.5).sum()}

    poison(monkeypatch, root)
    with pytest.raises(TrainingFailed, match="a gradient is not a number at step 2") as caught:
        pretrain(TINY, tmp_path, device="cpu", save_minutes=0.0, score_every=9)
    losses, images, rate = caught.value.where
    assert "dice" in losses and "px, " in images and "largest gradient nan" in rate
    assert caught.value.did == "the last good state is of step 2"
    latest = States(tmp_path).latest()
    assert latest is not None and latest.step == 2


def test_f07_memory_that_does_not_suffice_is_told_in_words(tmp_path, monkeypatch) -> None:
    def full(sam, found):
        raise torch.OutOfMemoryError("CUDA out of memory")

    poison(monkeypatch, full)
    with pytest.raises(NoRoom, match="memory is full") as caught:
        pretrain(TINY, tmp_path, device="cpu", score_every=9)
    assert caught.value.code == "F07" and "pixels" in caught.value.fix


def test_a_state_that_had_to_be_passed_over_is_told(tmp_path) -> None:
    def stop(event: ProgressEvent) -> bool:
        return event.done == 2

    with pytest.raises(Interrupted, match="after step 2 of 4"):
        pretrain(TINY, tmp_path, device="cpu", save_minutes=0.0, score_every=9, on_progress=stop)
    (tmp_path / "state-00000002.safetensors").write_bytes(b"x")
    notes: list[str] = []
    pretrain(TINY, tmp_path, device="cpu", on_progress=lambda event: notes.append(event.note))
    assert notes[0].startswith("resumes after step 1; a newer state was unusable, so 1 step is")


def test_another_request_is_refused(tmp_path) -> None:
    pretrain(
        PretrainConfig(size="tiny", steps=1, pixels=256 * 256),
        tmp_path,
        device="cpu",
        score_every=9,
    )
    with pytest.raises(BadConfig, match="another request"):
        pretrain(PretrainConfig(size="tiny", steps=2, pixels=256 * 256), tmp_path, device="cpu")
