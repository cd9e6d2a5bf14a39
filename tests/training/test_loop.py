"""The loop without a child process: numbers that are none, signals, locks, requests that cannot be
met.
"""

import math
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from fewmask.core.batch import Batch, BatchSpec, Labelled, Step
from fewmask.core.errors import BadCheckpoint, BadConfig, Interrupted, NoRoom, TrainingFailed
from fewmask.core.signals import listen
from fewmask.io.lock import folder_lock
from fewmask.io.run import RunFolder, States
from fewmask.io.weights import load_tensors
from fewmask.methods._method import Method
from fewmask.methods.unet import UNet2d
from fewmask.training import ProgressEvent, TrainRequest, train
from fewmask.training.hardware import choose_half, mean_step
from fewmask.training.jobs import MethodJob
from fewmask.training.loop import Loop, SaveClock, take_step
from fewmask.training.run import build_method
from tests.scans import prepare_scans

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return prepare_scans(tmp_path_factory.mktemp("loop")).folder


def request(prepared: Path, out: Path, **changes: object) -> TrainRequest:
    chosen = {
        **{
            "method": "unet",
            "slices": 3,
            "steps": 6,
            "amp": "off",
            "device": "cpu",
            "save_steps": 2,
        },
        "settings": ("channels=[4,4]", "labelled=2"),
    }
    return TrainRequest(prepared=prepared, out=out, **{**chosen, **changes})  # type: ignore[arg-type]


def test_w06_a_finished_run_whose_weights_are_gone_is_not_trained_anew(prepared, tmp_path) -> None:
    out, told = train(request(prepared, tmp_path / "run")), []
    (out / "weights.safetensors").unlink()
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    with pytest.raises(BadCheckpoint, match="was finished here") as lost:
        train(request(prepared, out))
    assert lost.value.where == (str(out),) and "another `out`" in lost.value.fix
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    (out / "cleanup.json").unlink()  # what is left could be of a run that was killed in its save
    train(request(prepared, out), lambda event: told.append(event.note))
    assert f"no state was saved beside {out / 'losses.csv'}" in told[0]


class Line(Method):
    """One weight w, loss = slope * w; the slope can be made to be anything."""

    batch_spec = BatchSpec(labelled=1)

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0]))
        self.value, self.slope, self.after = 0.0, 1.0, 0

    def losses(self, batch: Batch, step: Step) -> dict[str, torch.Tensor]:
        return {
            "a": (self.slope * (self.w - self.w.detach()).sum()) + self.value,
            "b": 0 * self.w.sum(),
        }

    def predict(self, image: torch.Tensor):
        raise NotImplementedError

    def optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.5)

    def schedule(self, step: Step) -> float:
        return 0.5

    def after_step(self, step: Step) -> None:
        self.after += 1


def line_batch(index: int) -> Batch:
    return Batch(
        Labelled(
            torch.zeros(1, 1, 4, 4),
            torch.zeros(1, 4, 4, dtype=torch.long),
            torch.zeros(1, 1, dtype=torch.long),
        ),
        names={"labelled": (f"case_00:{index}",)},
    )


def line_job(method: Line) -> MethodJob:
    return MethodJob(method, line_batch, total=10, seed=0, device=CPU, bf16=False)


def line_step(method: Line) -> tuple[float, bool]:
    """The sum of the losses, and whether all was finite."""
    losses, finite = take_step(line_job(method), line_batch(0), Step(0, 10))
    return float(losses.values.sum()), finite


def test_a_step_is_rate_times_schedule_times_clipped_slope() -> None:
    """Slope 8 is clipped to 1 (the factor has 1e-6 below the line); 1 - 0.5 * 0.5 * 1 = 0.75."""
    method = Line()
    method.slope, method.value = 8.0, 3.0
    assert line_step(method) == (3.0, True)
    assert method.w.item() == pytest.approx(0.75, abs=1e-6) and method.after == 1


@pytest.mark.parametrize(
    ("value", "slope"), [(math.nan, 1.0), (math.inf, 1.0), (0.0, math.nan), (0.0, math.inf)]
)
def test_f17_neither_a_bad_loss_nor_a_bad_slope_reaches_the_weights(value, slope) -> None:
    method = Line()
    method.value, method.slope = value, slope
    assert not line_step(method)[1]
    assert method.w.item() == 1.0 and method.after == 0


