"""The only training loop: every job, resumable to the bit.

It saves by the clock, listens to signals, writes losses.csv, and stops at the first loss or
gradient that is not a number. On a GPU it does not wait for a step to end before it asks for the
next one: losses are read only now and then, and whether all numbers were finite is kept on the
device until then.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from fewmask.blocks.device import in_half
from fewmask.blocks.team import PeerLost, average_gradients, mean, together
from fewmask.core.batch import Step
from fewmask.core.errors import TrainingFailed
from fewmask.core.progress import OnProgress, Pace, ignore_progress
from fewmask.core.signals import listen
from fewmask.core.words import count
from fewmask.io.run import Checkpoint, States
from fewmask.io.weights import fit_into, flatten_optimiser, restore_optimiser
from fewmask.training import crash_points
from fewmask.training.advice import tell_stuck
from fewmask.training.hardware import describe
from fewmask.training.jobs import Job
from fewmask.training.scale import LossScale
from fewmask.training.together import ALONE, Team

_LOGGED = 2000
"""About as many rows in losses.csv."""
_READ_SECONDS = 0.5
"""Between two readings of losses from a GPU."""


def reads_late(device: torch.device) -> bool:
    """Are losses on this device read only now and then? Reading makes the program wait for it."""
    return device.type == "cuda"


class SaveClock:
    """Says when to save."""

    def __init__(self, minutes: float, steps: int | None = None) -> None:
        """At least every so many `minutes`, and besides every so many `steps`."""
        self._seconds, self._steps = 60 * minutes, steps
        self.restart()

    def restart(self) -> None:
        """Something was saved just now."""
        self._last = time.monotonic()

    def is_due(self, done: int) -> bool:
        """Is it time to save when `done` steps are done?"""
        by_count = self._steps is not None and done % self._steps == 0
        return by_count or time.monotonic() - self._last > self._seconds


@dataclass(frozen=True)
class StepLosses:
    """Losses of a step, still on the device."""

    index: int
    names: tuple[str, ...]
    values: Tensor
    """One number per name, float32."""


class FiniteWatch:
    """Remembers, on the device, the first step with a number that is not finite; from it on the
    optimiser leaves the weights as they are.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, device: torch.device) -> None:
        """`optimiser` has fused steps (`has_fused_steps`): only these can be skipped by a flag on
        the device.
        """
        for group in optimiser.param_groups:
            group["fused"], group["foreach"] = True, False
        self._optimiser = optimiser
        self._skip = torch.zeros((), device=device)
        self._first = torch.full((), -1, device=device)

    def step(self, index: int, finite: Tensor, good: Tensor | None = None) -> None:
        """Step `index` of the optimiser, unless it is not `finite`, or this or an earlier one is
        not `good` (what is not finite is not good either, if nothing is said of it).
        """
        good = finite if good is None else good
        self._first = torch.where(good | (self._first >= 0), self._first, index)
        self._skip = torch.where(good, self._skip, 1.0)
        # What torch's own GradScaler sets; fused steps look at it.
        self._optimiser.found_inf = torch.where(finite, self._skip, 1.0)  # type: ignore[attr-defined]
        self._optimiser.step()

    def first_bad(self) -> int | None:
        """The first step that was not finite, if there is one. Waits for the device."""
        first = int(self._first)
        return None if first < 0 else first


def has_fused_steps(optimiser: torch.optim.Optimizer) -> bool:
    """Is it one of torch's optimisers that can step in one kernel (Adam, AdamW, SGD, Adagrad)?"""
    return all("fused" in group for group in optimiser.param_groups)


