"""What clean-up did to a mask, in a small file beside it; and to several masks in all."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewmask.cleanup.rule import Cleaning, CleanupRule, StructureRule
from fewmask.core.errors import BadDataset
from fewmask.io.text import expecting, read_json, write_json


def cleaning_path(folder: Path, case: str) -> Path:
    """Beside the mask of a case: what clean-up did to it. Masks as drawn have none."""
    return folder / f"{case}.cleanup.json"


def write_cleaning(folder: Path, case: str, cleaning: Cleaning | None) -> None:
    """Before the mask is written: a note of an earlier mask must not stand beside a new one."""
    path = cleaning_path(folder, case)
    if cleaning is None:
        path.unlink(missing_ok=True)
    else:
        write_json(path, cleaning.as_dict())


def read_cleaning(folder: Path, case: str) -> Cleaning | None:
    """What clean-up did to the mask of a case; None: nothing, it is as it was drawn."""
    path = cleaning_path(folder, case)
    if not path.exists():
        return None
    with expecting(path, kind=BadDataset, fix="predict the scan again"):
        return Cleaning.from_dict(read_json(path))


@dataclass(frozen=True)
class Total:
    """What clean-up did to one structure in several scans."""

    rule: str
    """In words: `largest part`."""
    removed_ml: float
    removed_scans: int
    """Scans in which it removed something."""
    filled_ml: float
    filled_scans: int
    scans: int

    def __str__(self) -> str:
        """`removed 3.2 mL in 4 of 6 scans, filled 0.1 mL`."""
        scans = f"{self.scans} scan{'s' if self.scans != 1 else ''}"
        return (
            f"removed {self.removed_ml:.1f} mL in {self.removed_scans} of {scans}, "
            f"filled {self.filled_ml:.1f} mL"
        )


def add_up(
    scans: Sequence[Cleaning], classes: Sequence[str], rule: CleanupRule
) -> dict[str, Total]:
    """Per structure, over scans that were cleaned by this rule."""
    totals = {}
    for name in classes:
        changes = [scan.structures[name] for scan in scans]
        totals[name] = Total(
            rule.structures.get(name, StructureRule()).words,
            math.fsum(change.removed_ml for change in changes),
            sum(change.removed_voxels > 0 for change in changes),
            math.fsum(change.filled_ml for change in changes),
            sum(change.filled_voxels > 0 for change in changes),
            len(changes),
        )
    return totals
