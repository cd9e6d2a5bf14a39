"""What must be known to believe the numbers of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewmask.core.recipe import Recipe
from fewmask.core.run_record import RunRecord
from fewmask.core.words import count
from fewmask.io.prepared import Prepared
from fewmask.io.run import CONFIDENCE, CONFIDENCE_COLUMNS, CONFIDENCE_OVER, RunFolder
from fewmask.io.tables import read_csv
from fewmask.report.known import tell_put_in

if TYPE_CHECKING:
    from fewmask.methods._method import Stage
else:
    # Methods and training cost seconds to import; only runs of several trainings need them here.
    Stage = Any


def make_trust(
    run: RunFolder,
    prepared: Prepared,
    record: RunRecord,
    environment: Mapping[str, Any],
    prompting: list[tuple[str, str]],
) -> list[tuple[str, str]]:
    """What must be known to believe the numbers."""
    budget, split, provided = run.read_budget(), run.read_split(), record.provided
    owners = {case for case, _ in budget.slices} | set(budget.volumes)
    tags = (
        f"{provided.tagged_scans} scans (two numbers per scan and class), "
        f"{provided.tagged_slices} slices"
    )
    plan = _plan(run, record)
    return [
        (
            "Masks a person outlined",
            f"{count(budget.masks, budget.kind.removesuffix('s'))} of {count(len(owners), 'scan')} "
            f"(draw {budget.draw})",
        ),
        ("Image tags a person gave", tags if provided.tagged_scans else "none"),
        ("Validation masks", "0: the last checkpoint is used, nothing was chosen by score"),
        (
            "Slices nobody said anything about",
            f"{provided.unknown_slices} of {provided.slices}",
        ),
        *tell_put_in(run),
        *_taught_by(run, plan),
        (
            "Split by patient",
            f"{len(split.train)} scans to learn from, {len(split.val)} validation, "
            f"{len(split.test)} test",
        ),
        *prompting,
        ("Refused scans", str(len([line for line in prepared.refused if line["case"]]))),
        ("Weights started from", _start(record, run)),
        ("Recipe", _recipe(run.read_recipe())),
        (
            "Training",
            f"{_steps(run, plan, record)}, seed {record.seed}, {record.precision}",
        ),
        ("Made with", ", ".join(f"{key} {value}" for key, value in environment.items())),
    ]


def tell_prompting(no_prompt: int | None) -> list[tuple[str, str]]:
    """Where masks come from; `no_prompt` is None if none of them came from a prompt."""
    if no_prompt is None:
        return [("Prompts at test time", "none: masks come from the scan alone")]
    return [
        (
            "Prompts at test time",
            "automatic: the model's own; oracle-box rows, if any, are an upper bound",
        ),
        (
            "Structures judged present without a prompt",
            f"{count(no_prompt, 'slice')} (their mask is empty)",
        ),
    ]


def _plan(run: RunFolder, record: RunRecord) -> Sequence[Stage]:
    """The trainings of a run that has several: it has settings for them as parts, or their folders
    in its own. Otherwise none is named.
    """
    parts = any(isinstance(part, dict) for part in record.config.values())
    if not parts and not any(run.path.glob("*/config.json")):
        return ()
    from fewmask.methods import config_from, stages

    return stages(record.method, config_from(record.method, record.config))


def _taught_by(run: RunFolder, plan: Sequence[Stage]) -> list[tuple[str, str]]:
    """Masks that nobody drew: scans that an earlier stage labelled for a later one, by the
    confidence it gave itself.
    """
    if not plan:
        return []
    lines = []
    for stage in plan:
        table = run.path / stage.pseudo_labels_to / CONFIDENCE
        if stage.online_teacher:
            lines.append(f"every unlabelled patch, in every step ({stage.online_teacher})")
        if not stage.pseudo_labels_to or not table.exists():
            continue
        rows = read_csv(table, CONFIDENCE_COLUMNS)
        sure = [float(row["confidence"]) for row in rows]
        taught = sum(int(row["labelled"]) for row in rows)
        over = {row.get(CONFIDENCE_OVER) for row in rows}
        voxels = " over voxels of structures" if "structures" in over else ""
        between = (
            f", its own mean confidence per scan{voxels} {min(sure):.2f} to {max(sure):.2f}"
            if sure
            else ""
        )
        which = "" if stage.labels_all else " without outlines"
        lines.append(f"{taught} of {count(len(rows), 'scan')}{which} ({stage.name}{between})")
    return [("Labelled by a model, then learned from", "; ".join(lines))] if lines else []


def _steps(run: RunFolder, plan: Sequence[Stage], record: RunRecord) -> str:
    """Steps of every stage, in their order."""
    earlier = [(stage.name, RunFolder(run.path / stage.name)) for stage in plan[:-1]]
    words = [
        f"{name}: {count(folder.read_record().steps, 'step')}"
        for name, folder in earlier
        if folder.exists
    ]
    return ", then ".join([*words, count(record.steps, "step")])


def _start(record: RunRecord, run: RunFolder) -> str:
    """Foreign knowledge that entered by pretrained weights; of a method with stages, through the
    one that has the SAM.
    """
    stage = next(
        (
            name
            for name, part in record.config.items()
            if isinstance(part, dict) and "encoder" in part
        ),
        None,
    )
    if stage is not None:
        earlier = RunFolder(run.path / stage)
        return (
            _start(earlier.read_record(), earlier)
            if earlier.exists
            else f"not known: the run's folder {stage} is gone"
        )
    found = record.pretrained
    if found is None:
        return "random numbers"
    return f"pretrained weights {Path(found.name).name} (SHA-256 {found.sha256[:12]})"


def _recipe(recipe: Recipe) -> str:
    grid = f"{recipe.size} px" + ("" if recipe.stretch else f" of {recipe.spacing_mm:g} mm")
    window = (
        f"{recipe.window_hu[0]:g} to {recipe.window_hu[1]:g} HU"
        if recipe.modality == "ct"
        else f"percentiles {recipe.percentiles[0]:g} to {recipe.percentiles[1]:g}"
    )
    return f"{recipe.name}: {grid}, {window}"
