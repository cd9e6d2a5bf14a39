"""Training of methods that are programs: the same run folder, budget and record as for networks of
ours.
"""

from collections.abc import Callable

import torch

from fewmask.core.budget import Budget
from fewmask.core.errors import BadConfig
from fewmask.core.progress import OnProgress, Pace
from fewmask.core.run_record import RunRecord
from fewmask.core.signals import listen
from fewmask.external import nnunet
from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.io.weights import load_tensors, save_tensors
from fewmask.methods import config_from
from fewmask.methods.nnunet import Config
from fewmask.predict import Predicts
from fewmask.predict.external import ExternalPredictor
from fewmask.training.request import TrainRequest


def plan_steps(config: Config, request: TrainRequest) -> int:
    """How many steps: whole epochs. Raises `BadConfig` for `--minutes`, and for steps that are no
    whole epochs.
    """
    every = config.steps_per_epoch
    if request.minutes is not None:
        raise BadConfig(
            f"{request.method} cannot be told how many minutes to train",
            fix=f"use `steps`, a multiple of {every}",
            code="C02",
        )
    steps = request.steps if request.steps is not None else every * config.epochs
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
    record: RunRecord,
    prepared: Prepared,
    budget: Budget,
    device: torch.device,
    on_progress: OnProgress,
    before_done: Callable[[Predicts], None] = lambda predictor: None,
) -> None:
    """Train, or go on from the last whole epoch; at the end the weights and what prediction needs
    are in the run folder. `before_done` gets what predicts before the weights are there.

    Raises `Interrupted` after a signal, or when the callback asks to stop.
    """
    place = nnunet.Place(run.path / nnunet.FOLDER, str(device), torch.get_num_threads())
    if not place.is_begun:
        run.check_not_lost()
    config: Config = config_from(record.method, record.config)
    total, every = record.steps, config.steps_per_epoch
    schedule = nnunet.Schedule(
        config.configuration, config.memory_gb, total // every, every, record.seed
    )
    pace = Pace("step", total)
    with listen() as asked:

        def show(epoch: int, loss: float | None) -> None:
            nonlocal pace
            done = epoch * every
            if loss is None:  # training begins, or resumes
                pace = Pace("step", total, done)
                return
            row = {"step": str(done - 1), "train_loss": repr(loss)}
            run.write_losses(["train_loss"], [*run.read_losses(done - 1), row])
            event = pace.event(done, losses={"train_loss": loss}, saved_step=done)
            asked.by_caller |= bool(on_progress(event))

        on_progress(pace.event(0, note="nnU-Net plans and prepares"))
        try:
            weights = nnunet.fit(prepared, budget, place, schedule, show, lambda: asked.stop)
        except InterruptedError as error:
            raise asked.interrupted("after nnU-Net's last whole epoch", run.path) from error
    before_done(ExternalPredictor(run, str(device), weights))
    save_tensors(run.weights, load_tensors(weights))
    nnunet.clean(place.folder)


def describe_external() -> dict[str, str]:
    """Versions of what really trains."""
    return {f"nnunet: {name}": version for name, version in nnunet.require().items()}
