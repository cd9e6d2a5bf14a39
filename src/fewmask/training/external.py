"""Training of methods that are programs: the same run folder, budget and record as for networks of
ours.
"""

import time
from collections.abc import Callable
from typing import Any

import torch

from fewmask.core.budget import Budget
from fewmask.core.errors import BadConfig, Interrupted
from fewmask.external import nnunet
from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.io.weights import load_tensors, save_tensors
from fewmask.training.request import ProgressEvent, TrainRequest
from fewmask.training.signals import listen

OnProgress = Callable[[ProgressEvent], None]


def plan_steps(config: dict[str, Any], request: TrainRequest) -> int:
    """How many steps: whole epochs. Raises `BadConfig` for `minutes`, and for steps that are no
    whole epochs.
    """
    chosen = config["config"]
    every = int(chosen["steps_per_epoch"])
    if request.minutes is not None:
        raise BadConfig(
            f"{request.method} cannot be told how many minutes to train",
            fix=f"use `steps`, a multiple of {every}",
            code="C02",
        )
    steps = request.steps if request.steps is not None else every * int(chosen["epochs"])
    if steps % every:
        raise BadConfig(
            f"{request.method} trains whole epochs of {every} steps, and {steps} steps were "
            "asked for",
            fix=f"use `steps={max(1, round(steps / every)) * every}`, or `steps_per_epoch={steps}`",
            code="C02",
        )
    return steps


def train_external(
    run: RunFolder,
    config: dict[str, Any],
    prepared: Prepared,
    budget: Budget,
    device: torch.device,
    tell: Callable[[ProgressEvent], None],
) -> None:
    """Train, or go on from the last whole epoch; at the end the weights and what prediction needs
    are in the run folder.
    """
    place = nnunet.Place(run.path / nnunet.FOLDER, str(device), torch.get_num_threads())
    chosen, total = config["config"], int(config["steps"])
    every = int(chosen["steps_per_epoch"])
    schedule = nnunet.Schedule(
        chosen["configuration"], chosen["memory_gb"], total // every, every, int(config["seed"])
    )
    first, start = -1, time.monotonic()

    def show(epoch: int, loss: float | None) -> None:
        nonlocal first, start
        if loss is None:  # training begins, or resumes
            first, start = epoch, time.monotonic()
            return
        done = epoch * every
        row = {"step": str(done - 1), "train_loss": repr(loss)}
        run.write_losses(["train_loss"], [*run.read_losses(done - 1), row])
        rate = (time.monotonic() - start) / ((epoch - first) * every)
        tell(ProgressEvent(done, total, rate, rate * (total - done), {"train_loss": loss}, done))

    tell(ProgressEvent(0, total, 0.0, 0.0, {}, 0, "nnU-Net plans and prepares"))
    with listen() as asked:
        try:
            weights = nnunet.fit(
                prepared, budget, place, schedule, show, lambda: asked.signal is not None
            )
        except InterruptedError as error:
            raise Interrupted(
                "stopped by a signal",
                where=str(run.path),
                did="nnU-Net's last whole epoch is saved",
                fix="the same command resumes from there",
                exit_code=asked.exit_code,
                code="F02",
            ) from error
    save_tensors(run.weights, load_tensors(weights))
    nnunet.clean(place.folder)


def describe_external() -> dict[str, str]:
    """Versions of what really trains."""
    return {f"nnunet: {name}": version for name, version in nnunet.require().items()}
