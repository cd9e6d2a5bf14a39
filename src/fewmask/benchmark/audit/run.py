"""What a run folder says to a reviewer's questions."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fewmask.benchmark.audit.answer import Answer, listed
from fewmask.benchmark.audit.data import by_part, same_patient, same_scan
from fewmask.benchmark.rows import AUTOMATIC, ORACLE
from fewmask.cleanup import CleanupRule
from fewmask.core.budget import Budget, Split
from fewmask.core.errors import FewmaskError
from fewmask.core.recipe import Recipe
from fewmask.core.run_record import Provided, RunRecord
from fewmask.core.words import command, count
from fewmask.evaluate.scores import CaseScore, read_scores
from fewmask.io.known import read_known_note
from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder

CHECKPOINT = "How was the checkpoint chosen?"
PROMPTS = "Where did prompts come from?"
SLICES = "Which slices were scored?"
SUPERVISION = "What did people have to provide?"
EMPTIES = "How do empty masks count?"
DRAWS = "How many draws and seeds?"
COMPARISONS = "How many comparisons were made on these test patients?"
PRECISION = "Was one precision used?"
MACHINE = "Was one machine used?"
LENGTH = "Was training long enough?"
_NO_SCORES = "the run has no scores yet"


def audit_run(path: Path) -> list[Answer]:
    """Answers of a run folder. Raises `BadCheckpoint` for a folder that is none."""
    run = RunFolder.open(path)
    record, split, recipe = run.read_record(), run.read_split(), run.read_recipe()
    prepared, absent = open_data(Path(record.prepared))
    scores = read_scores(run.metrics)
    environment = run.read_environment()
    return [
        *about_split(split, record, prepared, absent),
        chosen(run, record),
        prompted(scores, run, split),
        slices_scored(recipe, bool(scores)),
        provided(run.read_budget(), record, split, _cleaned_by_tags(run, prepared)),
        empties(scores),
        *_of_other_runs(run.read_budget().draw, record.seed, path),
        Answer.fine(PRECISION, record.precision),
        Answer.fine(MACHINE, ", ".join(f"{key} {value}" for key, value in environment.items())),
        _length(record),
    ]


def open_data(folder: Path) -> tuple[Prepared | None, str]:
    """The prepared dataset, or None and the reason why it cannot be looked into."""
    try:
        return Prepared.open(folder), ""
    except FewmaskError as error:
        return None, f"{folder}: {error.what}"


def about_split(
    split: Split, record: RunRecord, prepared: Prepared | None, absent: str
) -> list[Answer]:
    """Patients and scans in two parts of the split that the run learned from."""
    patients = None if prepared is None else prepared.patients
    return [
        same_patient(by_part(split), patients, absent),
        same_scan(split, record.scans, prepared, absent),
    ]


def chosen(run: RunFolder, record: RunRecord) -> Answer:
    """Only the last step becomes the weights; anything else was chosen by something."""
    if not run.weights.exists():
        why = "its weights are gone" if run.is_lost() else "the training is not finished"
        return Answer.look(CHECKPOINT, "none is there", why)
    if record.checkpoint != "last":
        why = "the record names another state than the last: ask which scans it was chosen by"
        return Answer.look(CHECKPOINT, record.checkpoint, why)
    steps = count(record.all_steps, "step")
    return Answer.fine(CHECKPOINT, f"it is the last of {steps}; no score of any scan chose it")


def prompted(scores: Sequence[CaseScore], run: RunFolder, split: Split) -> Answer:
    """Whether a person, or the truth, helped at test time."""
    helped = [case for case in split.test if read_known_note(run.predictions, case).put_in]
    return tell_prompts(Counter(score.prompts for score in scores), helped)


def tell_prompts(kinds: Counter[str], helped: Sequence[str] = ()) -> Answer:
    """From the kinds of prompts of all rows; `helped` are test scans into whose masks tags or
    outlines were put.
    """
    if not kinds:
        return Answer.unknown(PROMPTS, _NO_SCORES)
    told = "; ".join(f"{count(n, 'row')} {_WORDS.get(kind, kind)}" for kind, n in kinds.items())
    if helped:
        why = "tags or outlines of these test scans were put into their masks"
        return Answer.look(PROMPTS, f"{told}; {listed(list(helped))}", why)
    if kinds.keys() - {AUTOMATIC, ORACLE}:
        why = "masks that tags of the test scans themselves helped are not automatic ones"
        return Answer.look(PROMPTS, told, why)
    return Answer.fine(PROMPTS, told)


_WORDS = {
    AUTOMATIC: "by the model alone",
    ORACLE: "prompted with true boxes (marked: an upper bound, in no mean of the others)",
    "tags": "helped by a person's tags of the scan",
}


def slices_scored(recipe: Recipe, scored: bool) -> Answer:
    """Ours are whole scans; a recipe may leave slices without a mask."""
    if not scored:
        return Answer.unknown(SLICES, _NO_SCORES)
    if recipe.central < 1:
        why = f"the recipe draws the middle {recipe.central:.0%} of the slices only"
        return Answer.look(SLICES, "all of each scan", why)
    return Answer.fine(SLICES, "all of each scan, with and without the structure")


def provided(
    budget: Budget, record: RunRecord, split: Split, cleaned_by: Sequence[str] = ()
) -> Answer:
    """Outlines, tags, validation masks, weights; outlines must be of the training part. Tags of the
    scans `cleaned_by` judged the clean-up rule, which the record does not count.
    """
    owners = {case for case, _ in budget.slices} | set(budget.volumes)
    told = [
        f"{count(budget.masks, 'outlined ' + budget.kind.removesuffix('s'))} of "
        f"{count(len(owners), 'scan')}",
        _tags(record.provided),
        _validation(split),
        f"weights {record.pretrained.name}" if record.pretrained else "no weights of others",
    ]
    strange = sorted(owners - set(split.train))
    if strange:
        why = f"not in the training part: {listed(strange)}"
        return Answer.look(SUPERVISION, "; ".join(told), why)
    if cleaned_by and not record.provided.tagged_scans:
        why = (
            f"the clean-up rule was judged by tags of {count(len(cleaned_by), 'scan')}: count them"
        )
        return Answer.look(SUPERVISION, "; ".join(told), why)
    if record.provided == Provided() and budget.masks:
        why = "the record of an earlier version does not say how many slices were tagged"
        return Answer.unknown(SUPERVISION, why, told[0])
    return Answer.fine(SUPERVISION, "; ".join(told))


def _tags(said: Provided) -> str:
    if not said.tagged_scans:
        return "no tags in training"
    return f"tags of {count(said.tagged_scans, 'scan')} ({count(said.tagged_slices, 'slice')})"


def _cleaned_by_tags(run: RunFolder, prepared: Prepared | None) -> list[str]:
    """Labelled scans whose tags had a say in a clean-up that changes masks."""
    rule = run.read_cleanup()
    if rule is None or prepared is None or CleanupRule.from_dict(rule).changes_nothing:
        return []
    budget = run.read_budget()
    owners = {case for case, _ in budget.slices} | set(budget.volumes)
    return sorted(case for case in owners if prepared.tags.get(case))


def _validation(split: Split) -> str:
    if not split.val:
        return "no validation masks"
    return f"no validation masks ({count(len(split.val), 'scan')} kept aside, none chosen by)"


def empties(scores: Sequence[CaseScore]) -> Answer:
    """The rule, and how often it counted."""
    return tell_empties(Counter(str(score.status) for score in scores))


def tell_empties(statuses: Counter[str]) -> Answer:
    """From the status of every row."""
    if not statuses:
        return Answer.unknown(EMPTIES, _NO_SCORES)
    return Answer.fine(
        EMPTIES,
        f"{statuses['missed']} missed and {statuses['spurious']} spurious count with Dice 0 and "
        f"the scan's diagonal as distance; {statuses['both_empty']} empty in truth and mask are "
        "counted apart, in no mean",
    )


def _of_other_runs(draw: int, seed: int, path: Path) -> list[Answer]:
    """What one run cannot know."""
    why = (
        "a run knows nothing of others: audit the table of all runs; one draw decides nothing "
        "between methods"
    )
    return [
        Answer.unknown(DRAWS, why, f"this is draw {draw}, seed {seed}"),
        Answer.unknown(COMPARISONS, f"{command('audit', 'ROWS.csv')} counts them in a table"),
    ]


def _length(record: RunRecord) -> Answer:
    if record.advice:
        return Answer.look(LENGTH, f"{record.all_steps} steps", record.advice.replace("`", ""))
    return Answer.fine(LENGTH, f"{count(record.all_steps, 'step')}, nothing was said against it")
