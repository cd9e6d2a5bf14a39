"""Masks cleaned by the rule of their run, or by another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fewmask.cleanup.beside import Total, add_up
from fewmask.cleanup.rule import Cleaning, CleanupRule, clean
from fewmask.core.errors import BadCheckpoint, BadConfig
from fewmask.core.volume import LabelMap
from fewmask.io.run import RunFolder
from fewmask.io.text import expecting, read_json
from fewmask.predict.predictor import Prediction

NO_RULE = "the run has no clean-up rule (an earlier version made it): nothing was removed"


@dataclass(frozen=True)
class Cleanup:
    """A rule, and the structures it is for."""

    classes: tuple[str, ...] = ()
    """Names of the classes 1, 2, ..."""
    rule: CleanupRule | None = None
    """None: masks stay as they are."""
    learned: bool = False
    """Is it the run's own?"""
    note: str = ""
    """What a person should know about it."""

    def apply(self, prediction: Prediction) -> Prediction:
        """The prediction with a cleaned mask and `cleaned`, what was done to each structure; as it
        is without a rule. Prompts and confidence stay the network's.
        """
        if self.rule is None:
            return prediction
        grid = prediction.label_map.grid
        cleaned = clean(prediction.label_map.voxels, self.classes, self.rule)
        done = Cleaning(cleaned.changes(prediction.label_map.voxel_ml), self.learned)
        return replace(prediction, label_map=LabelMap(cleaned.voxels, grid), cleaned=done)

    def add_up(self, scans: Sequence[Cleaning]) -> dict[str, Total]:
        """Per structure what was done; nothing without a rule."""
        return {} if self.rule is None else add_up(scans, self.classes, self.rule)


NOTHING = Cleanup()
"""Masks as the network draws them."""


def open_cleanup(run: Path, chosen: str = "auto") -> Cleanup:
    """The run's own rule (`auto`), none (`none`), or that of a JSON file like a run's
    `cleanup.json`.

    A run of an earlier version has no rule: a note says so. Raises `BadConfig` for a file that
    cannot be read, and for one that names a structure that the run does not have.
    """
    if chosen == "none":
        return NOTHING
    folder = RunFolder.open(run)
    classes = tuple(folder.read_record().task.classes)
    if chosen == "auto":
        own = folder.read_cleanup()
        if own is None:
            return Cleanup(note=NO_RULE)
        with expecting(folder.cleanup, kind=BadCheckpoint, fix="give the `train` command again"):
            return Cleanup(classes, CleanupRule.from_dict(own), learned=True)
    record = read_json(Path(chosen))
    with expecting(Path(chosen), fix="write it as a run's cleanup.json is written"):
        rule = CleanupRule.from_dict(record)
    strangers = [name for name in rule.structures if name not in classes]
    if strangers or not rule.structures:
        named = ", ".join(strangers) if strangers else "no structure"
        raise BadConfig(
            f"the clean-up file names {named}, the run has {', '.join(classes)}",
            where=chosen,
            did="nothing was written",
            fix="name the run's structures as its cleanup.json does, or use `cleanup=none`",
            code="C02",
        )
    return Cleanup(classes, rule)
