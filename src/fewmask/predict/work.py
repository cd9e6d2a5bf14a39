"""From one scan of a cohort to its mask in the folder: what each process does, alone or beside
others.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fewmask.cleanup.beside import read_cleaning, write_cleaning
from fewmask.cleanup.rule import Cleaning
from fewmask.core.volume import Plane, Volume
from fewmask.io.case import CaseFile
from fewmask.io.known import NOTHING_SAID, KnownNote, read_known_note, write_known
from fewmask.io.prepared import Prepared
from fewmask.io.text import write_json
from fewmask.predict.beside import Beside
from fewmask.predict.cleanup import Cleanup
from fewmask.predict.form import NIFTI, MaskForm
from fewmask.predict.known import Known, KnownScans
from fewmask.predict.made import made_of, read_made, write_made
from fewmask.predict.overlap import Steps, run_side_by_side
from fewmask.predict.predictor import Prediction, Predicts
from fewmask.prepare.content import scan_warnings
from fewmask.prepare.discover import Pair
from fewmask.prepare.options import ScanOptions
from fewmask.prepare.reading import read_scan, spoils_one_case

Load = Callable[[], Volume]


@dataclass(frozen=True)
class Scan:
    """One scan to be predicted, small enough to send between machines."""

    case: str
    load: Load
    image: Path | None = None
    """File or folder; None for a case of a prepared dataset."""
    slices: tuple[Path, ...] | None = None
    """Files of its DICOM series, where its folder holds others too."""


@dataclass(frozen=True)
class FileScan:
    """Reads a scan from its files."""

    pair: Pair
    options: ScanOptions

    def __call__(self) -> Volume:
        """The scan, with what is odd about it. Raises `BadScan` as `read_scan` does."""
        volume = read_scan(self.pair, self.options)
        return replace(volume, notes=(*volume.notes, *scan_warnings(volume)))


@dataclass(frozen=True)
class PreparedScan:
    """Reads the scan of a prepared case; its mask stays closed."""

    path: Path
    """Of the case."""

    def __call__(self) -> Volume:
        """The scan. Raises `BadDataset` for a case that is not whole."""
        with CaseFile(self.path) as file:
            return file.volume()


@dataclass(frozen=True)
class Drawn:
    """What became of one scan; no voxels, so that it can be sent."""

    case: str
    note: KnownNote = NOTHING_SAID
    cleaned: Cleaning | None = None
    kept: bool = False
    """Did the mask stand there whole, from the same run and the same scan?"""
    no_prompt: int = 0
    notes: tuple[str, ...] = ()
    refusal: dict[str, Any] | None = None
    """The whole message, where the scan has no mask."""


@dataclass(frozen=True)
class Work:
    """All that masks of one folder share."""

    predictor: Predicts
    out: Path
    cleanup: Cleanup
    known: KnownScans
    form: MaskForm
    options: ScanOptions | None
    plane: Plane
    again: bool
    alone: bool
    """Is it a single scan? Its fault is raised."""
    beside: Beside

    def __call__(self, scan: Scan) -> Drawn:
        """Write the mask of a scan, unless the very same stands there whole."""
        try:
            asked = self.read(scan.case, scan)
            return self.write(scan.case, asked, self.draw(scan.case, asked))
        except Exception as error:
            return self._refused(scan.case, error)

    def side_by_side(self, scans: Iterable[Scan]) -> Generator[Drawn, None, None]:
        """The same for many: the next scan is read, and the last mask written, while one is
        drawn.
        """
        steps, named = Steps(self.read, self.draw, self.write), {one.case: one for one in scans}
        with closing(run_side_by_side(named, steps)) as outcomes:
            for case, outcome in outcomes:
                try:
                    yield outcome.result()
                except Exception as error:
                    yield self._refused(case, error)

    def read(self, case: str, scan: Scan) -> "Asked":
        """The scan, what was said of it, and the note of the very same mask if it stands there."""
        volume, mask = scan.load().in_plane(self.plane), self.form.path(self.out, case)
        said = self.known.find(case, volume)
        made = made_of(self.predictor, volume, said, self.cleanup, self.form)
        whole = not self.again and self.beside.has_all(case)
        return Asked(scan, volume, said, mask, made, read_made(mask, made) if whole else None)

    def draw(self, case: str, asked: "Asked") -> Prediction | None:
        """What the network draws, unless the mask stands there."""
        if asked.there is not None:
            return None
        return self.beside.draw(case, self.predictor, asked.volume, asked.said)

    def write(self, case: str, asked: "Asked", drawn: Prediction | None) -> Drawn:
        """Write a mask with all that belongs to it, or read what stands there."""
        volume, mask, there, scan = asked.volume, asked.mask, asked.there, asked.scan
        if there is not None:
            note, cleaned = read_known_note(self.out, case), read_cleaning(self.out, case)
            told = (*volume.notes, *there["notes"])
            return Drawn(case, note, cleaned, True, there["no_prompt"], told)
        if drawn is None:
            raise ValueError("a mask that is not there has to be drawn")
        finished = self.beside.finish(case, mask, drawn, volume, asked.said, self.cleanup)
        prediction, note = finished.prediction, finished.note
        write_prediction(
            self.out, case, prediction, note, self.form, scan.image, self.options, scan.slices
        )
        write_made(mask, asked.made, prediction, case)
        told = (*volume.notes, *prediction.notes)
        return Drawn(case, note, prediction.cleaned, False, prediction.no_prompt, told)

    def _refused(self, case: str, error: Exception) -> Drawn:
        """A scan whose own fault it is; any other error is raised."""
        refusal = spoils_one_case(error)
        if refusal is None or self.alone:
            raise error
        return Drawn(case, refusal=refusal.as_dict())


@dataclass(frozen=True)
class Asked:
    """A scan that is to be drawn."""

    scan: Scan
    volume: Volume
    said: Known | None
    mask: Path
    made: str | None
    """What its mask is made of."""
    there: dict[str, Any] | None
    """Note of the very same mask."""


def overlaps(predictor: Predicts) -> bool:
    """Is reading and writing worth a thread of its own? On a CPU the network takes thirty times as
    long as both, and two more scans would be in memory.
    """
    device = getattr(predictor, "device", None)
    return isinstance(device, torch.device) and device.type != "cpu"


def write_prediction(
    out: Path,
    case: str,
    prediction: Prediction,
    note: KnownNote = NOTHING_SAID,
    form: MaskForm = NIFTI,
    scan: Path | None = None,
    options: ScanOptions | None = None,
    files: Sequence[Path] | None = None,
) -> None:
    """All else first, then the mask: a mask that exists is complete with all that belongs to it."""
    if prediction.prompts is not None:
        write_json(out / f"{case}.prompts.json", prediction.prompts)
    write_cleaning(out, case, prediction.cleaned)
    write_known(out, case, note)
    form.write(out, case, prediction.label_map, scan, options, files)


def load_prepared(prepared: Prepared, case: str) -> Volume:
    """The scan of a prepared case; its mask stays closed."""
    with prepared.case(case) as file:
        return file.volume()
