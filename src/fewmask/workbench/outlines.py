"""What a person draws. A slice is on the disk before `Outlines.write` returns (a small file in the
journal); a thread writes the whole label maps a moment later. No model ever writes here.
"""

import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from fewmask.core.errors import BadScan, FewmaskError, NoRoom
from fewmask.core.volume import LabelMap
from fewmask.io.atomic import make_folder
from fewmask.io.image import read_labels, write_labels
from fewmask.io.same_grid import lay_on_grid
from fewmask.prepare.reading import spoils_one_case
from fewmask.workbench.folder import WorkFolder
from fewmask.workbench.journal import State as State
from fewmask.workbench.journal import journalled, read_entries, remove_entry, write_entry
from fewmask.workbench.tables import Stale, Tables, revision_of
from fewmask.workbench.voxels import ScanInfo

_PAUSE = 0.8
"""Seconds for which strokes are gathered before label maps are written."""
_AGAIN = 5.0
"""Seconds until a write that failed is tried again."""


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice, as a person left it."""

    mask: UInt8[np.ndarray, "h w"]
    revision: int
    """See `revision_of`; 0 for a slice that nobody touched."""
    state: State


@dataclass(frozen=True)
class _Kept:
    """A slice in memory: packed, since most of it is background."""

    packed: bytes
    state: State
    revision: int
    structures: tuple[int, ...] = ()
    """Numbers that are drawn in it."""
    waiting: int = 0
    """Number of its journal entry; 0: the label file holds it."""


@dataclass
class _Case:
    """The touched slices of a scan, and the file they were read from or written to."""

    slices: dict[int, _Kept] = field(default_factory=dict)
    seen: tuple[int, int] | None = None
    """Size and time of the label file as we last read or wrote it."""


Bring = Callable[[str], "UInt8[np.ndarray, 'd h w'] | None"]
"""Label map of a mask that the data folder has for a case, or None."""


class Outlines:
    """Label maps of an opened WORK; safe to be called from several threads."""

    def __init__(
        self,
        folder: WorkFolder,
        cases: Collection[str],
        scan: Callable[[str], ScanInfo],
        tables: Tables,
        bring: Bring = lambda case: None,
        pause: float = _PAUSE,
    ) -> None:
        self._folder = folder
        self._scan = scan
        self._tables = tables
        self._bring = bring
        self._pause = pause
        self._cases: dict[str, _Case] = {}
        self._locks: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
        self._entries = 0
        self._dirty: set[str] = set()
        self._writing: set[str] = set()
        """Cases whose label map is being written now."""
        self._guard = threading.Lock()
        self._flushing = threading.Lock()
        self._wake = threading.Event()
        self._ending = threading.Event()
        self.failed: str | None = None
        """Why label maps could not be written, while that is so."""
        self._dirty.update(case for case in journalled(folder) if case in cases)
        self._writer = threading.Thread(target=self._write_on, name="outlines", daemon=True)
        self._writer.start()
        if self._dirty:
            self._wake.set()

    # --- slices ---

    def read(self, case: str, d: int) -> Slice:
        """Slice d of a case. Raises `IndexError` outside the scan, `FewmaskError` where scan or
        label file cannot be read.
        """
        with self._locks[case]:
            depth, h, w = self._scan(case).shape
            if not 0 <= d < depth:
                raise IndexError(f"slice {d}")
            kept = self._open(case).slices.get(d)
        if kept is None:
            return Slice(np.zeros((h, w), np.uint8), 0, "untouched")
        return Slice(_unpack(kept.packed, (h, w)), kept.revision, kept.state)

    def write(
        self,
        case: str,
        d: int,
        mask: UInt8[np.ndarray, "h w"],
        state: State,
        revision: int,
    ) -> Slice:
        """Replace slice d; it is on the disk when this returns. `outlined` without a voxel is
        `untouched`.

        Raises `Stale` where `revision` is not that of the slice and the slice holds something else
        than what is written, `ValueError` for a mask that does not fit scan, classes or state.
        """
        info = self._scan(case)
        if not 0 <= d < info.shape[0]:
            raise IndexError(f"slice {d}")
        if mask.shape != info.shape[1:] or int(mask.max()) > len(self._folder.classes):
            raise ValueError(
                "the mask has another size or values than this scan and its structures"
            )
        drawn = bool(mask.any())
        if drawn and state != "outlined":
            raise ValueError(f"a slice that is {state} has no outlines")
        state = "untouched" if state == "outlined" and not drawn else state
        packed = zlib.compress(np.ascontiguousarray(mask).tobytes(), 1)
        fresh = 0 if state == "untouched" else revision_of(state.encode(), mask.tobytes())
        with self._locks[case]:
            slices = self._open(case).slices
            now = slices[d].revision if d in slices else 0
            if now == fresh:  # asked for again after an answer that was lost
                return Slice(mask, now, state)
            if now != revision:
                raise Stale(now)
            with self._guard:
                self._entries += 1
                entry = self._entries
            kept = _Kept(packed, state, fresh, _numbers(mask), entry)
            write_entry(self._folder.journal(case), d, state, packed, info)
            slices[d] = kept
        self._wait_for_writer(case)
        return Slice(mask, fresh, state)

    def outlined(self, case: str) -> dict[int, State]:
        """The touched slices d of a case: `outlined` or `empty`."""
        with self._locks[case]:
            slices = self._open(case).slices
            return {d: kept.state for d, kept in sorted(slices.items()) if _touched(kept)}

    def revisions(self, case: str) -> dict[int, int]:
        """Revision of every touched slice d."""
        with self._locks[case]:
            slices = self._open(case).slices
            return {d: kept.revision for d, kept in sorted(slices.items()) if _touched(kept)}

    def whole(self, case: str) -> UInt8[np.ndarray, "d h w"]:
        """All outlines of a case; slices that nobody touched are background."""
        with self._locks[case]:
            shape = self._scan(case).shape
            slices = dict(self._open(case).slices)
        return _assemble(slices, shape)

    def structures(self, case: str) -> dict[int, tuple[int, ...]]:
        """Slice d -> the numbers drawn in it."""
        with self._locks[case]:
            slices = self._open(case).slices
            return {d: kept.structures for d, kept in sorted(slices.items()) if kept.structures}

    def is_open(self, case: str) -> bool:
        """Were the outlines of a case read already?"""
        return case in self._cases

    def changed_at(self, case: str) -> float:
        """When outlines of a case were last changed, in seconds since 1970; 0 for never."""
        with self._guard:
            if case in self._dirty | self._writing:
                return time.time()
        try:
            return self._folder.label_file(case).stat().st_mtime
        except OSError:
            return 0.0

    # --- the disk ---

    @property
    def waiting(self) -> int:
        """Cases whose label map is still to be written (every slice is in the journal)."""
        with self._guard:
            return len(self._dirty | self._writing)

    def flush(self) -> None:
        """Write every label map that is behind its journal, before this returns. Raises
        `FewmaskError` where one cannot be written; its journal stays. So does that of a case that
        is refused (its scan, label file or journal cannot be read), which `outlined` tells.
        """
        with self._flushing:
            with self._guard:
                cases = self._writing = self._dirty
                self._dirty = set()
            left, trouble = set(cases), None
            for case in sorted(cases):
                try:
                    self._write_labels(case)
                    left.discard(case)
                except FewmaskError as error:
                    trouble = error
                except Exception as error:  # the others are written, and the writer lives on
                    trouble = spoils_one_case(error)
            with self._guard:
                self._dirty |= left
                self._writing = set()
            self.failed = trouble.what if trouble else None
            if trouble:
                raise trouble
            self._tables.write_seconds()

    def close(self) -> None:
        """Stop the writer and write what is waiting. Raises as `flush`."""
        self._ending.set()
        self._wake.set()
        self._writer.join()
        self.flush()

    def _write_on(self) -> None:
        while True:
            self._wake.wait()
            if self._ending.wait(self._pause):
                return
            self._wake.clear()
            try:
                self.flush()
            except FewmaskError:
                self._wake.set()
                if self._ending.wait(_AGAIN):
                    return

    def _write_labels(self, case: str) -> None:
        path = self._folder.label_file(case)
        try:
            info = self._scan(case)
            with self._locks[case]:
                slices = dict(self._open(case).slices)
        except NoRoom:
            raise
        except FewmaskError:
            return  # refused: it is read again, journal and all, when somebody asks for it
        if not path.parent.is_dir():
            make_folder(path.parent)
        write_labels(path, LabelMap(_assemble(slices, info.shape), info.grid))
        with self._locks[case]:
            now = self._cases[case]
            now.seen = _look(path)
            touched = {d for d, kept in now.slices.items() if _touched(kept)}
            self._tables.write_reviewed({case: {info.turn(d) for d in touched}})
            for d, kept in slices.items():
                if kept.waiting and now.slices.get(d) is kept:
                    remove_entry(self._folder.journal(case), d, info)
                    if _touched(kept):
                        now.slices[d] = replace(kept, waiting=0)
                    else:
                        del now.slices[d]
            with suppress(OSError):  # it is not empty: strokes came in meanwhile
                self._folder.journal(case).rmdir()

    def _open(self, case: str) -> _Case:
        """Outlines of a case, under its lock; read where they never were, or where another program
        changed the label file: then slices of our journal stay, all others are as in the file.
        """
        found = self._cases.get(case)
        path = self._folder.label_file(case)
        look = _look(path)
        if found is not None and look == found.seen:
            return found
        if found is not None and look is None:  # somebody removed it: it is written again
            found.seen = None
            self._wait_for_writer(case)
            return found
        info = self._scan(case)
        fresh = _Case(self._read_file(case, info), look)
        if found is None:
            fresh.slices.update(self._replay(case, info))
        else:
            for d, kept in found.slices.items():
                if kept.waiting:
                    fresh.slices[d] = kept
                    self._wait_for_writer(case)
                elif kept.structures and d in fresh.slices and not fresh.slices[d].structures:
                    del fresh.slices[d]  # erased in the file, which is not to say: nothing here
        self._cases[case] = fresh
        if found is None and look is None:
            self._bring_in(case, fresh)
        return fresh

    def _read_file(self, case: str, info: ScanInfo) -> dict[int, _Kept]:
        path = self._folder.label_file(case)
        slices: dict[int, _Kept] = {}
        if path.exists():
            read = read_labels(path, grid=info.grid).in_plane(info.grid.plane)
            labels = lay_on_grid(info.grid, read, path, path)[0].voxels
            if int(labels.max()) > len(self._folder.classes):
                raise BadScan(
                    f"{path.name} holds the value {int(labels.max())}, and this folder has "
                    f"{len(self._folder.classes)} structures",
                    where=str(path),
                    did="nothing of it was used",
                    fix="name one more structure with `labels`, or mend the file",
                    code="M08",
                )
            slices = _keep(labels.astype(np.uint8))
            for index in self._tables.reviewed(case):
                d = info.turn(index)
                if d not in slices and 0 <= d < info.shape[0]:
                    slices[d] = _empty(info.shape[1:])
        return slices

    def _replay(self, case: str, info: ScanInfo) -> dict[int, _Kept]:
        """Slices of the journal: a server that was killed left them there."""
        slices = {}
        journal = self._folder.journal(case)
        for entry in read_entries(journal, info, len(self._folder.classes)):
            with self._guard:
                self._entries += 1
                number = self._entries
            untouched = entry.state == "untouched"
            revision = 0 if untouched else revision_of(entry.state.encode(), entry.mask)
            drawn = _numbers(np.frombuffer(entry.mask, np.uint8))
            slices[entry.d] = _Kept(entry.packed, entry.state, revision, drawn, number)
        if slices:
            self._wait_for_writer(case)
        return slices

    def _bring_in(self, case: str, fresh: _Case) -> None:
        """Slices that are outlined in the data folder become the person's, once."""
        labels = self._bring(case)
        if labels is None or not labels.any():
            return
        for d, kept in _keep(labels).items():
            fresh.slices.setdefault(d, kept)
        self._wait_for_writer(case)

    def _wait_for_writer(self, case: str) -> None:
        with self._guard:
            self._dirty.add(case)
        self._wake.set()