class Loop:
    """One training while it runs."""

    def __init__(
        self,
        job: Job,
        folder: States,
        clock: SaveClock,
        on_progress: OnProgress = ignore_progress,
        crew: Team = ALONE,
    ) -> None:
        """States and losses go to `folder`, which holds the `environment.json` of the training; of
        a `crew` of processes the first writes them.
        """
        self.crew = crew
        self.job, self.folder, self.clock, self.on_progress = job, folder, clock, on_progress
        self.done = self.saved = 0
        self._watch = (
            FiniteWatch(job.optimiser, job.device)
            if reads_late(job.device) and has_fused_steps(job.optimiser)
            else None
        )
        self._scale = LossScale(job.device) if job.fp16 else None
        self._unread: list[StepLosses] = []
        self._losses: dict[str, float] = {}
        self._last_read = -math.inf
        self._rows: list[dict[str, str]] = []
        self._is_stuck_told = False

    def resume(self) -> str:
        """Go on from the newest state that checks out, if there is one; a note about it for people,
        and about losses without a state (a process killed in its first save leaves them).

        Raises `BadCheckpoint` if a state does not fit, or if there are some and none checks out.
        """
        checkpoint = self.folder.latest()
        if checkpoint is None:
            return _tell_anew(self.folder)
        if not checkpoint.skipped and self.crew.place == 0:  # else an older one may be needed still
            self.folder.tidy()
        path = self.folder.path / f"state-{checkpoint.step:08d}.safetensors"
        fit_into(self.job.network, _part(checkpoint, "model."), path)
        restore_optimiser(self.job.optimiser, _part(checkpoint, "optim."))
        if self._watch is not None:
            _lay_out_moments(self.job.optimiser)
        if self._scale is not None:
            self._scale.restore(_part(checkpoint, "scale."))
        self.done = self.saved = checkpoint.step
        self._rows = self.folder.read_losses(checkpoint.step)
        return "; ".join([*_resume_words(checkpoint), *self._environment_words()])

    def run(self, note: str = "") -> None:
        """Steps until the end, with everything saved; `note` goes out with the first event.

        Raises `Interrupted` after a signal, or when the callback asks to stop (everything is
        saved), `TrainingFailed` when a number is not finite.
        """
        self.crew.check_same(self.done)
        try:
            with together():
                self._run(note)
        except PeerLost:
            # This process is between two steps: what it has is whole.
            if self.saved < self.done:
                self._save()
            raise
        if self.saved < self.done:
            self._save()

    def _run(self, note: str) -> None:
        pace = Pace("step", self.job.total, self.done)
        self.clock.restart()
        with listen() as asked:
            while self.done < self.job.total:
                self._step()
                self.crew.agree(asked)
                crash_points.point(f"step:{self.done}")
                if self.clock.is_due(self.done) or asked.stop:
                    self._save()
                if asked.stop:
                    self.on_progress(
                        pace.event(self.done, losses=self._read(), saved_step=self.saved, note=note)
                    )
                    raise asked.interrupted(self._words(), self.folder.path)
                self.job.after_steps(self.done, self._read)
                if self._is_shown():
                    losses = self._read()
                    note = note or self._tell_stuck()
                    event = pace.event(self.done, losses=losses, saved_step=self.saved, note=note)
                    note = ""
                    asked.by_caller |= bool(self.on_progress(event))
                    if asked.by_caller and self.crew.members == 1:  # others are asked next time
                        self._save()
                        raise asked.interrupted(self._words(), self.folder.path)

    def _tell_stuck(self) -> str:
        """Once, where the loss stands still."""
        told = "" if self._is_stuck_told else tell_stuck(self._rows)
        self._is_stuck_told |= bool(told)
        return told

    def _words(self) -> str:
        return f"after step {self.done} of {self.job.total}"

    def _step(self) -> None:
        batch = self.job.batch(self.done)
        step = self._at(self.done)
        losses, finite = take_step(self.job, batch, step, self._watch, self._scale)
        if not finite:
            raise self._failure(losses)
        self._unread.append(losses)
        self.done += 1
        if self._watch is None:
            self._read()

    def _at(self, index: int) -> Step:
        return Step(index, self.job.total, self.job.seed)

    def _is_shown(self) -> bool:
        late = time.monotonic() - self._last_read < _READ_SECONDS
        return self._watch is None or self.done == self.job.total or not late

    def _read(self) -> dict[str, float]:
        """Losses of the last step, once those since the last reading are checked and logged."""
        if self._watch is not None:
            bad = self._watch.first_bad()
            if bad is not None:
                raise self._replay(bad)
        every = max(1, self.job.total // _LOGGED)
        for losses in self._unread:
            self._losses = dict(zip(losses.names, losses.values.tolist(), strict=True))
            if losses.index % every == 0 or losses.index == self.job.total - 1:
                numbers = {name: repr(value) for name, value in self._losses.items()}
                self._rows.append({"step": str(losses.index), **numbers})
        self._unread.clear()
        self._last_read = time.monotonic()
        return self._losses

    def _save(self) -> None:
        """Losses first, then the state: a state never stands without the rows that belong to it."""
        self._read()
        if self.crew.place:
            self.saved = self.done
            return
        names = dict.fromkeys(name for row in self._rows for name in row if name != "step")
        self.folder.write_losses(list(names), self._rows)
        network, optimiser = self.job.network.state_dict(), flatten_optimiser(self.job.optimiser)
        tensors = {f"model.{name}": tensor for name, tensor in network.items()}
        tensors |= {f"optim.{name}": tensor for name, tensor in optimiser.items()}
        if self._scale is not None:
            tensors |= {f"scale.{name}": one for name, one in self._scale.flatten().items()}
        crash_points.point(f"before-save:{self.done}")
        self.folder.save(self.done, tensors, lambda: crash_points.point(f"in-save:{self.done}"))
        self.saved = self.done
        self.clock.restart()
        crash_points.point(f"after-save:{self.done}")

    def _environment_words(self) -> list[str]:
        before, now = self.folder.read_environment(), describe(self.job.device)
        if self.crew.members > 1 or "processes" in before:
            now["processes"] = self.crew.members
        changed = [
            f"{key}: {before.get(key)} -> {now[key]}" for key in now if before.get(key) != now[key]
        ]
        return [f"continued, not bit-identical: {'; '.join(changed)}"] if changed else []

    def _replay(self, index: int) -> TrainingFailed:
        """What to raise for a step that was found to be bad later: it is done once more, on the
        weights that it left as they were.
        """
        losses, _ = take_step(self.job, self.job.batch(index), self._at(index), None, self._scale)
        return self._failure(losses)

    def _failure(self, losses: StepLosses) -> TrainingFailed:
        values = dict(zip(losses.names, losses.values.tolist(), strict=True))
        of = "gradient" if all(map(math.isfinite, values.values())) else "loss"
        rate = self.job.optimiser.param_groups[0]["lr"]
        return TrainingFailed(
            f"a {of} is not a number at step {losses.index}",
            where=[
                "losses: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()),
                self.job.describe(losses.index),
                f"learning rate {rate:.3g}, {_largest_gradient(self.job.network)}",
            ],
            did=f"the last good state is of step {self.saved}"
            if self.saved
            else "no state was saved yet",
            fix=self.job.number_advice,
            code="F17",
        )


def take_step(
    job: Job,
    batch: object,
    step: Step,
    watch: FiniteWatch | None = None,
    scale: LossScale | None = None,
) -> tuple[StepLosses, bool]:
    """One optimiser step; weights stay as they are if the summed loss or a gradient is not finite.

    Returns the losses, and whether all was finite; with `watch`, which keeps that on the device,
    always True, and with the `scale` of float16 also where it may still adapt. Dropout and the like
    draw from a generator that is set from (seed, step) first, so a step does not depend on history.
    """
    torch.manual_seed(step.torch_seed("step"))
    job.network.train()
    for group, rate in zip(job.optimiser.param_groups, job.rates, strict=True):
        group["lr"] = rate * job.lr_factor(step)
    with in_half(job.device, job.bf16, job.fp16):
        losses = job.losses(batch, step)
    values = torch.stack([value.float() for value in losses.values()])
    told = StepLosses(step.index, tuple(losses), mean(values.detach()))
    summed = told.values.sum()
    if watch is None and scale is None and not bool(torch.isfinite(summed)):
        return told, False
    job.optimiser.zero_grad(set_to_none=True)
    total = values.sum()
    (total if scale is None else scale.multiply(total)).backward()
    average_gradients(job.network)
    if scale is not None:
        scale.divide(job.optimiser)
    moved = [weight for weight in job.network.parameters() if weight.grad is not None]
    norm = get_total_norm([weight.grad for weight in moved if weight.grad is not None])
    finite = torch.isfinite(summed) & torch.isfinite(norm)
    good = finite if scale is None else scale.learn(finite)
    if watch is None and not bool(good):
        return told, False
    clip_grads_with_norm_(moved, job.clip_norm, norm)
    if watch is not None:
        watch.step(step.index, finite, good)
    elif bool(finite):
        job.optimiser.step()
    job.after_step(step)
    return told, True


def _tell_anew(folder: States) -> str:
    """That training begins with its first step, where there are losses of an earlier try."""
    if not folder.losses.exists():
        return ""
    return f"no state was saved beside {folder.losses}: training begins anew with step 1"


def _largest_gradient(network: torch.nn.Module) -> str:
    slopes = {
        name: float(weight.grad.abs().max())
        for name, weight in network.named_parameters()
        if weight.grad is not None
    }
    if not slopes:
        return "no gradient yet"
    worst = max(slopes, key=lambda name: math.inf if math.isnan(slopes[name]) else slopes[name])
    return f"largest gradient {slopes[worst]:.3g} in {worst}"


def _part(checkpoint: Checkpoint, prefix: str) -> Mapping[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in checkpoint.tensors.items()
        if name.startswith(prefix)
    }


def _lay_out_moments(optimiser: torch.optim.Optimizer) -> None:
    """Moments as their weights lie in memory (channels last, say): fused steps count on it, and a
    file does not keep it.
    """
    for weight, state in optimiser.state.items():
        for name, moment in state.items():
            if moment.ndim and moment.shape == weight.shape:
                state[name] = torch.empty_like(weight, dtype=moment.dtype).copy_(moment)


def _resume_words(checkpoint: Checkpoint) -> list[str]:
    words = [f"resumes after step {checkpoint.step}"]
    if checkpoint.skipped:
        words.append(
            f"a newer state was unusable, so {count(checkpoint.lost, 'step is', 'steps are')} done "
            f"again ({checkpoint.skipped[0]})"
        )
    return words