def poison(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """From step `at` on the Dice is NaN."""
    honest = UNet2d.losses

    def losses(self: UNet2d, batch: Batch, step: Step) -> dict[str, torch.Tensor]:
        found = honest(self, batch, step)
        return found | {"dice": found["dice"] * math.nan} if step.index >= at else found

    monkeypatch.setattr(UNet2d, "losses", losses)


def test_f17_stops_at_once_and_names_slices_rate_and_gradient(
    prepared, tmp_path, monkeypatch
) -> None:
    out = tmp_path / "run"
    poison(monkeypatch, 5)
    with pytest.raises(TrainingFailed, match="a loss is not a number at step 5") as caught:
        train(request(prepared, out))
    losses, slices, rate = caught.value.where
    assert "dice nan" in losses and "labelled case_" in slices and "learning rate" in rate
    assert "largest gradient " in rate and " in net." in rate
    assert caught.value.exit_code == 1 and "step 4" in caught.value.did
    last = RunFolder.open(out).latest()
    assert last is not None and last.step == 4
    assert all(
        bool(torch.isfinite(t).all()) for t in last.tensors.values() if t.is_floating_point()
    )
    monkeypatch.undo()
    train(request(prepared, out))
    train(request(prepared, tmp_path / "whole"))
    assert (out / "weights.safetensors").read_bytes() == (
        tmp_path / "whole" / "weights.safetensors"
    ).read_bytes()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_f02_a_signal_ends_after_the_step_with_all_saved(prepared, tmp_path, number, code) -> None:
    def tell(state: ProgressEvent) -> None:
        if state.done == 3:
            os.kill(os.getpid(), number)

    out = tmp_path / "run"
    found = signal.getsignal(number)
    if found is signal.SIG_IGN:  # the tests themselves run detached
        signal.signal(number, signal.SIG_DFL)
    before = signal.getsignal(number)
    try:
        with pytest.raises(Interrupted) as caught:
            train(request(prepared, out), tell)
        assert caught.value.exit_code == code and signal.getsignal(number) is before
    finally:
        signal.signal(number, found)
    last = RunFolder.open(out).latest()
    assert last is not None and last.step == 4 and not (out / "weights.safetensors").exists()
    assert [row["step"] for row in RunFolder.open(out).read_losses(99)] == ["0", "1", "2", "3"]


def test_f02_the_second_sigint_stops_now() -> None:
    with pytest.raises(KeyboardInterrupt), listen() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        assert asked.exit_code == 130
        os.kill(os.getpid(), signal.SIGINT)


def test_f03_a_detached_run_is_deaf_to_sighup_and_threads_get_no_handlers() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with listen() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
        assert asked.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)
    problems: list[BaseException] = []

    def work() -> None:
        try:
            with listen():
                pass
        except ValueError as error:
            problems.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not problems


def test_killed_between_last_state_and_weights_only_the_weights_are_written(
    prepared, tmp_path
) -> None:
    out = tmp_path / "run"
    train(request(prepared, out, keep_states=True))
    whole = (out / "weights.safetensors").read_bytes()
    (out / "weights.safetensors").unlink()
    told: list[ProgressEvent] = []
    train(request(prepared, out), told.append)
    assert not told and (out / "weights.safetensors").read_bytes() == whole


def test_killed_before_old_states_were_removed_they_are_removed_on_resume(
    prepared, tmp_path
) -> None:
    out = tmp_path / "run"
    train(request(prepared, out, save_steps=1, keep_states=True))
    whole = sorted(path.name for path in out.glob("state-*"))
    (out / "weights.safetensors").unlink()
    newest = sorted(out.glob("state-*.safetensors"))[-1]
    for kind in (".safetensors", ".json"):
        shutil.copy(newest.with_suffix(kind), out / f"state-00000000{kind}")
    train(request(prepared, out, save_steps=1, keep_states=True))
    assert sorted(path.name for path in out.glob("state-*")) == whole
    assert len(whole) == 4  # two states


def test_a_callback_that_returns_true_stops_with_all_saved(prepared, tmp_path) -> None:
    out = tmp_path / "run"
    with pytest.raises(Interrupted, match="program that called after step 3 of 6") as caught:
        train(request(prepared, out), lambda event: event.done == 3)
    assert caught.value.exit_code == 130
    last = RunFolder.open(out).latest()
    assert last is not None and last.step == 3 and not (out / "weights.safetensors").exists()
    train(request(prepared, out))
    train(request(prepared, tmp_path / "whole"))
    whole = RunFolder.open(tmp_path / "whole")
    assert RunFolder.open(out).weights.read_bytes() == whole.weights.read_bytes()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_f07_memory_that_does_not_suffice_is_told_in_words(
    prepared, tmp_path, monkeypatch, error
) -> None:
    def losses(self: UNet2d, batch: Batch, step: Step) -> dict[str, torch.Tensor]:
        raise error

    monkeypatch.setattr(UNet2d, "losses", losses)
    with pytest.raises(NoRoom, match="memory is full") as caught:
        train(request(prepared, tmp_path / "run"))
    assert caught.value.code == "F07" and "labelled" in caught.value.fix


