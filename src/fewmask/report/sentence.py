"""The one sentence a reader takes away, and how numbers are written."""

import math
from collections.abc import Sequence

from fewmask.core.run_record import RunRecord
from fewmask.core.words import count
from fewmask.evaluate.intervals import Interval, Summary
from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder


def make_title(record: RunRecord) -> str:
    """What was learned, and how."""
    return f"{', '.join(record.task.classes)} by {record.method}"


def make_sentence(
    summaries: Sequence[Summary], record: RunRecord, prepared: Prepared, run: RunFolder
) -> str:
    """The one sentence a reader takes away."""
    provided = record.provided
    budget = run.read_budget()
    learned = f"learned from {count(budget.masks, 'outlined ' + budget.kind.removesuffix('s'))}"
    tagged = provided.tagged_scans
    learned += f" and the image tags of {count(tagged, 'scan')}" if tagged else " and no image tags"
    automatic = [summary for summary in summaries if summary.prompts == "automatic"]
    if not automatic:
        return f"No score: no case with a complete mask was kept aside. The model {learned}."
    counts = sorted({s.n for s in automatic})
    parts = [
        f"{s.label.capitalize()}: {_dice_words(s)}" + (f" on {s.n}" if len(counts) > 1 else "")
        for s in automatic
    ]
    scans = "scans" if len(counts) > 1 else f"on {count(counts[0], 'scan')}"
    missed, spurious = sum(s.n_missed for s in automatic), sum(s.n_spurious for s in automatic)
    return (
        f"{', '.join(parts)} {scans} the model never saw; {learned}; {missed} missed, {spurious} "
        "spurious."
    )


def _dice_words(summary: Summary) -> str:
    dice = summary.dice
    if math.isnan(dice.low):
        return f"Dice {number(dice.mean)} (no interval: it takes two patients)"
    return f"Dice {dice.mean:.2f} (95 % interval {dice.ends(2)})"


def show(interval: Interval, digits: int = 2) -> str:
    """Mean with its interval, which no line break parts."""
    if math.isnan(interval.mean):
        return "-"
    ends = interval.ends(digits, to="\u00a0to\u00a0")
    return f"{interval.mean:.{digits}f} ({ends})"


def number(value: float, digits: int = 2) -> str:
    """A number for a table; a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
