"""What discovery finds in a folder: pairs of scans and masks, and a line on every file it saw."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fewmask.core.errors import BadDataset, FewmaskError
from fewmask.prepare.mapping import Values
from fewmask.prepare.seriestable import SeriesRow

Use = Literal["scan", "mask", "channel", "list", "refused", "unused", "other"]

LEFT_OUT = "left out: "
"""Beginning of the reason for files of a DICOM series that becomes no case."""


@dataclass(frozen=True)
class Pair:
    """One scan and, where there is one, its mask."""

    case: str
    image: Path
    """A NIfTI file, or the folder of a DICOM series."""
    mask: Path | None = None
    """One label map with a value per structure."""
    parts: Mapping[str, Path] = field(default_factory=dict)
    """One 0/1 file per structure, by its name (TotalSegmentator)."""
    patient: str = ""
    """Whose scan it is, where the folders say so; empty: the case is a patient of its own."""
    slices: tuple[Path, ...] = ()
    """The files of its series, where its folder holds others too; empty: all of the folder."""
    home: Path | None = None
    """Of a pair with `slices`: the highest folder in which there is no other scan."""

    @property
    def has_mask(self) -> bool:
        """True if there is a label map, in one file or in parts."""
        return self.mask is not None or bool(self.parts)


class FileProblem(BadDataset):
    """Files of the folder that cannot be used."""

    def __init__(self, what: str, *, files: Iterable[Path] = (), **rest: Any) -> None:
        """As every error of ours, with the `files` that it is about."""
        super().__init__(what, **rest)
        self.files = tuple(files)


class MaskProblem(FileProblem):
    """Something is wrong with masks, or with lists of them: scans can be predicted all the same."""


@dataclass(frozen=True)
class Seen:
    """One file of the folder, and what becomes of it."""

    path: Path
    use: Use
    """`channel`: a further channel of a scan, not read. `list`: names and pairs were read there.
    `refused`: a problem says why. `unused`: an image that nothing is made of. `other`: no image.
    """
    why: str
    """The case that it belongs to, or why nothing is made of it."""


@dataclass(frozen=True)
class Layout:
    """What a folder holds."""

    kind: str
    """`lits`, `totalsegmentator`, `msd`, `nnunet`, `list`, `plain`, `cases` (a folder each),
    `bids`, `dicom` or `scans`.
    """
    pairs: tuple[Pair, ...]
    """Sorted by case id."""
    names: Mapping[str, Values] = field(default_factory=dict)
    """Structure name -> value, or values of a region, where the data set declares it; background
    is left out, `ignore` is not.
    """
    notes: tuple[str, ...] = ()
    """All there is to say."""
    scan_notes: tuple[str, ...] = ()
    """The notes that matter where only scans are read."""
    problems: tuple[FewmaskError, ...] = ()
    """What could not be used; the pairs are usable without it."""
    files: tuple[Seen, ...] = ()
    """Every file that was seen, sorted by path."""
    further: Mapping[Path, str] = field(default_factory=dict)
    """Further channels of the scans, and whose."""
    series: tuple[SeriesRow, ...] = ()
    """A line per DICOM series, as `series.csv` has them."""
    left_out: Mapping[Path, str] = field(default_factory=dict)
    """Files of DICOM series that become no cases, and why."""
    lists: tuple[Path, ...] = ()
    """Files that names and pairs were taken from."""
    ignored: int = 0
    """Hidden files and leftovers of macOS and Windows that were passed over."""

    @property
    def patients(self) -> dict[str, str]:
        """Case id -> patient, of every pair."""
        return {pair.case: pair.patient or pair.case for pair in self.pairs}
