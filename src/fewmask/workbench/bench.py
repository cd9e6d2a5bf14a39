"""Everything that the routes work with, opened once."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import UInt8

from fewmask.core.errors import BadDataset, FewmaskError
from fewmask.io.image import is_prediction, read_names
from fewmask.prepare.discover import discover
from fewmask.prepare.layout import Layout, Pair
from fewmask.prepare.mapping import Wanted, values_of
from fewmask.prepare.options import PrepareOptions, ScanOptions
from fewmask.prepare.reading import read_mask, spoils_one_case
from fewmask.workbench.assist import Assist
from fewmask.workbench.folder import WorkFolder, WorkOptions, key_of, open_work
from fewmask.workbench.freeze import Slices
from fewmask.workbench.grey import Grey
from fewmask.workbench.outlines import Outlines
from fewmask.workbench.predicted import Predicted
from fewmask.workbench.quarrels import find_quarrels
from fewmask.workbench.rounds import Rounds
from fewmask.workbench.tables import Tables
from fewmask.workbench.voxels import Voxels, explain


class NotThere(Exception):
    """A case, slice or round that is not there."""


@dataclass(frozen=True)
class Bench:
    """An opened workbench; safe to be used from several threads."""

    folder: WorkFolder
    cases: Mapping[str, str]
    """Opaque id -> case, in the order of the queue."""
    pairs: Mapping[str, Pair]
    scans: ScanOptions
    """How scans are read, in the folder's plane."""
    voxels: Voxels
    tables: Tables
    outlines: Outlines
    predicted: Predicted
    brought: "Brought"
    assist: Assist
    rounds: Rounds
    notes: tuple[str, ...] = ()
    """What there is to say about the data folder."""
    problems: tuple[FewmaskError, ...] = ()
    """Files of it that cannot be used."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Structures in the order of their numbers, from 1."""
        return self.folder.classes

    def case(self, key: str) -> str:
        """The case of an id. Raises `NotThere`."""
        found = self.cases.get(key)
        if found is None:
            raise NotThere("no scan of that name")
        return found

    def quarrels(self, case: str) -> list[str]:
        """Sentences about outlines of a case that its tags deny."""
        return _quarrels(self.folder, self.voxels, self.outlines, self.tables, case)


@contextmanager
def open_bench(options: WorkOptions, ahead: bool = True) -> Iterator[Bench]:
    """Open the workbench of a data folder, and close it with everything saved.

    `ahead`: scans are read in the background, in the order of the queue. Raises as `open_work`,
    `discover`, and `Tables` for tables that cannot be read.
    """
    with open_work(options) as folder:
        scans = replace(options.scans, plane=folder.plane)
        layout = discover(folder.data, scans.follow_links, scans.channel, series=scans.series)
        pairs = {pair.case: pair for pair in layout.pairs}
        if not pairs:
            raise BadDataset(
                "no scan of the folder can be used",
                where=[str(problem.what) for problem in layout.problems[:5]],
                did="nothing was started",
                fix="see what `fewmask check` says of the folder",
            )
        tables = Tables(folder.root, pairs, folder.classes)
        notes = tables.begin_tags(options.tags, options.slices_from) if options.tags else []
        voxels = Voxels(pairs, scans, folder.cache, options.cache_bytes)
        brought = Brought(folder, layout, scans, voxels)
        outlines = Outlines(folder, pairs, voxels.info, tables, brought.read)
        predicted = Predicted(folder, voxels.info, lambda: rounds.default())
        rounds = _rounds(folder, pairs, scans, voxels, outlines, tables, predicted)
        grey = Grey(voxels, tuple(pairs), lambda case: tables.accepted(case) is not None)
        assist = Assist(grey, folder.cache / "sam", busy=rounds.is_busy)
        bench = Bench(
            folder,
            {key_of(case): case for case in pairs},
            pairs,
            scans,
            voxels,
            tables,
            outlines,
            predicted,
            brought,
            assist,
            rounds,
            (*layout.scan_notes, *notes),
            layout.problems,
        )
        stop = threading.Event()
        reader = threading.Thread(
            target=_read_ahead, args=(bench, stop), name="read-ahead", daemon=True
        )
        if ahead:
            reader.start()
            assist.start()
        try:
            yield bench
        finally:
            stop.set()
            assist.close()
            outlines.close()


