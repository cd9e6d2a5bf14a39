"""nnU-Net's raw data set from a prepared one: the scans of a budget, and of their masks what the
budget grants.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from fewmask.core.budget import Budget
from fewmask.core.errors import BadConfig
from fewmask.core.volume import LabelMap
from fewmask.data.label_guard import LabelGuard
from fewmask.io.atomic import is_part, make_folder, write_text
from fewmask.io.nifti import is_written_here, write_labels, write_volume
from fewmask.io.outputs import check_folder
from fewmask.io.prepared import Prepared


@dataclass(frozen=True)
class RawDataset:
    """What was written."""

    folder: Path
    cases: tuple[str, ...]
    ignored: bool
    """Are there slices that nobody outlined, marked with nnU-Net's ignore label?"""


def write_raw(prepared: Prepared, budget: Budget, folder: Path, rest: bool = False) -> RawDataset:
    """Write `imagesTr/CASE_0000.nii.gz`, `labelsTr/CASE.nii.gz` and `dataset.json` for every case
    with a granted mask.

    Label maps hold class indices; slices that the budget does not grant hold the ignore label
    (number of classes + 1), which nnU-Net leaves out of its loss. Masks come through the gate.
    With `rest` all other scans lie in `imagesTs`, to be predicted; `prepare` takes the folder back,
    with the same outlines.
    Raises `BadConfig` for an empty budget or a used folder.
    """
    gate = LabelGuard(prepared, budget)
    granted: dict[str, list[int]] = {}
    for case, d in gate.granted():
        granted.setdefault(case, []).append(d)
    if not granted:
        raise BadConfig(
            "the budget grants no mask",
            did="nothing was written",
            fix="grant some with `slices` or `volumes`",
            code="C02",
        )
    check_folder(folder, prepared.inputs, owns=_is_unfinished)
    ignore, ignored = len(prepared.classes) + 1, False
    for case, slices in sorted(granted.items()):
        with prepared.case(case) as file:
            volume = file.volume()
        labels: UInt8[np.ndarray, "d h w"] = np.full(volume.shape, ignore, np.uint8)
        labels[slices] = gate.labels(case, slices)
        ignored |= len(slices) < volume.shape[0]
        for part in ("imagesTr", "labelsTr"):
            make_folder(folder / part)
        write_volume(folder / "imagesTr" / f"{case}_0000.nii.gz", volume)
        write_labels(folder / "labelsTr" / f"{case}.nii.gz", LabelMap(labels, volume.grid))
    others = sorted(set(prepared.cases) - set(granted)) if rest else []
    for case in others:
        make_folder(folder / "imagesTs")
        with prepared.case(case) as file:
            write_volume(folder / "imagesTs" / f"{case}_0000.nii.gz", file.volume())
    names = {"background": 0, **{name: index for index, name in enumerate(prepared.classes, 1)}}
    record = {
        "channel_names": {"0": "CT" if prepared.recipe.modality == "ct" else "MRI"},
        "labels": {**names, "ignore": ignore} if ignored else names,
        "numTraining": len(granted),
        "file_ending": ".nii.gz",
    }
    write_text(folder / "dataset.json", json.dumps(record, indent=1) + "\n")
    return RawDataset(folder, tuple(sorted(granted)), ignored)


def _is_unfinished(path: Path) -> bool:
    """Is it what an export left that never came to its `dataset.json` (the disk was full)?"""
    if (path.parent / "dataset.json").exists() or path.name not in (
        "imagesTr",
        "labelsTr",
        "imagesTs",
    ):
        return is_part(path)
    return all(is_part(inner) or is_written_here(inner) for inner in path.iterdir())
