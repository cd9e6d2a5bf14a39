"""The folder WORK that the workbench writes to: what is in it, and who may open it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from fewmask.core.errors import BadConfig
from fewmask.core.volume import Plane
from fewmask.io.atomic import make_folder
from fewmask.io.lock import folder_lock
from fewmask.io.mark import MAKER
from fewmask.io.outputs import check_folder
from fewmask.io.text import expecting, read_json, write_json
from fewmask.prepare.mapping import Wanted
from fewmask.prepare.options import AS_THEY_ARE, ScanOptions
from fewmask.version import __version__

FORMAT = 1
MANIFEST = "workbench.json"
_NOT_OURS = "choose another folder with `out`, or the data that this one was made for"


@dataclass(frozen=True)
class WorkOptions:
    """What a person asks of `fewmask label`."""

    data: Path
    """Folder of scans; never written to."""
    labels: Wanted = field(default_factory=dict)
    """Structure -> values or names in masks that are there already (`parse_labels`); their order is
    that of the numbers 1, 2, ... in WORK/labels. Empty: as the folder was opened before.
    """
    out: Path | None = None
    """WORK; None: beside the data, under its name and `-workbench`."""
    tags: Path | None = None
    """A table of tags to begin with (`prepare` reads the same)."""
    slices_from: int = 0
    """What the first slice of a file is called on the page, and in `tags`."""
    scans: ScanOptions = AS_THEY_ARE
    """How scans are found and read."""
    cache_bytes: int | None = None
    """Most bytes of scans in WORK/cache; None: 20 GB, or a fifth of what is free."""


@dataclass(frozen=True)
class WorkFolder:
    """An opened WORK: paths, and what its manifest says."""

    root: Path
    data: Path
    labels: Wanted
    plane: Plane = "axial"
    slices_from: int = 0
    died: str = ""
    """A line about an earlier server that ended without notice, or empty."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Structures in the order of their numbers, from 1."""
        return tuple(self.labels)

    def label_file(self, case: str) -> Path:
        """The person's outlines of a case."""
        return self.root / "labels" / f"{case}.nii.gz"

    def accepted_file(self, case: str) -> Path:
        """The mask of a case that the person accepted."""
        return self.root / "accepted" / f"{case}.nii.gz"

    def journal(self, case: str) -> Path:
        """Slices of a case that are saved, but not yet in its label file."""
        return self.root / "journal" / case

    @property
    def cache(self) -> Path:
        """What may be deleted at any time."""
        return self.root / "cache"

    def round(self, number: int) -> Path:
        """The run folder of a round."""
        return self.root / "rounds" / f"{number:02d}"

    def predictions(self, number: int) -> Path:
        """Masks that a round drew, with `quality.csv` and `volumes.csv`."""
        return self.round(number) / "predictions"


def key_of(case: str) -> str:
    """What a case is called in addresses and in the cache: 16 letters that say nothing of it."""
    return hashlib.blake2b(case.encode(errors="surrogatepass"), digest_size=8).hexdigest()


@contextmanager
def open_work(options: WorkOptions) -> Iterator[WorkFolder]:
    """Open WORK, or make it, and hold it while the block runs.

    Raises `NoRoom` (F12) naming the process that holds it already; `BadConfig` where the folder is
    not ours (F11), belongs to other data or another plane, or other structures (C06), or where no
    structure is named at all (C02).
    """
    data = options.data.resolve()
    root = (options.out or data.with_name(f"{data.name}-workbench")).resolve()
    check_folder(root, [data], owns=None if (root / MANIFEST).exists() else _is_lock)
    make_folder(root)
    purpose = "outlining in the workbench, at the address that its terminal shows"
    with folder_lock(root, purpose) as died:
        manifest = root / MANIFEST
        earlier = read_json(manifest) if manifest.exists() else {}
        labels = _labels(options, earlier, manifest)
        plane = _plane(options, earlier, manifest)
        _check_data(data, earlier, manifest)
        record = {
            "format": FORMAT,
            "data": str(data),
            "labels": [[name, *sources] for name, sources in labels.items()],
            "plane": plane,
            "slices_from": options.slices_from,
            "made_by": f"{MAKER}{__version__}",
        }
        if record != earlier:
            write_json(manifest, record)
        for name in ("labels", "accepted", "journal", "cache", "rounds"):
            make_folder(root / name)
        yield WorkFolder(root, data, labels, plane, options.slices_from, died)


def _is_lock(path: Path) -> bool:
    """Is this file what an opening that was cut short leaves behind?"""
    return path.name.startswith((".fewmask", f".{MANIFEST}"))


def _labels(options: WorkOptions, earlier: dict[str, Any], manifest: Path) -> Wanted:
    if earlier and earlier.get("format") != FORMAT:
        raise BadConfig(
            f"the folder has format {earlier.get('format')!r}, this version reads {FORMAT}",
            where=str(manifest),
            fix="open it with the version that made it, or choose another with `out`",
            code="W06",
        )
    before: Wanted = {}
    with expecting(manifest):
        for name, *sources in earlier.get("labels", []):
            before[str(name)] = tuple(sources)
    wanted = options.labels or before
    if not wanted:
        raise BadConfig(
            "no structure is named",
            fix="name what is to be outlined with `labels`, such as `labels=liver`",
            code="C02",
        )
    if tuple(wanted)[: len(before)] != tuple(before):
        raise BadConfig(
            f"this folder was begun for {', '.join(before)}, in this order",
            where=[str(manifest), f"asked for: {', '.join(wanted)}"],
            fix="name the same structures in the same order, and new ones after them",
            code="C06",
        )
    return wanted


def _plane(options: WorkOptions, earlier: dict[str, Any], manifest: Path) -> Plane:
    before: Plane | None = earlier.get("plane")
    asked = options.scans.plane
    if before and asked and asked != before:
        raise BadConfig(
            f"`plane={asked}`: this folder was begun with {before} slices",
            where=str(manifest),
            fix="leave `plane` out, or choose another folder with `out`",
            code="C06",
        )
    if before and before not in get_args(Plane):
        raise BadConfig(
            f"no plane is called {before!r}",
            where=str(manifest),
            fix=f"write one of {', '.join(get_args(Plane))} there",
            code="C03",
        )
    return before or asked or "axial"


def _check_data(data: Path, earlier: dict[str, Any], manifest: Path) -> None:
    """Data that was moved is fine; other data beside the first is not."""
    with expecting(manifest):
        before = str(Path(earlier.get("data", "")))
    if earlier.get("data") and before != str(data) and Path(before).is_dir():
        raise BadConfig(
            "this folder was begun for other data",
            where=[str(manifest), f"has     {before}", f"wanted  {data}"],
            fix=_NOT_OURS,
            code="C06",
        )
