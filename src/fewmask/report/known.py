"""What leads the page: a training too short to be of use, masks that are empty against what a
person said; and what tags and outlines did to masks.
"""

from pathlib import Path

from fewmask.core.run_record import RunRecord
from fewmask.io.image import EXTENSION, is_image
from fewmask.io.known import KnownNote, add_up, read_known_note, tell_empty
from fewmask.io.run import RunFolder


def make_warnings(run: RunFolder, record: RunRecord) -> list[str]:
    """Sentences to read first; none for most runs."""
    advice = record.advice.replace("`", "")
    return [*find_empty_masks(run.predictions), *filter(None, [advice])]


def find_empty_masks(masks: Path) -> list[str]:
    """Sentences about masks of a folder that are empty and should not be."""
    return tell_empty(_notes(masks))


def tell_put_in(run: RunFolder) -> list[tuple[str, str]]:
    """A line for the page: what tags and outlines did; none where they were not put in."""
    done = add_up(_notes(run.predictions).values())
    if done is None:
        return []
    return [("In masks of scans it learned from", f"{done}; scans kept aside: as they were drawn")]


def _notes(folder: Path) -> dict[str, KnownNote]:
    """Of all masks, by case."""
    masks = sorted(folder.iterdir()) if folder.exists() else []
    cases = dict.fromkeys(EXTENSION.sub("", path.name) for path in masks if is_image(path))
    return {case: read_known_note(folder, case) for case in cases}
