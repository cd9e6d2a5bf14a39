"""Methods with several trainings: which they are, and how one stage's network labels scans for the next."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import torch

from fewmask.core.batch import Batch
from fewmask.core.budget import Budget
from fewmask.core.config import apply_settings
from fewmask.core.errors import BadConfig
from fewmask.core.volume import LabelMap
from fewmask.io.nifti import write_labels
from fewmask.io.prepared import Prepared
from fewmask.io.tables import write_csv
from fewmask.methods import config_class, stages
from fewmask.methods._method import Stage
from fewmask.predict import Predictor
from fewmask.predict.folder import load_prepared
from fewmask.training.request import Progress, TrainRequest

Label = Callable[[Batch], Batch]
CONFIDENCE = "confidence.csv"
"""Written last: a folder of pseudo-labels with this table is whole."""


def plan_stages(request: TrainRequest) -> tuple[Stage, ...]:
    """The stages of a request, up to `until`. Raises `BadConfig` for a setting or a stage that the method does not have."""
    kind = config_class(request.method)
    config = kind()
    if request.encoder is not None:
        if "encoder" not in {f.name for f in fields(kind)}:
            raise BadConfig(
                f"{request.method} has no encoder to choose", did="nothing was started", fix="leave --encoder out", row="C02"
            )
        config = replace(config, encoder=request.encoder)
    plan = stages(request.method, apply_settings(config, request.settings, request.method))
    if request.until is None:
        return plan
    names = [stage.name for stage in plan[:-1]]
    if request.until not in names:
        raise BadConfig(
            f"{request.method} has no stage {request.until!r}",
            did="nothing was started",
            fix=f"use one of: {', '.join(names)}" if names else "leave --until out",
            row="C02",
        )
    return plan[: names.index(request.until) + 1]


def folders_of(plan: tuple[Stage, ...]) -> set[str]:
    """What stages leave beside the run's own files."""
    return {name for stage in plan for name in (stage.name, stage.writes) if name}


def label_scans(
    root: Path, stage: Stage, prepared: Prepared, budget: Budget, device: torch.device, tell: Callable[[Progress], None]
) -> None:
    """Label every training scan without a granted mask, once: `CASE.nii.gz`, `CASE.confidence.nii.gz` (0 to 255), and a table."""
    folder = root / stage.writes
    if (folder / CONFIDENCE).exists():
        return
    folder.mkdir(exist_ok=True)
    predictor = Predictor.load(root / stage.name, str(device))
    predictor.with_confidence = True
    labelled = {case for case, _ in budget.slices} | set(budget.volumes)
    cases = [case for case in prepared.split.train if case not in labelled]
    rows = []
    for done, case in enumerate(cases, 1):
        if stage.but and (root / stage.but / f"{case}.nii.gz").exists():
            continue
        prediction = predictor.volume(load_prepared(prepared, case))
        assert prediction.confidence is not None  # noqa: S101  asked for above
        mean = float(prediction.confidence.mean()) / 255
        rows.append({"case": case, "confidence": f"{mean:.4f}", "labelled": int(mean >= stage.surer_than)})
        if mean >= stage.surer_than:
            write_labels(folder / f"{case}.confidence.nii.gz", LabelMap(prediction.confidence, prediction.label_map.grid))
            write_labels(folder / f"{case}.nii.gz", prediction.label_map)
        tell(Progress(done, len(cases), 0.0, 0.0, {}, done, f"{stage.name}: {done} of {len(cases)} scans labelled"))
    write_csv(folder / CONFIDENCE, ["case", "confidence", "labelled"], rows)


def online_labels(root: Path, stage: Stage, device: torch.device) -> Label:
    """A function that labels the unlabelled patches of a batch by an earlier stage's network."""
    predictor = Predictor.load(root / stage.asks, str(device))

    def label(batch: Batch) -> Batch:
        assert batch.unlabelled is not None  # noqa: S101  the method's feed has them
        image = batch.unlabelled.image.to(device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=predictor.bf16):
            pseudo = predictor.method.predict(image).probs.argmax(1)
        return replace(batch, unlabelled=replace(batch.unlabelled, pseudo=pseudo.cpu()))

    return label
