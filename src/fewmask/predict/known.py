"""What a person said of a scan has the last word over its mask: tags say where a structure ends,
outlines what a slice holds.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int8, UInt8

from fewmask.core.errors import BadConfig
from fewmask.core.volume import Volume
from fewmask.data.label_guard import LabelGuard
from fewmask.io.known import Prompts
from fewmask.io.prepared import Prepared, is_prepared
from fewmask.io.run import RunFolder
from fewmask.io.tables import read_csv
from fewmask.prepare.lines import OPTIONAL, read_lines
from fewmask.prepare.tags import COLUMNS, class_of, read_span, refuse_lines, unknown_class

UNKNOWN_DATA = "the run does not say what data it learned from: tags and outlines are not put in"
_DID = "no mask was written"
_FEW_OUTLINES = 2
"""Outlined slices of a structure, of which nobody would say that they are all of it."""


@dataclass(frozen=True)
class Known:
    """What was said of one scan."""

    tags: Int8[np.ndarray, "d k"]
    """1: the slice holds the structure, 0: it does not, -1: nobody said."""
    outlines: Mapping[int, UInt8[np.ndarray, "h w"]] = field(default_factory=dict)
    """Outlined slices of the budget, by d."""
    put_in: bool = True
    """Does it change the mask? Else the mask is only compared with it."""
    prompts: Prompts = "automatic"
    """`tags`: the network is told what slices hold."""

    @property
    def absent(self) -> Bool[np.ndarray, "d k"]:
        """Slices tagged as not holding a structure."""
        denied: Bool[np.ndarray, "d k"] = np.equal(self.tags, 0)
        return denied


@dataclass(frozen=True)
class Settled:
    """A label map after what was said was put in."""

    voxels: UInt8[np.ndarray, "d h w"]
    sure: Bool[np.ndarray, " d"]
    """Slices about which nothing is left to a network."""
    removed: int
    """Voxels that lay where tags say the structure is not."""
    outlined: int
    """Slices that show their outline."""


@dataclass(frozen=True)
class KnownScans:
    """What was said of scans that are to be predicted."""

    find: Callable[[str, Volume], Known | None] = lambda case, volume: None
    """From a case and its scan to what was said of it; None: nothing, or it is of no concern.
    Raises `BadDataset` for tags that do not fit the scan.
    """
    classes: tuple[str, ...] = ()
    """Names of the structures 1, 2, ...; without them no mask is called empty."""
    named: tuple[str, ...] = ()
    """Cases of a file of tags that are among the scans."""
    note: str = ""
    """What a person should know."""
    among: Callable[[Collection[str]], "KnownScans"] | None = None
    """The same, once it is known what the scans are called; None where that changes nothing."""


NOTHING_KNOWN = KnownScans()
"""Masks as the network draws them."""


def read_known(prepared: Prepared, guard: LabelGuard, case: str) -> Known:
    """Tags and granted outlines of a scan of the training part."""
    slices = [d for name, d in guard.granted() if name == case]
    masks = guard.labels(case, slices) if slices else ()
    return Known(tags_of(prepared, case), dict(zip(slices, masks, strict=True)))


def open_known(
    run: Path,
    source: Path,
    chosen: Literal["auto", "none"] = "auto",
    tags: Path | None = None,
    slices_from: int = 0,
) -> KnownScans:
    """What was said of the scans of `source`, for masks of this run.

    Of a prepared dataset: tags and outlines. Only masks of scans that the run learned from are
    changed (`auto`), or none: never one of a scan that was kept aside, whose tags only tell whether
    its mask should not be empty. Of other scans: a file of `tags`, in which the first slice of a
    scan's file is called `slices_from` (0 or 1). Raises `BadConfig` for a file of
    tags beside a prepared dataset, and what `read_new_tags` raises.
    """
    classes = tuple(RunFolder.open(run).read_record().task.classes)
    if not is_prepared(source):
        if tags is None:
            return KnownScans(classes=classes)
        return read_new_tags(tags, classes, slices_from)
    if tags is not None:
        raise BadConfig(
            "a prepared dataset has its own tags",
            where=str(source),
            did="nothing was written",
            fix="leave `tags` out, or predict the scans themselves",
            code="C02",
        )
    return _of_prepared(RunFolder(run), Prepared.open(source), chosen == "auto")


def _of_prepared(run: RunFolder, prepared: Prepared, put_in: bool) -> KnownScans:
    """A scan is the run's own by its voxels: another dataset's of the same name is left alone."""
    record = run.read_record()
    classes = tuple(record.task.classes)
    if prepared.classes != classes:
        return KnownScans(classes=classes)
    note = UNKNOWN_DATA if put_in and record.scans is None else ""
    if run.is_published:

        def compare(case: str, volume: Volume) -> Known:
            return Known(tags_of(prepared, case), put_in=False)

        return KnownScans(compare, classes, note=note)
    learned_from = set(run.read_split().train) & set(prepared.split.train)
    scans, guard = record.scans or {}, LabelGuard(prepared, run.read_budget())

    def find(case: str, volume: Volume) -> Known:
        same = scans.get(case) == prepared.cases[case].voxels_sha256
        if not same or case not in learned_from:
            return Known(tags_of(prepared, case), put_in=False)
        return replace(read_known(prepared, guard, case), put_in=put_in)

    return KnownScans(find, classes, note=note)


def read_new_tags(path: Path, classes: tuple[str, ...], slices_from: int = 0) -> KnownScans:
    """Tags of scans that are to be predicted, in a file as `prepare` takes it: lines of
    `case[,class],first_slice,last_slice` in slices of the scan's file, both empty = absent.

    Scans without a line are predicted as ever. Raises `BadDataset` for a structure that the run
    does not have, and `among` if no line is of one of the scans; numbers outside a scan are that
    scan's error.
    """
    problems = [
        unknown_class(line["case"], name, classes)
        for line in read_csv(path, COLUMNS, optional=OPTIONAL)
        if (name := class_of(line, classes)) not in classes
    ]
    refuse_lines(problems, path, _DID, slices_from)

    def among(cases: Collection[str]) -> KnownScans:
        lines: dict[str, list[dict[str, str]]] = {}
        found, notes = read_lines(
            path, COLUMNS, cases, _DID, once=lambda line: class_of(line, classes)
        )
        for case, line in found:
            lines.setdefault(case, []).append(line)

        def find(case: str, volume: Volume) -> Known | None:
            if case not in lines:
                return None
            depth, flipped = volume.shape[0], volume.grid.orientation.flips[0]
            tags = np.full((depth, len(classes)), -1, np.int8)
            wrong: list[str] = []
            for line in lines[case]:
                k = classes.index(class_of(line, classes))
                span = read_span(line, case, depth, flipped, wrong, slices_from)
                tags[:, k] = 0
                if span is not None:
                    tags[span[0] : span[1] + 1, k] = 1
            refuse_lines(wrong, path, "its mask was not written", slices_from)
            return Known(tags, prompts="tags")

        return KnownScans(find, classes, tuple(lines), "\n".join(notes))

    return KnownScans(classes=classes, among=among)


def settle(voxels: UInt8[np.ndarray, "d h w"], known: Known) -> Settled:
    """The label map (class number = place in the classes + 1) with outlines put in, and background
    where tags deny a structure.
    """
    out, removed = voxels.copy(), 0
    sure: Bool[np.ndarray, " d"] = np.all(known.absent, axis=1)
    for d, denied in enumerate(known.absent):
        wrong = np.isin(out[d], np.flatnonzero(denied) + 1)
        removed += int(wrong.sum())
        out[d][wrong] = 0
    for d, outline in known.outlines.items():
        out[d], sure[d] = outline, True
    return Settled(out, sure, removed, len(known.outlines))


def find_empty(
    voxels: UInt8[np.ndarray, "d h w"], known: Known | None, classes: Sequence[str]
) -> dict[str, str]:
    """Structures of which no voxel was drawn though `tags` or `outlines` say that they are there;
    where nothing says so, all of them if the whole mask is empty (``).

    Outlined slices do not count: they show what a person drew, whatever the network does. What
    they say of the others: a structure goes on between two outlined slices that hold it, and
    nobody's structure ends where one or two outlined slices do.
    """
    free = np.ones(len(voxels), bool)
    outlines = {} if known is None else known.outlines
    free[list(outlines)] = False
    empty = {}
    for number, name in enumerate(classes, 1):
        if (voxels[free] == number).any() or known is None:
            continue
        tags = known.tags[free, number - 1]
        if (tags == 1).any():
            empty[name] = "tags"
        elif _goes_on(outlines, number, free & (known.tags[:, number - 1] == -1)):
            empty[name] = "outlines"
    said_absent = known is not None and bool((known.tags[free] == 0).all())
    drawn = voxels[free].any() or any(mask.any() for mask in outlines.values())
    if not empty and free.any() and not drawn and not said_absent:
        return dict.fromkeys(classes, "")
    return empty


def _goes_on(
    outlines: Mapping[int, UInt8[np.ndarray, "h w"]], number: int, open_: Bool[np.ndarray, " d"]
) -> bool:
    """Do outlines say that slices of which nobody said anything (`open_`) hold the structure?"""
    shown = [d for d, mask in outlines.items() if (mask == number).any()]
    if not shown or not open_.any():
        return False
    return len(shown) <= _FEW_OUTLINES or bool(open_[min(shown) : max(shown)].any())


def tags_of(prepared: Prepared, case: str) -> Int8[np.ndarray, "d k"]:
    """What was said of every slice: 1 it holds the structure, 0 not, -1 nobody said."""
    return np.array([prepared.tag(case, d) for d in range(prepared.cases[case].shape[0])], np.int8)