def _rounds(
    folder: WorkFolder,
    pairs: Mapping[str, Pair],
    scans: ScanOptions,
    voxels: Voxels,
    outlines: Outlines,
    tables: Tables,
    predicted: Predicted,
) -> Rounds:
    """Rounds of what is outlined in scans that were read."""

    def outlined() -> Slices:
        found: Slices = {}
        for case in pairs:
            # Whatever lies in WORK/labels is learned from, and has to be known as learned.
            if voxels.known(case) or folder.label_file(case).exists():
                with suppress(FewmaskError):  # refused: the queue says it, a round leaves it out
                    states = outlines.outlined(case)
                    found[case] = {d for d, state in states.items() if state == "outlined"}
        return found

    def quarrels() -> list[str]:
        return [
            f"{case}: {said}"
            for case in pairs
            for said in _quarrels(folder, voxels, outlines, tables, case)
        ]

    return Rounds(
        folder.root,
        folder.data,
        folder.classes,
        scans,
        lambda case, d: outlines.read(case, d).mask,
        lambda case, number, d: predicted.slice(case, number, 0, d),
        outlined,
        outlines.flush,
        quarrels,
    )


def _quarrels(
    folder: WorkFolder, voxels: Voxels, outlines: Outlines, tables: Tables, case: str
) -> list[str]:
    info = voxels.known(case)
    if info is None or not outlines.is_open(case):
        return []
    with suppress(FewmaskError):
        drawn, tags = outlines.structures(case), tables.tags(case)
        return find_quarrels(drawn, tags, folder.classes, info, folder.slices_from)
    return []


def _read_ahead(bench: Bench, stop: threading.Event) -> None:
    """Bring every scan, and its outlines, to where a page has them at once."""
    for case in bench.pairs:
        if stop.is_set():
            return
        bench.voxels.look(case)
        with suppress(FewmaskError):  # a queue row says it
            if bench.voxels.known(case):
                bench.outlines.outlined(case)


class Brought:
    """Masks that the data folder has: their outlined slices are the person's from the first opening
    on. The files themselves are never changed.
    """

    def __init__(
        self, folder: WorkFolder, layout: Layout, scans: ScanOptions, voxels: Voxels
    ) -> None:
        self._folder = folder
        self._pairs = {pair.case: pair for pair in layout.pairs}
        self._names = layout.names
        self._scans = scans
        self._voxels = voxels
        self.why_not: dict[str, str] = {}
        """Case -> why its mask was not taken."""

    def read(self, case: str) -> UInt8[np.ndarray, "d h w"] | None:
        """Class numbers of a case's mask, or None without one that can be used."""
        pair = self._pairs[case]
        if not pair.has_mask:
            return None
        if any(is_prediction(path) for path in (pair.mask, *pair.parts.values()) if path):
            self.why_not[case] = "a model drew it, and outlines are a person's"
            return None
        try:
            names = {**self._names, **(read_names(pair.mask) if pair.mask else {})}
            labels = _meant(self._folder.labels, pair, names)
            asked = PrepareOptions(labels, scans=self._scans)
            mapped, _ = read_mask(pair, self._voxels.volume(case), asked, self._names)
        except Exception as error:
            refused = spoils_one_case(error)
            if refused is None:
                raise
            self.why_not[case] = explain(refused)
            return None
        if mapped is None:
            return None
        bare = labels != self._folder.labels and not names
        if bare and mapped.dropped:
            self.why_not[case] = (
                f"it holds the values {', '.join(map(str, sorted(mapped.counts)))}: say which are "
                "meant, such as `labels=liver=6`"
            )
            return None
        return mapped.voxels


def _meant(labels: Wanted, pair: Pair, names: Mapping[str, Any]) -> Wanted:
    """`liver` alone, which the data set does not name, is the number that it has with us."""
    if pair.parts and not pair.mask:
        return labels
    return {
        name: (number,) if sources == (name,) and not values_of(names, name) else sources
        for number, (name, sources) in enumerate(labels.items(), start=1)
    }