class BadLine(Line):
    """In step 3 its loss or only its gradient is not a number; in all others its weight moves."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def losses(self, batch: Batch, step: Step) -> dict[str, torch.Tensor]:
        found = super().losses(batch, step)
        if step.index == 3 and self.kind == "loss":
            found["b"] = found["b"] * math.nan
        if step.index == 3 and self.kind == "gradient":  # the root of 0 is 0, its slope is infinite
            found["b"] = ((self.w - self.w) ** 0.5).sum()
        return found


@pytest.fixture
def late(monkeypatch) -> None:
    """Losses are read now and then, as on a GPU."""
    monkeypatch.setattr("fewmask.training.loop.reads_late", lambda device: True)


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_f17_read_late_the_first_bad_step_is_named_and_no_weight_moved_since(
    tmp_path, late, kind
) -> None:
    """Steps 0, 1 and 2 move w by 0.5 * 0.5 * 1 each: 1 - 0.75 = 0.25. Step 3 is bad, and it is
    found out only when something is to be saved, after step 7.
    """
    method = BadLine(kind)
    loop = Loop(line_job(method), States(tmp_path), SaveClock(99.0, steps=8))
    loop._last_read = math.inf  # nothing is shown
    with pytest.raises(TrainingFailed, match=f"a {kind} is not a number at step 3") as caught:
        loop.run()
    assert loop.done == 8 and "case_00:3" in caught.value.where[1]
    assert method.w.item() == pytest.approx(0.25, abs=1e-5)
    assert not list(tmp_path.glob("state-*")), "nothing bad was saved"


def test_read_late_the_run_is_the_same_and_every_loss_is_logged(
    prepared, tmp_path, monkeypatch
) -> None:
    at_once = RunFolder(train(request(prepared, tmp_path / "at-once")))
    monkeypatch.setattr("fewmask.training.loop.reads_late", lambda device: True)
    told: list[ProgressEvent] = []
    late = RunFolder(train(request(prepared, tmp_path / "late"), told.append))
    assert told[0].done == 1 and told[-1].done == 6 and len(told) < 6
    one, two = at_once.read_losses(9), late.read_losses(9)
    assert [row["step"] for row in two] == ["0", "1", "2", "3", "4", "5"]
    # Fused steps of the optimiser round otherwise.
    assert [float(row["ce"]) for row in two] == pytest.approx(
        [float(row["ce"]) for row in one], rel=1e-4
    )


def test_read_late_a_run_resumes_to_the_same_bits(prepared, tmp_path, late) -> None:
    train(request(prepared, tmp_path / "whole"))
    with pytest.raises(Interrupted):
        train(request(prepared, tmp_path / "cut"), lambda event: True)
    train(request(prepared, tmp_path / "cut"))
    for name in ("weights.safetensors", "losses.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_losses_are_one_row_per_step_and_progress_counts(prepared, tmp_path) -> None:
    told: list[ProgressEvent] = []
    train(request(prepared, tmp_path / "run"), told.append)
    assert [state.done for state in told] == [1, 2, 3, 4, 5, 6] and [
        state.saved_step for state in told
    ] == [0, 2, 2, 4, 4, 6]
    assert told[-1].seconds_left == 0 and told[-1].losses.keys() == {"ce", "dice"}
    rows = RunFolder.open(tmp_path / "run").read_losses(99)
    assert [(row["step"], row["ce"]) for row in rows] == [
        (str(s.done - 1), repr(s.losses["ce"])) for s in told
    ]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"steps": 7}, "steps: 6 -> 7"),
        ({"steps": None, "minutes": 1.0}, "minutes: None -> 1.0"),
        ({"amp": "on"}, "bf16: False -> True"),
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"slices": 2}, "budget"),
        ({"draw": 3}, "budget"),
    ],
)
def test_c06_another_request_is_shown_as_a_difference(
    prepared, tmp_path_factory, changes, word
) -> None:
    out = tmp_path_factory.getbasetemp() / "c06"
    if not out.exists():
        train(request(prepared, out))
    with pytest.raises(BadConfig) as caught:
        train(request(prepared, out, **changes))
    assert caught.value.code == "C06" and any(word in line for line in caught.value.where)


def test_what_is_settled_on_the_machine_is_kept_on_resume(prepared, tmp_path) -> None:
    """`--minutes` becomes steps once; a later call with the same minutes does not time again."""
    out, short = tmp_path / "run", {"steps": None, "minutes": 1e-4}
    train(request(prepared, out, **short))
    steps = RunFolder.open(out).read_record().steps
    train(request(prepared, out, **short))
    assert steps >= 1 and RunFolder.open(out).read_record().steps == steps


def test_timing_first_does_not_change_the_run(prepared, tmp_path) -> None:
    """The 20 timed steps happen on a throw-away copy."""
    train(request(prepared, tmp_path / "timed", steps=None, minutes=1e-4))
    steps = RunFolder.open(tmp_path / "timed").read_record().steps
    train(request(prepared, tmp_path / "counted", steps=steps))
    one, two = (
        load_tensors(tmp_path / name / "weights.safetensors") for name in ("timed", "counted")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_w06_a_state_of_another_network_is_refused(prepared, tmp_path) -> None:
    out = tmp_path / "run"
    train(request(prepared, out))
    (out / "weights.safetensors").unlink()
    RunFolder.open(out).save(7, {"model.other": torch.ones(2)})
    with pytest.raises(BadCheckpoint, match="do not fit"):
        train(request(prepared, out))


def test_f12_a_folder_in_use_is_refused(prepared, tmp_path) -> None:
    with folder_lock(tmp_path, "train"), pytest.raises(NoRoom, match="in use"):
        train(request(prepared, tmp_path))


def test_f11_an_output_that_is_a_file_is_refused(prepared, tmp_path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(BadConfig, match="not a folder"):
        train(request(prepared, tmp_path / "run"))
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.parametrize(
    "wrong",
    [
        {"volumes": 1},
        {"minutes": 1.0},
        {"steps": 0},
        {"steps": None, "minutes": -1.0},
        {"slices": 999},
        {"slices": 0},
        {"method": "nothing"},
        {"encoder": "tiny"},
        {"settings": ("lr=fast",)},
        {"device": "toaster"},
    ],
)
def test_c02_requests_that_cannot_be_met_start_nothing(prepared, tmp_path, wrong) -> None:
    with pytest.raises(BadConfig):
        train(request(prepared, tmp_path / "run", **wrong))
    assert not (tmp_path / "run").exists()


def test_bf16_only_where_it_pays(monkeypatch) -> None:
    """A clock that steps count: float32 takes 1 s, bfloat16 0.5 s, then 0.95 s."""
    now = [0.0]
    monkeypatch.setattr("fewmask.training.hardware.time.perf_counter", lambda: now[0])

    def stepper(fast: float):
        def step(bf16: bool) -> None:
            now[0] += fast if bf16 else 1.0

        return step

    assert choose_half("auto", CPU, stepper(0.5)) and not choose_half("auto", CPU, stepper(0.95))
    assert choose_half("on", CPU, stepper(9)) and not choose_half("off", CPU, stepper(0.1))


def test_a_busy_moment_does_not_choose_half(monkeypatch) -> None:
    """Both take 0.1 s; every second step in float32 is held up by 5 s, which would make bfloat16
    look 26 times as fast.
    """
    now, count = [0.0], [0]
    monkeypatch.setattr("fewmask.training.hardware.time.perf_counter", lambda: now[0])

    def step(bf16: bool) -> None:
        count[0] += not bf16
        now[0] += 0.1 + 5.0 * (not bf16 and count[0] % 2 == 0)

    assert not choose_half("auto", CPU, step)


def test_the_time_of_a_step_is_the_mean_over_the_run(monkeypatch) -> None:
    """A third at 2 s, the rest at 8 s: of ten places three lie in the first third. The first of
    each pair is held up by 100 s.
    """
    now = [0.0]
    monkeypatch.setattr("fewmask.training.hardware.time.perf_counter", lambda: now[0])

    def step(index: int) -> None:
        now[0] += (100.0 if index % 2 == 0 else 0.0) + (2.0 if index < 333 else 8.0)

    assert mean_step(step, 1000) == pytest.approx((3 * 2 + 7 * 8) / 10)


def test_tags_alone_are_enough_for_a_method_that_needs_no_mask(prepared, tmp_path) -> None:
    """N = 0 of the SAM-Mix table: a classifier learns, SAM stays as it came."""
    settings = ("coarse=cam", "encoder=tiny", "classifier_width=8")
    run = train(request(prepared, tmp_path / "run", method="sam_pp", slices=0, settings=settings))
    start = build_method(RunFolder.open(run).read_record()).state_dict()
    after = load_tensors(run / "weights.safetensors")
    changed = {name.split(".")[0] for name in after if not torch.equal(after[name], start[name])}
    assert changed == {"coarse"}


def test_a_dataset_takes_no_run(prepared) -> None:
    """The next `prepare` would refuse the folder, and `evaluate` to write into it."""
    for out in (prepared, prepared / "run", prepared / "cases" / "run"):
        with pytest.raises(BadConfig, match="inside the input folder"):
            train(request(prepared, out))
    assert not (prepared / "run").exists()
