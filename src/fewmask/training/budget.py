"""Which masks a run may see: as many as were asked for, those of a file, or all there are."""

from pathlib import Path

from fewmask.core.batch import Task
from fewmask.core.budget import Budget
from fewmask.core.errors import BadConfig
from fewmask.io.prepared import Prepared, read_budget
from fewmask.methods import build, is_external
from fewmask.training.request import TrainRequest
from fewmask.training.stages import plan_stages


def draw_budget(request: TrainRequest, prepared: Prepared) -> Budget:
    """Draw the masks that may be seen from the training part, or take those that a file names.

    Where the request names no number they are all: whole masks for a method of patches, if there
    are any, else outlined slices. Drawn by that number they are the same.
    """
    if request.budget is not None:
        return named_budget(request.budget, prepared)
    slices, volumes = request.slices, request.volumes
    if slices is None and volumes is None:
        whole = prepared.whole_masks()
        if whole and patch_of(request, prepared) is not None:
            volumes = len(whole)
        else:
            slices = sum(map(len, prepared.candidates(prepared.split.train).values()))
    return prepared.draw_budget(slices, volumes or 0, request.draw, request.in_order)


def named_budget(path: Path, prepared: Prepared) -> Budget:
    """The masks that a file names, as a run's `budget.toml` does: `[case, d]` pairs, d counted from
    the feet. A slice may be one that was declared empty.

    Raises `BadConfig` (C02) for a mask that is not there, is named twice, or is not of the training
    part, `BadDataset` for a file that cannot be read.
    """
    budget = read_budget(path)
    training = set(prepared.split.train)
    whole = set(prepared.whole_masks())
    wrong = [
        f"{case} slice {d}"
        for case, d in budget.slices
        if case not in training
        or d not in prepared.reviewed[case]
        or d not in prepared.recipe.slices(prepared.cases[case].shape[0])
    ]
    wrong += [case for case in budget.volumes if case not in whole]
    other = budget.volumes if budget.kind == "slices" else budget.slices
    named = budget.slices if budget.kind == "slices" else budget.volumes
    if not wrong and not other and named and len(set(named)) == len(named):
        return budget
    what = "names masks that no person outlined in the training part" if wrong else "cannot be used"
    raise BadConfig(
        f"{path.name} {what}",
        where=[str(path), *wrong[:8]] if wrong else [str(path), f"{budget.masks} {budget.kind}"],
        did="nothing was trained",
        fix="name each mask of the training part once, of one kind (`slices` or `volumes`)",
        code="C02",
    )


def tell_all(request: TrainRequest, budget: Budget) -> str:
    """How many masks there are, where all of them were taken; else nothing."""
    if (request.slices, request.volumes, request.budget) != (None, None, None):
        return ""
    if budget.kind == "volumes":
        return f"learns from all whole masks there are: {budget.masks}"
    scans = len({case for case, _ in budget.slices})
    return f"learns from all outlined slices there are: {budget.masks}, of scans: {scans}"


def patch_of(request: TrainRequest, prepared: Prepared) -> tuple[int, int, int] | None:
    """Voxels (d, h, w) of the patches that a 3D method sees; None for methods that see slices, and
    for programs that are not ours.
    """
    stage, recipe = plan_stages(request)[-1], prepared.recipe
    if is_external(stage.method):
        return None
    task = Task(prepared.classes, recipe.size, recipe.modality, recipe.spacing_mm)
    return build(stage.method, stage.config, task).batch_spec.patch
