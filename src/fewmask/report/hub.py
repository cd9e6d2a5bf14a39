"""A finished run as a folder that a model hub takes as it is, and that `predict` takes as a run:
weights, recipe, clean-up rule, and a card that says what it is. No names of cases, no paths.
"""

import math
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewmask.core.errors import BadConfig, FewmaskError
from fewmask.core.names import without_paths
from fewmask.core.run_record import RunRecord
from fewmask.core.words import count
from fewmask.evaluate.intervals import Summary, summarise
from fewmask.evaluate.scores import read_scores
from fewmask.io.atomic import is_part, make_folder, write_text, writing
from fewmask.io.outputs import check_folder
from fewmask.io.prepared import Prepared, is_prepared
from fewmask.io.run import RunFolder
from fewmask.io.text import write_json
from fewmask.io.weights import load_tensors
from fewmask.report.changes import changes_of
from fewmask.version import __version__

CARD = "README.md"
_COPIED = ("recipe.json", "cleanup.json", "environment.json", "weights.safetensors")
_OURS = {CARD, "config.json", *_COPIED}
_MODALITIES = {"ct": "CT", "mr": "MR"}


def write_hub(run: Path, out: Path, license_id: str = "other") -> Path:
    """Write the folder; its card's path. `license_id` is a hub's name of a licence, such as
    `apache-2.0` or `cc-by-nc-4.0`: whose data a model learned from decides what it can be.

    Raises `BadCheckpoint` for a run that is not finished, and `BadConfig` (F11) for a folder that
    holds other files.
    """
    from fewmask.predict.predictor import open_finished

    folder = open_finished(run)
    record = _published(folder.read_record())
    ours = _is_hub(out)
    check_folder(
        out,
        [run, *folder.inputs],
        owns=lambda path: is_part(path) or (ours and path.name in _OURS),
        name="hub",
    )
    load_tensors(folder.weights)  # damaged ones are not handed on
    card = make_card(folder, check_license(license_id))
    make_folder(out)
    write_json(out / "config.json", record.as_dict())
    for name in _COPIED:
        source = folder.path / name
        if source.exists():
            with writing(out / name, needed=source.stat().st_size) as temp:
                shutil.copyfile(source, temp)
    write_text(out / CARD, card)
    return out / CARD


def _is_hub(folder: Path) -> bool:
    """Was this folder written here? What is published names no prepared dataset."""
    try:
        return RunFolder.open(folder).read_record().prepared == ""
    except FewmaskError:
        return False


def check_license(name: str) -> str:
    """A hub's name of a licence. Raises `BadConfig` for what its card cannot hold."""
    if re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name):
        return name
    raise BadConfig(
        f"`license={name}` is no name of a licence",
        did="nothing was written",
        fix="use a hub's name, such as `license=apache-2.0`, `license=cc-by-nc-4.0` or "
        "`license=other`",
        code="C02",
    )


def make_card(run: RunFolder, license_id: str = "other") -> str:
    """The card: front matter in YAML, then what it is, learned from, scores, limits and use."""
    record = _published(run.read_record())
    recipe, structures = run.read_recipe(), ", ".join(record.task.classes)
    modality = _MODALITIES.get(recipe.modality, recipe.modality)
    tags = ["fewmask", "medical", "image-segmentation", record.method, modality.lower()]
    front = [
        "---",
        f"license: {license_id}",
        "library_name: fewmask",
        "pipeline_tag: image-segmentation",
        "tags:",
        *(f"- {tag}" for tag in tags),
        "metrics:",
        "- dice",
        "---",
    ]
    grid = f"{recipe.size} x {recipe.size} pixels" + (
        f" of {recipe.spacing_mm:g} mm" if recipe.spacing_mm else ""
    )
    changed = changes_of(record.method, record.config)
    settings = ", ".join(f"{key}={value}" for key, value in changed.items()) or "the defaults"
    body = [
        f"# {structures} on {modality}, by {record.method}",
        "",
        f"Masks of {structures} in {modality} scans, drawn in {recipe.plane} slices by "
        f"`{record.method}` of fewmask {__version__}.",
        "",
        "## Use",
        "",
        "```python",
        "import fewmask",
        'fewmask.predict("FOLDER_OF_THIS_MODEL", "scan.nii.gz").save("mask.nii.gz")',
        "```",
        "",
        "## Learned from",
        "",
        *_learned(run, record),
        f"* {count(record.steps, 'step')} in {record.precision}, seed {record.seed}; "
        f"network grid {grid}; settings: {settings}",
        "",
        "## Scores",
        "",
        *_scores(run),
        "",
        "## Limits",
        "",
        *_limits(record, modality),
    ]
    return "\n".join([*front, "", *body, ""])


def _learned(run: RunFolder, record: RunRecord) -> list[str]:
    split, budget, provided = run.read_split(), run.read_budget(), record.provided
    lines = [
        f"* {count(len(split.train), 'training scan')}; kept aside: {len(split.val)} to validate, "
        f"{len(split.test)} to test",
        f"* {count(budget.masks, 'outlined ' + budget.kind.removesuffix('s'))} in the budget, "
        f"of {count(provided.slices, 'slice')} in all; tags on "
        f"{count(provided.tagged_slices, 'slice')}",
    ]
    start = record.pretrained
    lines.append(f"* started from {start.name}" if start else "* started at random")
    return lines


def _scores(run: RunFolder) -> list[str]:
    if not run.metrics.exists():
        return ["None: the run was not evaluated."]
    place = Path(run.read_record().prepared)
    patients = Prepared.open(place).patients if is_prepared(place) else {}
    summaries = summarise(read_scores(run.metrics), patients)
    own = [one for one in summaries if one.prompts != "oracle-box"]
    return [
        "Means over test patients with 95 % t intervals; scans that training never saw.",
        "",
        "| structure | scans | Dice | 95HD mm | missed | spurious |",
        "|---|---|---|---|---|---|",
        *(_row(one) for one in own),
    ]


def _row(one: Summary) -> str:
    cells: Sequence[Any] = (
        one.label,
        one.n,
        _cell(one, "dice", 3),
        _cell(one, "hd95_mm", 1),
        one.n_missed,
        one.n_spurious,
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _cell(one: Summary, metric: str, digits: int) -> str:
    interval = one.metrics[metric]
    if math.isnan(interval.mean):
        return "-"
    return f"{interval.mean:.{digits}f} ({interval.ends(digits)})"


def _limits(record: RunRecord, modality: str) -> list[str]:
    few = record.provided.labelled_slices
    return [
        "* Not a medical device: every mask wants a look by somebody who can judge it.",
        f"* It has seen few outlines ({count(few, 'slice')}), and {modality} of few scanners: on "
        "other scanners, protocols, ages and diseases it may fail without a sign.",
        "* Structures other than those named are background to it.",
    ]


def _published(record: RunRecord) -> RunRecord:
    """The record without names of cases and without paths of the machine it was made on."""
    start = record.pretrained
    return replace(
        record,
        config=without_paths(record.config),
        pretrained=start and replace(start, name=without_paths(start.name)),
        prepared="",
        data_digest=None,
        labels=None,
        scans=None,
    )
