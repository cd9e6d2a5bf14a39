"""The report: one HTML file that needs nothing beside it."""

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fewmask.core.config import setting_words
from fewmask.core.errors import BadDataset
from fewmask.core.recipe import Recipe
from fewmask.core.run_record import RunRecord
from fewmask.core.volume import LabelMap, Volume
from fewmask.evaluate.intervals import Interval, Summary, summarise
from fewmask.evaluate.protocols import NOTES
from fewmask.evaluate.scores import CaseScore
from fewmask.io.atomic import make_folder, write_text
from fewmask.io.nifti import read_labels
from fewmask.io.prepared import Prepared
from fewmask.io.run import CONFIDENCE, CONFIDENCE_COLUMNS, CONFIDENCE_OVER, PRECISIONS, RunFolder
from fewmask.io.tables import read_csv
from fewmask.io.text import expecting, read_json
from fewmask.report.cards import Card, make_card, make_story
from fewmask.report.changes import changes_of
from fewmask.report.cleanup import make_cleanup
from fewmask.report.known import make_warnings, tell_put_in

if TYPE_CHECKING:
    from fewmask.methods._method import Stage
else:
    # Methods and training cost seconds to import; only runs of several trainings need them here.
    Stage = Any

_STORIES, _CARDS = 3, 24
_PROMPTS = {"oracle-box": "true box (upper bound)", "tags": "tags of the scan"}
_NO_PICTURE = "no picture: text in its pixels may name a person"


def write_report(
    run: RunFolder,
    prepared: Prepared,
    scores: Sequence[CaseScore],
    scan: Callable[[str], Volume],
    truth: Callable[[str], LabelMap | None],
    show_burned_in: bool = False,
) -> Path:
    """Write `report/index.html` of a run and return its path. Cases without truth are shown without
    scores.

    Scans with text in their pixels, which may name a person, are shown without pictures unless
    `show_burned_in`.
    """
    record, environment = run.read_record(), run.read_environment()
    recipe = run.read_recipe()
    automatic = [score for score in scores if score.prompts == "automatic"]
    summaries = summarise(scores, prepared.patients)
    order = _worst_first(run, automatic)

    drawing = _Drawing(run, prepared, recipe, automatic, scan, truth, show_burned_in)
    shown = drawing.cases(order)
    page = _template().render(
        title=_title(record),
        sentence=_sentence(summaries, record, prepared, run),
        cards=shown.cards,
        hidden=max(0, len(order) - len(shown.cards)),
        stories=shown.stories,
        summaries=summaries,
        rows=_worst_rows_first(scores),
        cleanup=make_cleanup(run, record.task.classes, order),
        trust=_trust(
            run, prepared, record, environment, _prompting(shown.no_prompt) if order else []
        ),
        command=_command(record, run),
        warnings=make_warnings(run, record),
        prompts_words=_PROMPTS,
        caution=NOTES["la-2018"] if recipe.name.startswith("left-atrium") else "",
        notes=_notes(prepared),
        show=_show,
        number=_number,
    )
    out = run.path / "report" / "index.html"
    make_folder(out.parent)
    write_text(out, page)
    return out


@dataclass
class _Shown:
    """The cases of a run as the page shows them."""

    cards: list[Card] = field(default_factory=list)
    stories: list[Card] = field(default_factory=list)
    """How the first few masks came about."""
    no_prompt: int | None = None
    """Of all cases, shown or not: slices judged to hold a structure that gave no prompt; None if
    the method makes no prompts.
    """


