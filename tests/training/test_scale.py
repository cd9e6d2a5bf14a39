"""Float16: losses are scaled, steps that overflow are left out, and a run resumes to the bit."""

from pathlib import Path

import pytest
import torch

from fewmask.core.batch import Batch, Step
from fewmask.core.errors import Interrupted, TrainingFailed
from fewmask.io.run import RunFolder, States
from fewmask.training import TrainRequest, train
from fewmask.training.loop import Loop, SaveClock
from fewmask.training.scale import LossScale
from tests.narrow import required
from tests.training.test_loop import CPU, Line, line_job, prepared, request

__all__ = ["prepared"]


class Steep(Line):
    """Its gradient is 1e35: 65,536 times that is no number that float32 has, 2,048 times is."""

    bad = False

    def losses(self, batch: Batch, step: Step) -> dict[str, torch.Tensor]:
        found = {"a": 1e35 * (self.w - self.w.detach()).sum()}
        return {"a": found["a"] * torch.nan} if self.bad else found


def loop_of(method: Steep, folder: Path, late: bool, monkeypatch: pytest.MonkeyPatch) -> Loop:
    monkeypatch.setattr("fewmask.training.loop.reads_late", lambda device: late)
    job = line_job(method)
    job.fp16, job.total = True, 30
    return Loop(job, States(folder), SaveClock(99.0))


@pytest.mark.parametrize("late", [False, True])
def test_steps_that_overflow_are_left_out_until_the_number_fits(
    tmp_path, monkeypatch, late: bool
) -> None:
    """65,536 halved five times is 2,048, and 2,048 times 1e35 is below 3.4e38: step 5 is the first
    that moves the weight, by 0.5 * 0.5 * 1 (clipped).
    """
    method = Steep()
    loop = loop_of(method, tmp_path, late, monkeypatch)
    moved = []
    for _ in range(7):
        loop._step()
        moved.append(round(method.w.item(), 5))
    assert moved == [1.0] * 5 + [0.75, 0.5]
    assert loop._scale is not None and float(loop._scale.flatten()["scale"]) == 2048


@pytest.mark.parametrize("late", [False, True])
def test_f17_what_no_number_helps_is_told(tmp_path, monkeypatch, late: bool) -> None:
    """Twenty steps in a row are left out; then it is said, and no weight has moved."""
    method = Steep()
    method.bad = True
    loop = loop_of(method, tmp_path, late, monkeypatch)
    with pytest.raises(TrainingFailed, match="a loss is not a number at step 19"):
        loop.run()
    assert method.w.item() == 1.0


def test_the_number_goes_on_where_it_was_saved() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    optimiser = torch.optim.SGD([weight], 0.1)

    def learn(scale: LossScale, slope: float) -> None:
        optimiser.zero_grad()
        scale.multiply((slope * weight).sum()).backward()
        scale.divide(optimiser)
        scale.learn(torch.isfinite(required(weight.grad)).all())

    one, other = LossScale(CPU), LossScale(CPU)
    for slope in (1e35, 1e35, 1.0):
        learn(one, slope)
    assert {name: float(value) for name, value in one.flatten().items()} == {
        "scale": 16384,
        "since": 1,
        "left_out": 0,
    }
    other.restore(one.flatten())
    for scale in (one, other):
        learn(scale, 1e37)
    assert one.flatten() == other.flatten()


def test_a_run_in_float16_resumes_to_the_same_bits_and_says_so(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fewmask.training.hardware.half_type", lambda device: torch.float16)

    def ask(name: str) -> TrainRequest:
        return request(prepared, tmp_path / name, amp="on")

    whole = RunFolder(train(ask("whole")))
    with pytest.raises(Interrupted):
        train(ask("cut"), lambda event: event.done == 2)
    cut = RunFolder(train(ask("cut")))
    assert cut.weights.read_bytes() == whole.weights.read_bytes()
    record = whole.read_record()
    assert (record.bf16, record.fp16, record.precision) == (False, True, "float16")
