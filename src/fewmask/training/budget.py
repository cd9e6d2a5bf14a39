"""Which masks a run may see: as many as were asked for, or all there are."""

from fewmask.core.batch import Task
from fewmask.core.budget import Budget
from fewmask.io.prepared import Prepared
from fewmask.methods import build, is_external
from fewmask.training.request import TrainRequest
from fewmask.training.stages import plan_stages


def draw_budget(request: TrainRequest, prepared: Prepared) -> Budget:
    """Draw the masks that may be seen from the training part.

    Where the request names no number they are all: whole masks for a method of patches, if there
    are any, else outlined slices. Drawn by that number they are the same.
    """
    slices, volumes = request.slices, request.volumes
    if slices is None and volumes is None:
        whole = prepared.whole_masks()
        if whole and _takes_patches(request, prepared):
            volumes = len(whole)
        else:
            slices = sum(map(len, prepared.candidates(prepared.split.train).values()))
    return prepared.draw_budget(slices, volumes or 0, request.draw, request.in_order)


def tell_all(request: TrainRequest, budget: Budget) -> str:
    """How many masks there are, where all of them were taken; else nothing."""
    if request.slices is not None or request.volumes is not None:
        return ""
    if budget.kind == "volumes":
        return f"learns from all whole masks there are: {budget.masks}"
    scans = len({case for case, _ in budget.slices})
    return f"learns from all outlined slices there are: {budget.masks}, of scans: {scans}"


def _takes_patches(request: TrainRequest, prepared: Prepared) -> bool:
    """Is it a 3D method?"""
    stage, recipe = plan_stages(request)[-1], prepared.recipe
    if is_external(stage.method):
        return False
    task = Task(prepared.classes, recipe.size, recipe.modality, recipe.spacing_mm)
    return build(stage.method, stage.config, task).batch_spec.patch is not None