@dataclass(frozen=True)
class _Drawing:
    """Draws cases of a run."""

    run: RunFolder
    prepared: Prepared
    recipe: Recipe
    scores: Sequence[CaseScore]
    """Of automatic masks."""
    scan: Callable[[str], Volume]
    truth: Callable[[str], LabelMap | None]
    show_burned_in: bool

    def cases(self, order: Sequence[str]) -> _Shown:
        """The first cases."""
        shown = _Shown()
        for case in order:
            path = self.run.predictions / f"{case}.prompts.json"
            prompts = read_json(path, max_bytes=256 * 2**20) if path.exists() else None
            with expecting(path, kind=BadDataset, fix="remove it and predict the scan again"):
                if prompts:
                    missing = sum(sum(line["no_prompt"]) for line in prompts["slices"])
                    shown.no_prompt = (shown.no_prompt or 0) + missing
                if len(shown.cards) >= _CARDS:
                    continue
                wanted = prompts if len(shown.stories) < _STORIES else None
                card, story = self.case(case, wanted)
                shown.cards.append(card)
                if story is not None:
                    shown.stories.append(story)
        return shown

    @property
    def slices_from(self) -> int:
        """What the person calls the first slice of a file."""
        return int(self.prepared.options.get("slices_from", 0))

    def case(self, case: str, prompts: dict[str, Any] | None) -> tuple[Card, Card | None]:
        """A card, and with prompts perhaps a story."""
        headline = _headline(case, self.scores)
        row = self.prepared.cases.get(case)
        if row is not None and row.burned_in and not self.show_burned_in:
            return Card(case, f"{headline}   {_NO_PICTURE}", ()), None
        volume, truth = self.scan(case), self.truth(case)
        pred = read_labels(self.run.predictions / f"{case}.nii.gz").in_plane(volume.grid.plane)
        card = make_card(case, headline, volume, pred, truth, self.recipe, self.slices_from)
        if not prompts:
            return card, None
        return card, make_story(case, prompts, volume, pred, truth, self.recipe, self.slices_from)


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("fewmask.report"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("page.html.j2")


def _title(record: RunRecord) -> str:
    return f"{', '.join(record.task.classes)} by {record.method}"


def _sentence(
    summaries: Sequence[Summary], record: RunRecord, prepared: Prepared, run: RunFolder
) -> str:
    """The one sentence a reader takes away."""
    provided = record.provided
    budget = run.read_budget()
    learned = f"learned from {_count(budget.masks, 'outlined ' + budget.kind)}"
    tagged = provided.tagged_scans
    learned += (
        f" and the image tags of {_count(tagged, 'scans')}" if tagged else " and no image tags"
    )
    automatic = [summary for summary in summaries if summary.prompts == "automatic"]
    if not automatic:
        return f"No score: no case with a complete mask was kept aside. The model {learned}."
    counts = sorted({s.n for s in automatic})
    parts = [
        f"{s.label.capitalize()}: {_dice_words(s)}" + (f" on {s.n}" if len(counts) > 1 else "")
        for s in automatic
    ]
    scans = "scans" if len(counts) > 1 else f"on {_count(counts[0], 'scans')}"
    missed, spurious = sum(s.n_missed for s in automatic), sum(s.n_spurious for s in automatic)
    return (
        f"{', '.join(parts)} {scans} the model never saw; {learned}; {missed} missed, {spurious} "
        "spurious."
    )


def _count(n: int, things: str) -> str:
    return f"{n} {things.removesuffix('s') if n == 1 else things}"


def _dice_words(summary: Summary) -> str:
    dice = summary.dice
    if math.isnan(dice.low):
        return f"Dice {_number(dice.mean)} (no interval: it takes two patients)"
    return f"Dice {dice.mean:.2f} (95 % interval {dice.ends(2)})"


def _worst_rows_first(scores: Sequence[CaseScore]) -> list[CaseScore]:
    """Automatic ones before the bound; those without a Dice first."""

    def order(score: CaseScore) -> tuple[str, float]:
        return score.prompts, -1.0 if math.isnan(score.dice) else score.dice

    return sorted(scores, key=order)


def _worst_first(run: RunFolder, scores: Sequence[CaseScore]) -> list[str]:
    """Cases with a mask on disk: scored ones by their worst Dice, then the others by name."""
    worst: dict[str, float] = {}
    for score in scores:
        value = 2.0 if math.isnan(score.dice) else score.dice
        worst[score.case] = min(worst.get(score.case, 2.0), value)
    masks = run.predictions.glob("*.nii.gz") if run.predictions.exists() else ()
    predicted = sorted(path.name.removesuffix(".nii.gz") for path in masks)
    scored = sorted((case for case in predicted if case in worst), key=lambda case: worst[case])
    return scored or predicted


def _headline(case: str, scores: Sequence[CaseScore]) -> str:
    words = []
    for score in scores:
        if score.case == case and score.status == "ok":
            words.append(f"{score.label} {score.dice:.2f}")
        elif score.case == case:
            words.append(f"{score.label}: {score.status.replace('_', ' ')}")
    return f"{case}   Dice {', '.join(words)}" if words else f"{case}   no truth"


def _trust(
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
            f"{_count(budget.masks, budget.kind)} of {_count(len(owners), 'scans')} (draw "
            f"{budget.draw})",
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
            f"{_steps(run, plan, record)}, seed {record.seed}, {PRECISIONS[record.bf16]}",
        ),
        ("Made with", ", ".join(f"{key} {value}" for key, value in environment.items())),
    ]


def _prompting(no_prompt: int | None) -> list[tuple[str, str]]:
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
            f"{_count(no_prompt, 'slices')} (their mask is empty)",
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
        lines.append(f"{taught} of {_count(len(rows), 'scans')}{which} ({stage.name}{between})")
    return [("Labelled by a model, then learned from", "; ".join(lines))] if lines else []


def _steps(run: RunFolder, plan: Sequence[Stage], record: RunRecord) -> str:
    """Steps of every stage, in their order."""
    earlier = [(stage.name, RunFolder(run.path / stage.name)) for stage in plan[:-1]]
    words = [
        f"{name}: {_count(folder.read_record().steps, 'steps')}"
        for name, folder in earlier
        if folder.exists
    ]
    return ", then ".join([*words, _count(record.steps, "steps")])


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


def _command(record: RunRecord, run: RunFolder) -> str:
    """The training command, without paths that would name a person's folders and without what is
    default.
    """
    budget = run.read_budget()
    words = [
        "fewmask",
        "train",
        "PREPARED",
        "--method",
        record.method,
        f"--{budget.kind}",
        budget.masks,
        "--draw",
        budget.draw,
    ]
    words += ["--in-order"] if record.in_order else []
    words += ["--seed", record.seed, "--steps", record.all_steps]
    for setting in _settings(record):
        words += ["--set", setting]
    words += ["--out", "RUN"]
    return " ".join(shlex.quote(str(word)) for word in words)


def _settings(record: RunRecord) -> list[str]:
    """Settings of a run that are not the method's defaults; of files the name only."""
    return setting_words(
        {
            name: Path(value).name if isinstance(value, str) else value
            for name, value in changes_of(record.method, record.config).items()
        }
    )


def _notes(prepared: Prepared) -> list[str]:
    lines = [f"{line['case'] or 'folder'}: {line['what']} (refused)" for line in prepared.refused]
    for case, row in prepared.cases.items():
        lines += [f"{case}: {note}" for note in row.notes]
    return lines


def _show(interval: Interval, digits: int = 2) -> str:
    """Mean with its interval, which no line break parts."""
    if math.isnan(interval.mean):
        return "-"
    ends = interval.ends(digits, to="\u00a0to\u00a0")
    return f"{interval.mean:.{digits}f} ({ends})"


def _number(value: float, digits: int = 2) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
