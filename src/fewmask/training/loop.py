"""The one training loop: every method, every budget, resumable to the bit."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from fewmask.blocks.device import choose_device
from fewmask.blocks.memory import channels_last
from fewmask.core.batch import Batch, BatchSpec, Step, Task
from fewmask.core.budget import Budget
from fewmask.core.config import parse
from fewmask.core.errors import BadConfig, NoRoom, TrainingFailed
from fewmask.core.randomness import seed_of
from fewmask.core.volume import Volume
from fewmask.data import open_loader
from fewmask.data.loader import Loader
from fewmask.io.atomic import clean_parts, no_room
from fewmask.io.lock import folder_lock
from fewmask.io.prepared import Prepared
from fewmask.io.run import Checkpoint, RunFolder
from fewmask.io.weights import (
    fit_into,
    flatten_optimiser,
    load_into,
    restore_optimiser,
    save_tensors,
)
from fewmask.methods import build, config_from, is_external
from fewmask.methods._method import Method, Stage
from fewmask.predict import Predictor
from fewmask.predict.folder import load_prepared
from fewmask.training import crash_points
from fewmask.training.batch_norm import renew_norms
from fewmask.training.external import describe_external, plan_steps, train_external
from fewmask.training.hardware import choose_bf16, describe, mean_step
from fewmask.training.pretrained import find_weights, load_pretrained, recall_embeddings
from fewmask.training.request import ProgressEvent, TrainRequest
from fewmask.training.signals import listen
from fewmask.training.stages import (
    Label,
    check_plan,
    folders_of,
    label_scans,
    online_labels,
    plan_stages,
    reuse_run,
)

_DEFAULT_MINUTES = 10.0
_TRIAL = 1000
"""Steps of the pretended run on which a step is timed."""
_LOGGED = 2000
"""About as many rows in losses.csv."""
OnProgress = Callable[[ProgressEvent], None]


def train(request: TrainRequest, progress: OnProgress | None = None) -> Path:
    """Train, or go on with an unfinished run in `request.out`; returns the run folder's path.

    Raises `BadConfig` when the run folder was made from another request (C06) or lies in the
    dataset (F11), `Interrupted` after a signal (everything is saved), `TrainingFailed` when a loss
    is not a number (F17), `NoRoom` for the machine's limits.
    """
    prepared = Prepared.open(request.prepared)
    if request.out.resolve().is_relative_to(request.prepared.resolve()):
        raise BadConfig(
            "the run folder lies inside the prepared dataset, which takes no other files",
            where=str(request.out),
            fix="choose another folder with `out`",
            code="F11",
        )
    if request.threads:
        torch.set_num_threads(request.threads)
    device = choose_device(request.device)
    budget = draw_budget(request, prepared)
    plan = plan_stages(request)
    check_plan(plan, prepared, budget)
    if not RunFolder(request.out).weights.exists():
        for stage in plan[:-1]:
            _train_stage(
                request, plan, stage, prepared, budget, device, progress or (lambda state: None)
            )
    return _train_stage(
        request, plan, plan[-1], prepared, budget, device, progress or (lambda state: None)
    )


def _train_stage(
    request: TrainRequest,
    plan: tuple[Stage, ...],
    stage: Stage,
    prepared: Prepared,
    budget: Budget,
    device: torch.device,
    tell: OnProgress,
) -> Path:
    """One training of a method; most methods have no other."""
    out = request.out / stage.name
    run = RunFolder(out)
    config = _config(stage, request, prepared)
    external = is_external(stage.method)
    if not budget.masks and (external or _build(config).batch_spec.labelled):
        raise BadConfig(
            f"{request.method} learns from outlined slices, and the budget grants none",
            fix="use `slices=1` or more",
            code="C02",
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise no_room(error, out) from error
    with folder_lock(out, "train"):
        clean_parts(out)
        if run.exists:
            config = _same(run, config, budget, replace(request, minutes=_minutes(request, stage)))
        else:
            machine = describe(device) | (describe_external() if external else {})
            config = _plan_run(config, request, stage, prepared, budget, device)
            run.create(
                config,
                prepared.recipe.as_dict(),
                prepared.split,
                budget,
                machine,
                beside=folders_of(plan),
            )
        # Only a first training may be another run's: what a later one builds on is not all in its
        # config.
        others = request.reuse_from if stage is plan[0] and not external else None
        if others and not run.weights.exists() and (twin := reuse_run(run, others)):
            steps = config["steps"]
            what = f"{stage.name}: " if stage.name else ""
            tell(
                ProgressEvent(
                    steps, steps, 0.0, 0.0, {}, steps, f"{what}trained already, taken from {twin}"
                )
            )
        if not run.weights.exists():
            if external:
                train_external(run, config, prepared, budget, device, tell)
            else:
                with _open(request, stage, config, prepared, budget) as loader:
                    _Loop(run, config, prepared, loader, device, request, stage, tell).go()
        if stage.pseudo_labels_to:
            label_scans(request.out, stage, prepared, budget, device, tell)
    return out


class _Loop:
    """State of one run while it runs."""

    def __init__(
        self,
        run: RunFolder,
        config: dict[str, Any],
        prepared: Prepared,
        loader: Loader,
        device: torch.device,
        request: TrainRequest,
        stage: Stage,
        tell: OnProgress,
    ) -> None:
        self.run, self.config, self.prepared, self.loader, self.device = (
            run,
            config,
            prepared,
            loader,
            device,
        )
        self.request, self.tell = request, tell
        self.stage = stage
        self.label: Label | None = (
            online_labels(request.out, stage, device) if stage.online_teacher else None
        )
        self.method = _build(config).to(device)
        self.optimiser = self.method.optimiser()
        self.rates = [float(group["lr"]) for group in self.optimiser.param_groups]
        self.total = int(config["steps"])
        self.done = self.saved = 0
        self.rows: list[dict[str, str]] = []
        self.names: list[str] = []

    def go(self) -> None:
        """Steps until the end or a signal."""
        note = self._resume(self.run.latest())
        if not self.done and self.config["pretrained"] is not None:
            load_pretrained(self.method, self.config["pretrained"])
        if not self.done and self.stage.init_from:
            load_into(self.method, self.request.out / self.stage.init_from / "weights.safetensors")
        slices = self.loader.report()[
            "labelled_slices" if not self.method.batch_spec.unlabelled else "slices"
        ]
        kept = recall_embeddings(self.method, self.request, slices, self.config["bf16"])
        note = "; ".join(text for text in (note, kept, self.method.note) if text)
        every = max(1, self.total // _LOGGED)
        start = last_save = time.monotonic()
        first = self.done
        with listen() as asked:
            while self.done < self.total:
                losses = self._step(self.done)
                if self.done % every == 0 or self.done == self.total - 1:
                    self._log(losses)
                self.done += 1
                crash_points.point(f"step:{self.done}")
                if self._is_time_to_save(last_save) or asked.signal is not None:
                    self._save()
                    last_save = time.monotonic()
                if asked.signal is not None:
                    raise asked.interrupted(
                        f"after step {self.done} of {self.total}", self.run.path
                    )
                rate = (time.monotonic() - start) / (self.done - first)
                left = rate * (self.total - self.done)
                self.tell(
                    ProgressEvent(self.done, self.total, rate, left, losses, self.saved, note)
                )
                note = ""
        self._save()
        if self.method.renew_norms:
            self._renew_norms()
        save_tensors(self.run.weights, self.method.state_dict())

    def _renew_norms(self) -> None:
        task = parse(Task, self.config["task"], "task")
        predictor = Predictor(
            self.method, self.prepared.recipe, task, self.device, self.config["bf16"]
        )
        renew_norms(predictor, self._scans())

    def _scans(self) -> Iterator[Volume]:
        """All scans of the training patients, told one by one."""
        cases = self.prepared.split.train
        for done, case in enumerate(cases, 1):
            yield load_prepared(self.prepared, case)
            self.tell(
                ProgressEvent(
                    done,
                    len(cases),
                    0.0,
                    0.0,
                    {},
                    self.saved,
                    f"batch norms: {done} of {len(cases)} scans seen",
                )
            )

    def _step(self, index: int) -> dict[str, float]:
        batch = self.loader.batch(index)
        if self.label is not None:
            batch = self.label(batch)
        losses, total = take_step(
            self.method,
            self.optimiser,
            batch,
            self._at(index),
            self.device,
            self.config["bf16"],
            self.rates,
        )
        if not math.isfinite(total):
            raise self._not_a_number(index, batch, losses)
        return losses

    def _at(self, index: int) -> Step:
        return Step(index, self.total, int(self.config["seed"]))

    def _is_time_to_save(self, last_save: float) -> bool:
        by_count = self.request.save_steps is not None and self.done % self.request.save_steps == 0
        return by_count or time.monotonic() - last_save > 60 * self.request.save_minutes

    def _save(self) -> None:
        """Losses first, then the state: a state never stands without the rows that belong to it."""
        self.run.write_losses(self.names, self.rows)
        tensors = {f"model.{name}": tensor for name, tensor in self.method.state_dict().items()}
        tensors |= {
            f"optim.{name}": tensor for name, tensor in flatten_optimiser(self.optimiser).items()
        }
        crash_points.point(f"before-save:{self.done}")
        self.run.save(self.done, tensors, lambda: crash_points.point(f"in-save:{self.done}"))
        self.saved = self.done
        crash_points.point(f"after-save:{self.done}")

    def _resume(self, checkpoint: Checkpoint | None) -> str:
        if checkpoint is None:
            return ""
        weights = {
            n.removeprefix("model."): t
            for n, t in checkpoint.tensors.items()
            if n.startswith("model.")
        }
        fit_into(self.method, weights, self.run.path / f"state-{checkpoint.step:08d}.safetensors")
        moments = {
            n.removeprefix("optim."): t
            for n, t in checkpoint.tensors.items()
            if n.startswith("optim.")
        }
        restore_optimiser(self.optimiser, moments)
        self.done = self.saved = checkpoint.step
        self.rows = self.run.read_losses(checkpoint.step)
        self.names = [name for name in self.rows[0] if name != "step"] if self.rows else []
        before, now = self.run.read_environment(), describe(self.device)
        changed = [
            f"{key}: {before.get(key)} -> {now[key]}" for key in now if before.get(key) != now[key]
        ]
        note = f"resumes after step {checkpoint.step}"
        if checkpoint.skipped:
            note += (
                f"; a newer state was unusable, so {checkpoint.lost} steps are done again "
                f"({checkpoint.skipped[0]})"
            )
        return note + (f"; continued, not bit-identical: {'; '.join(changed)}" if changed else "")

    def _log(self, losses: dict[str, float]) -> None:
        new = [name for name in losses if name not in self.names]
        self.names += new
        self.rows.append(
            {"step": str(self.done), **{name: repr(value) for name, value in losses.items()}}
        )

    def _not_a_number(self, index: int, batch: Batch, losses: dict[str, float]) -> TrainingFailed:
        slopes = {
            n: float(p.grad.abs().max())
            for n, p in self.method.named_parameters()
            if p.grad is not None
        }
        worst = (
            max(slopes, key=lambda name: math.inf if math.isnan(slopes[name]) else slopes[name])
            if slopes
            else ""
        )
        largest = f"largest gradient {slopes[worst]:.3g} in {worst}" if worst else "no gradient yet"
        of = "loss" if any(not math.isfinite(value) for value in losses.values()) else "gradient"
        return TrainingFailed(
            f"a {of} is not a number at step {index}",
            where=[
                "losses: " + ", ".join(f"{name} {value:.4g}" for name, value in losses.items()),
                "slices: "
                + "; ".join(f"{stream} {' '.join(items)}" for stream, items in batch.names.items()),
                f"learning rate {self.optimiser.param_groups[0]['lr']:.3g}, {largest}",
            ],
            did=f"the last good state is of step {self.saved}"
            if self.saved
            else "no state was saved yet",
            fix="try a tenth of this lr, or `fewmask check` on these cases",
            code="F17",
        )


def take_step(
    method: Method,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    step: Step,
    device: torch.device,
    bf16: bool,
    rates: list[float],
) -> tuple[dict[str, float], float]:
    """One optimiser step; weights stay as they are if the summed loss or a gradient is not finite.

    Returns the losses and their sum, which is NaN if only a gradient is not finite.

    Dropout and the like draw from a generator that is set from (seed, step) first, so a step does
    not depend on history.
    """
    torch.manual_seed(step.torch_seed("step"))
    method.train()
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate * method.schedule(step)
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            losses = method.losses(batch.to(device), step)
        total = torch.stack([value.float() for value in losses.values()]).sum()
        if bool(torch.isfinite(total)):
            optimiser.zero_grad(set_to_none=True)
            total.backward()
            moved = [weight for weight in method.parameters() if weight.grad is not None]
            norm = torch.nn.utils.get_total_norm(
                [weight.grad for weight in moved if weight.grad is not None]
            )
            if bool(torch.isfinite(norm)):
                torch.nn.utils.clip_grads_with_norm_(moved, method.clip_norm, norm)
                optimiser.step()
                method.after_step(step)
            else:
                total = norm * math.nan
    except torch.OutOfMemoryError as error:
        raise NoRoom(
            "the GPU's memory is full",
            where=str(error).splitlines()[0],
            did="the last save is whole",
            fix="make labelled and weak smaller, as in `labelled=2` and `weak=2`",
            code="F07",
        ) from error
    return {name: float(value.detach()) for name, value in losses.items()}, float(total.detach())


def draw_budget(request: TrainRequest, prepared: Prepared) -> Budget:
    """Draw the masks that may be seen from the training part."""
    return prepared.draw_budget(
        request.slices, request.volumes or 0, request.draw, request.in_order
    )


def _config(stage: Stage, request: TrainRequest, prepared: Prepared) -> dict[str, Any]:
    """Everything the run depends on but the number of steps and bf16, which are settled on the
    machine.
    """
    task = Task(
        prepared.classes, prepared.recipe.size, prepared.recipe.modality, prepared.recipe.spacing_mm
    )
    return {
        "method": stage.method,
        "config": asdict(stage.config),
        "task": asdict(task),
        "seed": request.seed,
        "checkpoint": "last",
        "pretrained": find_weights(asdict(stage.config)),
        "prepared": str(request.prepared.resolve()),
        "data_digest": prepared.digest,
        "labels": prepared.options["labels"],
        "scans": {case: row.voxels_sha256 for case, row in prepared.cases.items()},
    }


def _minutes(request: TrainRequest, stage: Stage) -> float | None:
    """What the stage gets of the run's minutes."""
    return None if request.minutes is None else request.minutes * stage.share


