"""`open` and `save` of the first version; gone in the next one."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewmask.api.arguments import File
from fewmask.api.data import Labels, check, prepare
from fewmask.core.errors import BadConfig
from fewmask.core.volume import LabelMap
from fewmask.io.nifti import write_labels
from fewmask.prepare.build import PrepareSummary
from fewmask.prepare.check import CheckReport


@dataclass(frozen=True)
class DataFolder:
    """A folder of scans and masks."""

    path: Path

    def check(self, labels: Labels | None = None, **options: Any) -> CheckReport:
        """See `fewmask.check`."""
        return check(self.path, labels=labels, **options)

    def prepare(self, out: File, labels: Labels, **options: Any) -> PrepareSummary:
        """See `fewmask.prepare`."""
        return prepare(self.path, out, labels, **options)


def open(folder: File) -> DataFolder:
    """A folder of scans and masks: say `fewmask.check(folder)`, `fewmask.prepare(folder, ...)`."""
    _warn("fewmask.open", "fewmask.check(folder) and fewmask.prepare(folder, out, labels)")
    return DataFolder(Path(folder))


def save(mask: LabelMap, path: File, overwrite: bool = False) -> None:
    """Write a mask on the grid of its scan: say `mask.save(path)`."""
    _warn("fewmask.save", "mask.save(path)")
    if Path(path).exists() and not overwrite:
        raise BadConfig(
            "there is a file already",
            where=str(path),
            did="nothing was written",
            fix="choose another path, or say overwrite=True",
            code="F11",
        )
    write_labels(Path(path), mask)


def _warn(old: str, new: str) -> None:
    warnings.warn(f"{old} goes in the next version: use {new}", DeprecationWarning, stacklevel=3)
