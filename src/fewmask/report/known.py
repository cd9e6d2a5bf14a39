"""What leads the page: a training too short to be of use, masks that are empty against what a
person said; and what tags and outlines did to masks.
"""

from fewmask.core.run_record import RunRecord
from fewmask.io.known import KnownNote, add_up, read_known_note, tell_empty
from fewmask.io.run import RunFolder


def make_warnings(run: RunFolder, record: RunRecord) -> list[str]:
    """Sentences to read first; none for most runs."""
    advice = record.advice.replace("`", "")
    return [*tell_empty(_notes(run)), *filter(None, [advice])]


def find_empty_masks(run: RunFolder) -> list[str]:
    """Sentences about masks of a run that are empty and should not be."""
    return tell_empty(_notes(run))


def tell_put_in(run: RunFolder) -> list[tuple[str, str]]:
    """A line for the page: what tags and outlines did; none where they were not put in."""
    done = add_up(_notes(run).values())
    if done is None:
        return []
    return [("In masks of scans it learned from", f"{done}; scans kept aside: as they were drawn")]


def _notes(run: RunFolder) -> dict[str, KnownNote]:
    """Of all masks, by case."""
    masks = sorted(run.predictions.glob("*.nii.gz")) if run.predictions.exists() else []
    cases = [path.name.removesuffix(".nii.gz") for path in masks]
    return {case: read_known_note(run.predictions, case) for case in cases}
