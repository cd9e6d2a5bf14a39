"""`fewmask info`."""

from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import typer

from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.core.errors import BadConfig


@verb(("fewmask info run", "fewmask info sam_mix"))
def info(
    context: typer.Context,
    thing: str = typer.Argument(
        ..., help="A run, prepared dataset, scan, weights file, or method."
    ),
) -> None:
    """Say what something is and what matters about it."""
    console: Console = context.obj
    record = _look(Path(thing)) if Path(thing).exists() else _method(thing)
    for key, value in record.items():
        console.say(f"{key:18} {value}")
    console.result(record)


def _look(path: Path) -> dict[str, Any]:
    from fewmask.io.nifti import is_nifti, read_volume

    if (path / "config.json").exists():
        return _run(path)
    if (path / "dataset.json").exists() and (path / "cases").is_dir():
        return _prepared(path)
    if path.suffix == ".safetensors":
        from fewmask.io.weights import count_weights, load_tensors

        tensors = load_tensors(path)
        return {"kind": "weights", "tensors": len(tensors), "numbers": count_weights(tensors)}
    if path.is_file() and is_nifti(path):
        volume = read_volume(path)
        low, high = float(volume.voxels.min()), float(volume.voxels.max())
        return {
            "kind": "scan",
            "shape (d, h, w)": volume.shape,
            "spacing_mm": tuple(round(s, 4) for s in volume.spacing_mm),
            "stored as": str(volume.voxels.dtype),
            "intensities": (low * volume.slope + volume.inter, high * volume.slope + volume.inter),
            "notes": list(volume.notes),
        }
    raise BadConfig(
        f"not a run, prepared dataset, scan or weights: {path}",
        did="",
        fix="see `fewmask check` for folders of scans",
    )


def _run(path: Path) -> dict[str, Any]:
    from fewmask.io.run import RunFolder

    run = RunFolder.open(path)
    record, budget = run.read_record(), run.read_budget()
    keys = ("method", "steps", "seed", "bf16", "checkpoint", "pretrained", "provided", "config")
    plain = record.as_dict()
    finished = run.weights.exists()
    return {
        "kind": "run",
        "finished": finished,
        "classes": list(record.task.classes),
        "masks": f"{budget.masks} {budget.kind}",
    } | {key: plain[key] for key in keys}


def _prepared(path: Path) -> dict[str, Any]:
    from fewmask.io.prepared import Prepared

    prepared = Prepared.open(path)
    split = prepared.split
    return {
        "kind": "prepared dataset",
        "classes": prepared.classes,
        "scans": len(prepared.cases),
        "split": f"{len(split.train)} train, {len(split.val)} val, {len(split.test)} test",
        "outlined slices": sum(map(len, prepared.candidates(prepared.cases).values())),
        "tagged scans": len(prepared.tags),
        "refused": len(prepared.refused),
        "recipe": prepared.recipe.as_dict(),
    }


def _method(name: str) -> dict[str, Any]:
    from fewmask.core.config import describe
    from fewmask.methods import config_class, names

    if name not in names():
        raise BadConfig(
            f"no file, folder or method is called {name!r}",
            did="",
            fix=f"methods: {', '.join(names())}",
            code="C01",
        )
    lines = {"kind": "method"}
    for key, kind, default, sentence in describe(config_class(name)):
        if is_dataclass(default):
            lines[f"{key}.NAME"] = sentence
        else:
            lines[f"{key} = {default!r}"] = (
                f"{sentence} {kind.capitalize()}." if kind.startswith("one of") else sentence
            )
    return lines