def _open(
    request: TrainRequest, stage: Stage, config: dict[str, Any], prepared: Prepared, budget: Budget
) -> Loader:
    """The loader of a stage, with the pseudo-labels that an earlier one left. Raises `BadConfig` if
    it wants some and none did.
    """
    pseudo = request.out / stage.pseudo_labels_from if stage.pseudo_labels_from else None
    loader = _build(config).batch_spec
    if loader.pseudo != "off" and not (stage.pseudo_labels_from or stage.online_teacher):
        raise BadConfig(
            f"pseudo_weight wants labels that an earlier training left, and {stage.method} is "
            "the first here",
            did="nothing was trained",
            fix="leave pseudo_weight out",
            code="C02",
        )
    return open_loader(
        prepared, budget, loader, config["seed"], pseudo, config["config"].get("trust", 0.0)
    )


def _plan_run(
    config: dict[str, Any],
    request: TrainRequest,
    stage: Stage,
    prepared: Prepared,
    budget: Budget,
    device: torch.device,
) -> dict[str, Any]:
    """Measure on a throw-away copy: does bf16 pay, how many steps fit. Adds what the budget cost a
    person.
    """
    if is_external(request.method):
        with open_loader(prepared, budget, BatchSpec(labelled=1), config["seed"]) as loader:
            return {
                **config,
                "steps": plan_steps(config, request),
                "bf16": False,
                "minutes": None,
                "provided": loader.report(),
            }
    label = online_labels(request.out, stage, device) if stage.online_teacher else None
    with _open(request, stage, config, prepared, budget) as loader:
        method = _build(config).to(device)
        optimiser = method.optimiser()
        batch = loader.batch(0)

        def try_step(bf16: bool, batch: Batch = batch, index: int = 0) -> None:
            batch = batch if label is None else label(batch)
            take_step(
                method,
                optimiser,
                batch,
                Step(index, _TRIAL),
                device,
                bf16,
                [0.0] * len(optimiser.param_groups),
            )

        bf16 = choose_bf16(request.amp, device, try_step)
        steps = request.steps
        if steps is None:
            seconds = mean_step(lambda index: try_step(bf16, loader.batch(index), index), _TRIAL)
            minutes = (
                _DEFAULT_MINUTES * stage.share
                if request.minutes is None
                else _minutes(request, stage)
            )
            steps = max(1, round(60 * (minutes or 0) / seconds))
        return {
            **config,
            "steps": steps,
            "bf16": bf16,
            "minutes": _minutes(request, stage),
            "provided": loader.report(),
        }