def _keep(labels: UInt8[np.ndarray, "d h w"]) -> dict[int, _Kept]:
    """The outlined slices of a label map."""
    return {
        int(d): _Kept(
            zlib.compress(np.ascontiguousarray(labels[d]).tobytes(), 1),
            "outlined",
            revision_of(b"outlined", labels[d].tobytes()),
            _numbers(labels[d]),
        )
        for d in np.flatnonzero(labels.any((1, 2)))
    }


def _empty(shape: tuple[int, ...]) -> _Kept:
    blank = bytes(int(np.prod(shape)))
    return _Kept(zlib.compress(blank, 1), "empty", revision_of(b"empty", blank))


def _numbers(mask: UInt8[np.ndarray, "*any"]) -> tuple[int, ...]:
    """The numbers in a mask, without 0."""
    counts = np.bincount(mask.ravel(), minlength=1)
    return tuple(int(value) for value in np.flatnonzero(counts) if value)


def _touched(kept: _Kept) -> bool:
    return kept.state != "untouched"


def _unpack(packed: bytes, shape: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
    return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape).copy()


def _assemble(slices: dict[int, _Kept], shape: tuple[int, int, int]) -> UInt8[np.ndarray, "d h w"]:
    labels = np.zeros(shape, np.uint8)
    for d, kept in slices.items():
        if kept.state == "outlined":
            labels[d] = _unpack(kept.packed, shape[1:])
    return labels


def _look(path: Path) -> tuple[int, int] | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns
