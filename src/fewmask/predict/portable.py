"""What another program needs beside a run's network to draw its masks, as plain data that explains
itself.
"""

from typing import Any

from fewmask.io.run import RunFolder
from fewmask.predict.onnx import IMAGE, PRESENT, PROBABILITIES, presence_of
from fewmask.predict.predictor import Predictor
from fewmask.version import __version__

EXPLAINED = {
    "classes": "Value of each class in the mask; where classes are equally probable, the lower.",
    "input": "float32, grey levels from 0 to 1 as `grey_levels` makes them. Sides as numbers are "
    "fixed; names are free.",
    "outputs": "`probabilities`: of every class, background first. `present`, if it is there: "
    "probability that the slice holds each structure.",
    "axes": "How the scan is turned first. Plane axial: d runs from the feet to the head, h from "
    "front to back, w from the patient's right to the left; sagittal: d to the left, h to the "
    "feet, w to the back; coronal: d to the back, h to the feet, w to the left. 2D networks see "
    "slices (h, w), 3D ones windows (d, h, w).",
    "grey_levels": "Intensities (with the file's slope and intercept) from `low` to `high` become "
    "0 to 1, clipped outside. `unit` HU: they are those numbers. `unit` percentile: of all finite "
    "intensities of the scan (of at most 2,000,000, every n-th). `per_slice`: then every slice is "
    "stretched to its own minimum and maximum.",
    "pixels": "Grey levels first, then resampling, each axis by itself and the middle staying the "
    "middle: linear where pixels shrink, a triangle as wide as the new pixel (renormalised at the "
    "border) where they grow. `spacing_mm` of h and w; `slice_mm` of d for 3D networks, 0 = the "
    "scan's own. `size`: the side of the square that a 2D network sees, zeros around. `stretch`: "
    "the whole slice is resized to that square instead. Probabilities go back the same way, and "
    "only then the most probable class is taken.",
    "windows": "How a larger scan is seen. 2D: squares of `size` (or the whole slice, its sides "
    "brought to multiples of `whole_multiple`), evenly spread, overlapping by a quarter at least; "
    "probabilities averaged by weights that fall linearly to a square's edge. 3D: windows of "
    "`patch` every `stride` voxels, the last one ending with the scan, averaged with equal "
    "weights; smaller scans with zeros around.",
    "presence": "`none`: masks as drawn. `slice`: a structure whose `present` is below "
    "`threshold` in a slice gives its probability to the background. `scan`: the same, but first "
    "yes and no along d are chosen together so that they fit the log-odds of `present` (clipped "
    "to 1e-4 and 1 - 1e-4) best, with `cost` taken off for every change; a structure that would "
    "vanish from the scan stays as slices say.",
    "cleanup": "After that, on the mask; per structure in the order of `classes`. `keep`: all "
    "parts (joined by faces of voxels), the largest, or those above `share` of the largest. "
    "`fill_holes`: background that the structure encloses within a slice becomes the structure. "
    "null: nothing is done.",
    "checked": "Scans whose masks ONNX Runtime and fewmask drew alike (before clean-up), their "
    "voxels, and voxels that differ. `bfloat16`: of fewmask's own masks in the run's precision, "
    "where that is not float32.",
}
"""A sentence or more on every field."""


def describe_network(predictor: Predictor, run: RunFolder) -> dict[str, Any]:
    """The JSON beside an exported network, without what it was checked on. No paths, no names of
    cases.
    """
    record, recipe, method = run.read_record(), predictor.recipe, predictor.method
    patch, presence = method.batch_spec.patch, presence_of(record)
    free = ["rows", "columns"]
    sides = list(patch) if patch else free if method.any_size else [recipe.size] * 2
    ct = recipe.modality == "ct"
    low, high = recipe.window_hu if ct else recipe.percentiles
    outputs = {PROBABILITIES: ["batch", predictor.task.k + 1, *sides]}
    if presence != "none":
        outputs[PRESENT] = ["batch", predictor.task.k]
    windows = predictor.windows
    return {
        "format": 1,
        "made_by": f"fewmask {__version__}",
        "method": record.method,
        "classes": {"background": 0, **{c: n for n, c in enumerate(predictor.task.classes, 1)}},
        "input": {IMAGE: ["batch", 1, *sides]},
        "outputs": outputs,
        "axes": {"plane": recipe.plane, "order": ["d", "h", "w"]},
        "grey_levels": {
            "unit": "HU" if ct else "percentile",
            "low": low,
            "high": high,
            "per_slice": recipe.per_slice,
        },
        "pixels": {
            "spacing_mm": recipe.spacing_mm,
            "slice_mm": recipe.slice_mm if patch else None,
            "size": None if patch else recipe.size,
            "stretch": recipe.stretch,
        },
        "windows": {
            "patch": windows and list(windows.patch),
            "stride": windows and list(windows.stride or (side // 2 for side in windows.patch)),
            "whole_multiple": 32 if method.any_size else None,
        },
        "presence": {
            "rule": presence,
            "threshold": 0.5,
            "cost": float(getattr(method, "neighbours", 0.0)),
        },
        "cleanup": run.read_cleanup(),
        "explained": EXPLAINED,
    }
