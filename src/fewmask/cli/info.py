"""`fewmask info`."""

import shutil
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.cli.progress import loss_name
from fewmask.core.errors import BadConfig, FewmaskError
from fewmask.core.words import command, count

if TYPE_CHECKING:
    from fewmask.core.run_record import RunRecord
    from fewmask.io.run import RunFolder
    from fewmask.prepare.layout import Layout

LOSSES = {
    "ce": "Cross-entropy of the mask with the outline.",
    "dice": "1 minus the (soft) Dice of the mask with the outline.",
    "score": "How far SAM's own score of its mask is from the true overlap.",
    "classify": "Image tags that the classifier gets wrong.",
    "guide": "How far the place where the classifier looks is from the outline.",
    "empty": "What is drawn on slices tagged as empty.",
    "pseudo": "Against masks that the model itself, or its teacher, drew on unlabelled scans.",
    "consistency": "How much two views of the same unlabelled scan disagree.",
    "sam": "Against masks that SAM drew on unlabelled scans.",
    "supervised": "Cross-entropy and Dice loss on labelled patches.",
    "cross": "Each network against the other one's mask of an unlabelled patch.",
    "mixed": "Labelled patches, put together again after their cubes were mixed with others.",
    "inward": "Labelled patches with an unlabelled box inside.",
    "outward": "Unlabelled patches with a labelled box inside.",
    "place": "Which place in the scan a small cube came from.",
}
"""What the parts of a training's loss measure, by their names in losses.csv."""


def _complete(incomplete: str) -> list[str]:
    return [*options.complete_method(incomplete), *options.complete_run(incomplete)]


@verb(("fewmask info run", "fewmask info sam_mix"))
def info(
    context: typer.Context,
    thing: str = typer.Argument(
        ...,
        help="A run, prepared dataset, scan, folder of scans, weights file, or method.",
        autocompletion=_complete,
    ),
) -> None:
    """Describe a run, prepared dataset, scan, folder of scans, weights file or method."""
    console: Console = context.obj
    record = _look(Path(thing)) if Path(thing).exists() else _method(thing)
    for line in _method_lines(record) if record["kind"] == "method" else lines_of(record):
        console.say(line)
    console.result(record)


def lines_of(record: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """A record for people: a line per entry, what is inside an entry below it."""
    wide = max((len(key) for key in record), default=0)
    for key, value in record.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{key}"
            yield from lines_of(value, indent + "  ")
        else:
            yield f"{indent}{key:{min(max(wide, 18 - len(indent)), 30)}} {_words(value)}".rstrip()


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value)) or "none"
    if value is None or value == {}:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _look(path: Path) -> dict[str, Any]:
    from fewmask.io.image import is_image

    if (path / "config.json").exists():
        return _run(path)
    if (path / "dataset.json").exists() and (path / "cases").is_dir():
        return _prepared(path)
    if path.suffix == ".safetensors":
        return _weights(path)
    if path.is_file() and is_image(path):
        return _scan(path)
    if path.is_dir():
        return _folder(path)
    raise BadConfig(
        f"not a run, prepared dataset, scan or weights: {path}",
        did="",
        fix="see `fewmask check` for folders of scans",
    )


def _weights(path: Path) -> dict[str, Any]:
    from fewmask.io.weights import count_weights, load_tensors

    tensors = load_tensors(path)
    return {"kind": "weights", "tensors": len(tensors), "numbers": count_weights(tensors)}


def _scan(path: Path) -> dict[str, Any]:
    from fewmask.io.image import read_volume

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


