"""A finished run handed to programs that are not ours, checked before anything is written."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fewmask.core.errors import BadConfig, FewmaskError
from fewmask.core.volume import Volume
from fewmask.io.atomic import make_folder
from fewmask.io.outputs import check_file
from fewmask.io.prepared import Prepared, is_prepared
from fewmask.io.run import RunFolder
from fewmask.io.text import read_json, write_json
from fewmask.predict.folder import open_scans
from fewmask.predict.onnx import (
    Differences,
    check_one_network,
    compare_masks,
    network_bytes,
    open_onnx,
    presence_of,
    refuse_other_masks,
    save_network,
)
from fewmask.predict.portable import describe_network
from fewmask.predict.predictor import Predictor, open_finished
from fewmask.predict.work import load_prepared

CHECKED = 3
"""Scans on which an exported network is checked."""


@dataclass(frozen=True)
class Exported:
    """What was written, and how it was checked."""

    network: Path
    recipe: Path
    """The JSON beside it."""
    found: Differences
    rounded: Differences | None
    """How our own masks in bfloat16 differ from those in float32, for a run in bfloat16."""


def open_portable(run: Path) -> tuple[RunFolder, Predictor]:
    """A finished run whose method is one network, on the CPU in float32. Raises `BadConfig` for
    others, and `BadCheckpoint` for a run that is not finished.
    """
    from fewmask.methods import is_external

    folder = open_finished(run)
    name = folder.read_record().method
    if is_external(name):
        raise BadConfig(
            f"{name} is a program, not a network of ours",
            did="nothing was written",
            fix="export it with that program's own tools",
            code="C02",
        )
    predictor = Predictor.load(run, "cpu")
    check_one_network(predictor.method, name)
    predictor.bf16 = False
    return folder, predictor


def export_onnx(run: Path, out: Path, scans: Path | None = None, allow: int = 0) -> Exported:
    """Write the run's network to `out` (ONNX) and, beside it, what else a program needs (the same
    name with `.json`).

    Masks that ONNX Runtime draws of three scans must be ours, in float32: those of `scans` (what
    `predict` takes), else of the run's own prepared dataset, test scans first. Raises
    `BadCheckpoint` (W08) where more than `allow` voxels differ, `BadConfig` for a method that is
    not one network, and (F11) for a file that is there and was not exported before.
    """
    out = out if out.suffix == ".onnx" else out.with_name(f"{out.name}.onnx")
    beside = out.with_suffix(".json")
    folder, predictor = open_portable(run)
    for file in (out, beside):
        check_file(
            file, [run, scans, *folder.inputs], is_ours=lambda _: _is_ours(beside), name="onnx"
        )
    record = folder.read_record()
    presence = presence_of(record)
    data = network_bytes(predictor, presence)
    other = open_onnx(data, predictor, presence)
    found = compare_masks(predictor, other, scans_to_check(folder, predictor, scans))
    refuse_other_masks(found, allow)
    rounded = None
    if record.bf16:
        usual = Predictor.load(run, "cpu")
        rounded = compare_masks(usual, predictor, scans_to_check(folder, predictor, scans))
    about = describe_network(predictor, folder)
    about["checked"] = {
        "scans": len(found.scans),
        "voxels": found.voxels,
        "differ": found.differ,
        "bfloat16": rounded and {"voxels": rounded.voxels, "differ": rounded.differ},
    }
    make_folder(out.parent)
    write_json(beside, about)
    save_network(out, data)
    return Exported(out, beside, found, rounded)


def _is_ours(about: Path) -> bool:
    try:
        return str(read_json(about).get("made_by", "")).startswith("fewmask ")
    except FewmaskError:
        return False


def scans_to_check(
    run: RunFolder, predictor: Predictor, scans: Path | None
) -> Iterator[tuple[str, Volume]]:
    """Three scans in the plane of the run, one at a time; fewer if there are no more. Raises
    `BadConfig` where the prepared dataset of the run is gone.
    """
    plane = predictor.recipe.plane
    if scans is not None:
        for name, load in list(open_scans(scans).found.items())[:CHECKED]:
            yield name, load().in_plane(plane)
        return
    place = Path(run.read_record().prepared)
    if run.is_published or not is_prepared(place):
        raise BadConfig(
            "a folder for a model hub names no prepared dataset, and masks must be compared"
            if run.is_published
            else "the prepared dataset of the run is not where it was, and masks must be compared",
            where=str(run.path if run.is_published else place),
            did="nothing was written",
            fix="give a folder of scans with `check`",
            code="C05",
        )
    prepared = Prepared.open(place)
    split = prepared.split
    for case in [*split.test, *split.val, *split.train][:CHECKED]:
        yield case, load_prepared(prepared, case).in_plane(plane)
