"""The Python door: the verbs of the command line as functions.

>>> import fewmask
>>> data = fewmask.open("scans")
>>> prepared = data.prepare("prepared", labels={"liver": (6,)})
>>> run = fewmask.train("prepared", "run", slices=5, minutes=10)
>>> mask = fewmask.load(run).predict("new_scan.nii.gz")
>>> fewmask.save(mask, "new_mask.nii.gz")
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewmask.core.errors import BadConfig
from fewmask.core.volume import LabelMap
from fewmask.io.nifti import write_labels
from fewmask.predict import Predicts, load_predictor
from fewmask.predict.folder import open_scans
from fewmask.prepare.build import PrepareSummary, prepare
from fewmask.prepare.check import CheckReport, check
from fewmask.prepare.options import PrepareOptions, table_or_pattern
from fewmask.training import TrainRequest
from fewmask.training import train as _train

Labels = Mapping[str, tuple[int | str, ...]]


@dataclass(frozen=True)
class DataFolder:
    """A folder of scans and masks."""

    path: Path

    def check(self, labels: Labels | None = None, **options: Any) -> CheckReport:
        """Every problem of the folder in one pass; writes nothing. `options` are those of
        `PrepareOptions`.
        """
        return check(self.path, _options(labels or {}, options))

    def prepare(self, out: str | Path, labels: Labels, **options: Any) -> PrepareSummary:
        """Write a prepared dataset. `options` are those of `PrepareOptions`."""
        return prepare(self.path, Path(out), _options(labels, options))


def _options(labels: Labels, options: Mapping[str, Any]) -> PrepareOptions:
    """Names of files may be plain text here."""
    files: dict[str, Path | str] = {
        name: Path(options[name])
        for name in ("tags", "reviewed", "split")
        if options.get(name) not in (None, "from-masks")
    }
    if isinstance(options.get("patients"), str):
        files["patients"] = table_or_pattern(options["patients"])
    return PrepareOptions(labels=dict(labels), **{**options, **files})


@dataclass(frozen=True)
class LoadedRun:
    """A trained run."""

    predictor: Predicts

    def predict(self, scan: str | Path) -> LabelMap:
        """The mask of a NIfTI scan or of a folder with a DICOM series, on the scan's own grid:
        class numbers (d, h, w).

        0 is background, then the classes in the order of `labels`; d runs from the feet up. Raises
        `BadScan` if it cannot be read, `BadConfig` for a folder of several scans.
        """
        scans = open_scans(Path(scan))
        found = scans.found
        if scans.problems:
            raise scans.problems[0]
        if len(found) != 1:
            raise BadConfig(
                f"{len(found)} scans in {scan}",
                did="nothing was predicted",
                fix="give one scan, or use `fewmask predict`",
            )
        return self.predictor.volume(next(iter(found.values()))()).label_map


def open(folder: str | Path) -> DataFolder:
    """A folder of scans and masks."""
    return DataFolder(Path(folder))


def train(prepared: str | Path, out: str | Path, **request: Any) -> Path:
    """Train, or resume an unfinished run; `request` holds the fields of `TrainRequest`. Returns
    the run folder.
    """
    return _train(TrainRequest(prepared=Path(prepared), out=Path(out), **request))


def save(mask: LabelMap, path: str | Path, overwrite: bool = False) -> None:
    """Write a mask as NIfTI (`.nii.gz`, `.nii`) on the grid of its scan. Raises `BadConfig` (F11)
    where a file is there.
    """
    if Path(path).exists() and not overwrite:
        raise BadConfig(
            "there is a file already",
            where=str(path),
            did="nothing was written",
            fix="choose another path, or say overwrite=True",
            code="F11",
        )
    write_labels(Path(path), mask)


def load(run: str | Path, device: str | None = None) -> LoadedRun:
    """A finished run, ready to predict."""
    return LoadedRun(load_predictor(Path(run), device))