def _folder(path: Path) -> dict[str, Any]:
    """A folder of scans, none of which is opened. Raises `BadDataset` if there is none in it."""
    from fewmask.prepare.discover import discover

    layout = discover(path)
    masks = sum(pair.has_mask for pair in layout.pairs)
    return {
        "kind": "folder of scans",
        "layout": layout.kind,
        "scans": len(layout.pairs),
        "with a mask": masks,
        "problems": len(layout.problems),
        "notes": list(layout.notes),
        "next": command("check", path),
        "then": command("prepare", path, "--out", "prepared", "--label", label)
        if (label := _label(layout))
        else "outline a few slices of some scans, and lay the masks into labels/",
    }


def _label(layout: "Layout") -> str:
    """What `--label` may be asked for, of the first mask that holds something; empty without."""
    import numpy as np

    from fewmask.io.image import read_labels
    from fewmask.prepare.mapping import IGNORE

    names = [name for name in layout.names if name.casefold() != IGNORE]
    for pair in layout.pairs:
        if pair.has_mask and (names or pair.parts):
            return next(iter(names or pair.parts))
        if pair.mask is not None:
            with suppress(FewmaskError):
                values = np.unique(read_labels(pair.mask).voxels)
                if values.any():
                    return f"organ={values[values > 0][0]}"
    return ""


def _run(path: Path) -> dict[str, Any]:
    from fewmask.io.run import RunFolder
    from fewmask.io.run_files import bytes_by_kind
    from fewmask.report.changes import changes_of

    run = RunFolder.open(path)
    record = run.read_record()
    return {
        "kind": "run",
        "finished": run.weights.exists(),
        "method": record.method,
        "classes": list(record.task.classes),
        "masks": _masks(run, record),
        "steps": record.steps,
        "seed": record.seed,
        "precision": record.precision,
        "checkpoint": record.checkpoint,
        "pretrained": record.pretrained and record.pretrained.name,
        "provided": asdict(record.provided),
        "changed settings": changes_of(record.method, record.config),
        "all settings": record.config,
        "last losses": _last_losses(run.read_losses(record.steps + 1)),
        "bytes": bytes_by_kind(path),
    }


def _masks(run: "RunFolder", record: "RunRecord") -> str:
    """The budget in words; a run that was published has no list of its masks."""
    if not (run.path / "budget.toml").exists():
        return count(record.provided.labelled_slices, "slice")
    budget = run.read_budget()
    return count(budget.masks, budget.kind.removesuffix("s"))


def _last_losses(rows: list[dict[str, str]]) -> dict[str, float]:
    """The last row of losses.csv."""
    last = rows[-1] if rows else {}
    return {
        loss_name(name): float(value) for name, value in last.items() if name != "step" and value
    }


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
    from fewmask.core.manual import keys_of, method_names, method_settings

    if name not in method_names():
        raise BadConfig(
            f"no file, folder or method is called {name!r}",
            did="",
            fix=f"methods: {', '.join(method_names())}",
            code="C01",
        )
    used = keys_of(f"fewmask.methods.{name}")
    return {
        "kind": "method",
        "method": name,
        "settings": {key: vars(setting) for key, setting in method_settings(name).items()},
        "losses": {key: text for key, text in LOSSES.items() if key in used},
    }


def _method_lines(record: Mapping[str, Any]) -> Iterator[str]:
    """Every setting with what it does below it, and what the losses measure."""
    yield f"settings of {record['method']}, for --set key=value, with their defaults"
    for key, setting in record["settings"].items():
        if isinstance(setting["default"], dict):
            yield f"  {key}.NAME"
        else:
            yield f"  {key} = {setting['default']!r}"
        choices = f" One of {', '.join(map(repr, setting['choices']))}." * bool(setting["choices"])
        yield _indented(setting["sentence"] + choices)
    if record["losses"]:
        yield "losses that training may show; smaller is better, `loss` is their sum"
    for key, text in record["losses"].items():
        yield f"  {loss_name(key)}"
        yield _indented(text)


def _indented(text: str) -> str:
    """A sentence in lines of a width that reads well, and fits the terminal."""
    width = max(40, min(100, shutil.get_terminal_size().columns))
    return textwrap.fill(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
