"""What the page says about clean-up: the rule, why, and what it did to each scan."""

from collections.abc import Sequence
from dataclasses import dataclass

from fewmask.cleanup.beside import add_up, read_cleaning
from fewmask.cleanup.rule import Cleaning, CleanupRule
from fewmask.io.run import RunFolder


@dataclass(frozen=True)
class CleanupPart:
    """A part of the page."""

    hint: str
    rules: tuple[tuple[str, str, str, str], ...]
    """Structure, rule, why, what it did to all scans."""
    scans: tuple[tuple[str, str, float, float], ...]
    """Case, structure, mL removed and filled, where anything was."""


def make_cleanup(
    run: RunFolder, classes: Sequence[str], cases: Sequence[str]
) -> CleanupPart | None:
    """The part for predicted `cases`; None for a run without a rule whose masks are as drawn."""
    record = run.read_cleanup()
    found = {case: read_cleaning(run.predictions, case) for case in cases}
    cleaned = {case: cleaning for case, cleaning in found.items() if cleaning is not None}
    if record is None and not cleaned:
        return None
    rule = CleanupRule.from_dict(record or {})
    own = [cleaning for cleaning in cleaned.values() if cleaning.learned]
    totals = add_up(own, classes, rule)
    rules = tuple(
        (name, total.rule, rule.structures[name].reason, str(total) if own else "")
        for name, total in totals.items()
        if name in rule.structures
    )
    scans = tuple(
        (case, name, change.removed_ml, change.filled_ml)
        for case, cleaning in cleaned.items()
        for name, change in cleaning.structures.items()
        if change.removed_voxels or change.filled_voxels
    )
    return CleanupPart(_hint(len(cases), list(cleaned.values())), rules, scans)


def _hint(masks: int, cleaned: Sequence[Cleaning]) -> str:
    """Which masks were cleaned, and by what."""
    given = sum(not cleaning.learned for cleaning in cleaned)
    words = f"{len(cleaned)} of {masks} masks were cleaned"
    words += f", {given} of them by another rule than the run's" if given else ""
    return f"{words}. The run learned its rule from its outlined slices and tags alone."
