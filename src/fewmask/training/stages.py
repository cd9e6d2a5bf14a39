"""Methods with several trainings: which they are, and how one stage's network labels scans for the
next.
"""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from fewmask.blocks.device import in_half
from fewmask.core.batch import IGNORE, Batch
from fewmask.core.budget import Budget
from fewmask.core.config import apply_settings
from fewmask.core.errors import BadConfig, FewmaskError
from fewmask.core.renamed import todays_words
from fewmask.core.run_record import RunRecord
from fewmask.io.atomic import writing
from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.methods import config_class, stages, training_settings
from fewmask.methods._method import Stage
from fewmask.predict import Predictor
from fewmask.training.request import TrainRequest

Label = Callable[[Batch], Batch]


def plan_stages(request: TrainRequest) -> tuple[Stage, ...]:
    """The stages of a request, up to `until`. Raises `BadConfig` for a setting or a stage that the
    method does not have.
    """
    config = config_class(request.method)()
    settings = todays_words(request.method, request.settings)
    if request.encoder is not None:
        settings = (f"{_encoder_of(request.method, config)}={request.encoder}", *settings)
    plan = stages(request.method, apply_settings(config, settings, request.method))
    if request.until is None:
        return plan
    names = [stage.name for stage in plan[:-1]]
    if request.until not in names:
        raise BadConfig(
            f"{request.method} has no stage {request.until!r}",
            fix=f"use one of: {', '.join(names)}" if names else "leave `until` out",
            code="C02",
        )
    last = names.index(request.until)
    # Labels are for the stage that follows
    return *plan[:last], replace(plan[last], pseudo_labels_to="")


def _encoder_of(method: str, config: Any) -> str:
    """The setting that is meant by `encoder`: the method's own, or that of its stage with a SAM."""
    if hasattr(config, "encoder"):
        return "encoder"
    parts = [f.name for f in fields(config) if hasattr(getattr(config, f.name), "encoder")]
    if not parts:
        raise BadConfig(
            f"{method} has no encoder to choose",
            fix="leave `encoder` out",
            code="C02",
        )
    return f"{parts[0]}.encoder"


def folders_of(plan: tuple[Stage, ...]) -> set[str]:
    """What stages leave beside the run's own files."""
    return {name for stage in plan for name in (stage.name, stage.pseudo_labels_to) if name}


def untouched(prepared: Prepared, budget: Budget) -> list[str]:
    """Training scans of which no mask and no slice is granted: those that a stage can label for the
    next.
    """
    touched = {case for case, _ in budget.slices} | set(budget.volumes)
    return [case for case in prepared.split.train if case not in touched]


def check_plan(plan: tuple[Stage, ...], prepared: Prepared, budget: Budget) -> None:
    """Raise `BadConfig` if a stage learns from labels of an earlier one and the budget leaves no
    scan to label.

    A scan with one outlined slice is not labelled. Labels made in every step reach its other
    slices, so that they want another scan only where whole masks are granted.
    """
    wanted = any(
        (stage.pseudo_labels_to and not stage.labels_all)
        or (stage.online_teacher and budget.kind == "volumes")
        for stage in plan
    )
    if wanted and not untouched(prepared, budget):
        count = len(prepared.split.train)
        raise BadConfig(
            f"{plan[-1].method} learns from scans that SAM labels, and none is left to label",
            where=f"{budget.masks} labelled {budget.kind} lie in {count} of {count} training scans",
            fix=(
                f"use fewer `{budget.kind}`, or a method that learns from masks alone: "
                "`method=vnet` or `method=canvas_sam`"
            ),
            code="C02",
        )


def find_twin(run: RunFolder, others: Path) -> RunFolder | None:
    """A finished training below `others` that began as `run` did.

    The same config, masks, slices, split, code, versions and machine make the same weights, so
    nothing is lost by taking them but time. Settings that matter only when a scan is predicted may
    differ (`methods.training_settings`).
    """
    for weights in sorted(others.rglob(run.weights.name)):
        other = RunFolder(weights.parent)
        with suppress(FewmaskError):  # a folder that cannot be read is nobody's twin
            if _are_same(run, other):
                return other
    return None


def copy_training(twin: RunFolder, run: RunFolder) -> None:
    """Copy losses, then weights: they say that the run is finished."""
    for path in (run.losses, run.weights):
        with writing(path) as temp:
            shutil.copyfile(twin.path / path.name, temp)


def _are_same(run: RunFolder, other: RunFolder) -> bool:
    """Were both made of the same? Where the prepared dataset lies does not matter, its digest
    does.
    """
    mine, theirs = (_for_training(folder.read_record()) for folder in (run, other))
    return not mine.differences(theirs) and all(
        read(run) == read(other)
        for read in (
            RunFolder.read_recipe,
            RunFolder.read_split,
            RunFolder.read_budget,
            RunFolder.read_environment,
        )
    )


def _for_training(record: RunRecord) -> RunRecord:
    """The record without settings that matter only when a scan is predicted."""
    return replace(record, config=training_settings(record.method, record.config))


def online_labels(root: Path, stage: Stage, device: torch.device) -> Label:
    """A function that labels a batch's unlabelled patches, where it has any, by an earlier stage's
    network; beyond the scan they stay `IGNORE`. Batches lie on `device`.
    """
    predictor = Predictor.load(root / stage.online_teacher, str(device))

    def label(batch: Batch) -> Batch:
        given = batch.unlabelled
        if given is None or given.pseudo is None:
            return batch
        with torch.no_grad(), in_half(device, predictor.bf16, predictor.fp16):
            found = predictor.method.predict(given.image).probs.argmax(1)
        pseudo = torch.where(given.pseudo == IGNORE, IGNORE, found)
        return replace(batch, unlabelled=replace(given, pseudo=pseudo))

    return label