def _build(config: dict[str, Any]) -> Method:
    """A fresh method, the same for the same seed."""
    torch.manual_seed(seed_of(config["seed"], "init") % 2**63)
    method = build(
        config["method"],
        config_from(config["method"], config["config"]),
        parse(Task, config["task"], "task"),
    )
    return channels_last(method)


def _same(
    run: RunFolder, config: dict[str, Any], budget: Budget, request: TrainRequest
) -> dict[str, Any]:
    """The saved config, if the request asks for the same run."""
    saved = run.read_config()
    said = {
        "steps": request.steps,
        "minutes": request.minutes,
        "bf16": {"on": True, "off": False}.get(request.amp),
    }
    config = config | {key: value for key, value in said.items() if value is not None}
    asked, before = _flat(config), _flat(saved)
    differences = [
        f"{key}: {before.get(key)} -> {value}"
        for key, value in asked.items()
        if value != before.get(key)
    ]
    if run.read_budget() != budget:
        differences.append("budget: other masks than before")
    if differences:
        raise BadConfig(
            "the run folder was made from another request",
            where=[str(run.path), *differences[:8]],
            fix="use the first command again, or another folder with `out`",
            code="C06",
        )
    return saved


def _flat(record: dict[str, Any], place: str = "") -> dict[str, Any]:
    """`{"config": {"lr": 1}}` as `{"config.lr": 1}`, as it comes back from JSON; the folder's place
    does not matter.
    """
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{place}{key}.")
        elif key != "prepared":
            flat[place + key] = list(value) if isinstance(value, tuple) else value
    return flat
