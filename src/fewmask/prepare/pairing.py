"""Which mask belongs to which scan: by case id, then by the part of the name that both share, never
by order.
"""

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fewmask.core.errors import FewmaskError
from fewmask.core.words import count
from fewmask.io.image import read_grid, read_labels
from fewmask.prepare.folder import printable
from fewmask.prepare.layout import FileProblem, MaskProblem, Pair
from fewmask.prepare.names import bare, case_id, core_of, stem, unmasked

_LISTED = 20
_MOST_VALUES = 64
"""Values of a label map that lies beside its scan under a name which does not say so."""


@dataclass(frozen=True)
class Names:
    """Case ids of files. Two that differ in small and large letters alone are the same."""

    ids: Mapping[Path, str] = field(default_factory=dict)
    """Of files whose own name does not tell it."""

    def case(self, path: Path) -> str:
        """The case of this file."""
        return self.ids.get(path) or case_id(path)

    def key(self, path: Path) -> str:
        """The same for equal cases."""
        return unicodedata.normalize("NFC", self.case(path)).casefold()

    def unmasked(self, path: Path) -> str:
        """The same for a scan and its mask: without words that say mask."""
        return unmasked(self.key(path))

    def core(self, path: Path) -> str:
        """The same for a scan and its mask: without words that say scan or mask."""
        return core_of(self.key(path))


PLAIN = Names()


def pair(
    scans: Sequence[Path],
    masks: Sequence[Path],
    problems: list[FewmaskError],
    names: Names = PLAIN,
    chosen: Mapping[Path, Path] | None = None,
) -> list[Pair]:
    """A pair per scan, with the mask of the same case id, else of the same id without affixes where
    that is unique on both sides; `chosen` are masks that something else than names gave to scans.

    Names that mean the same case, and masks without a scan, become problems.
    """
    scans = unique(scans, problems, FileProblem, names)
    given = {scan: mask for scan, mask in (chosen or {}).items() if scan in set(scans)}
    taken = set(given.values())
    masks = unique([path for path in masks if path not in taken], problems, MaskProblem, names)
    found, orphans = match([path for path in scans if path not in given], masks, names)
    if orphans:
        problems.append(_orphans(orphans, [names.case(path) for path in scans], names))
    given.update(found)
    return [Pair(names.case(path), path, given.get(path)) for path in scans]


def match(
    ours: Sequence[Path], theirs: Sequence[Path], names: Names = PLAIN
) -> tuple[dict[Path, Path], list[Path]]:
    """For files of two kinds (scans and masks, or predictions and truths) which belongs to which,
    and those of `theirs` that belong to none.

    No two files of one kind may have the same case id: see `unique`.
    """
    chosen: dict[Path, Path] = {}
    left = list(theirs)
    for key in (names.key, names.unmasked, names.core):
        mine, others = defaultdict(list), defaultdict(list)
        for path in ours:
            if path not in chosen:
                mine[key(path)].append(path)
        for path in left:
            others[key(path)].append(path)
        for shared in mine.keys() & others.keys():
            if len(mine[shared]) == len(others[shared]) == 1:
                chosen[mine[shared][0]] = others[shared][0]
        taken = set(chosen.values())
        left = [path for path in left if path not in taken]
    return chosen, sorted(left)


def unique(
    paths: Sequence[Path],
    problems: list[FewmaskError],
    kind: type[FileProblem] = FileProblem,
    names: Names = PLAIN,
) -> list[Path]:
    """Leave out files whose names mean the same case; they are listed (N42, N43)."""
    groups = defaultdict(list)
    for path in paths:
        groups[names.key(path)].append(path)
    for group in groups.values():
        if len(group) > 1:
            problems.append(ambiguous(names.case(group[0]), group, kind))
    return [group[0] for group in groups.values() if len(group) == 1]


def ambiguous(
    case: str, files: Sequence[Path], kind: type[FileProblem] = FileProblem
) -> FileProblem:
    """The problem of several files of one case."""
    folders = {path.parent for path in files}
    same = len({bare(path) for path in files}) == 1 and len(folders) == 1
    why = "a packed and an unpacked file" if same else "names that mean the same case"
    shown = [
        path.name if len(folders) == 1 else f"{path.parent.name}/{path.name}" for path in files
    ]
    return kind(
        f"case {printable(case)}: {why}, so it is not clear which one is meant",
        where=[printable(name) for name in shown],
        did="none of them was used",
        fix="rename or remove all but one",
        code="N42" if same else "N43",
        files=files,
    )


def named_after(scans: Sequence[Path]) -> dict[Path, dict[str, Path]]:
    """Masks under names that do not say so: `case_1_liver` or `liver_case_1` beside `case_1`, of
    the same shape, with few whole values. Scan -> word -> mask.

    Of each word the first file is looked into, and none whose name is not that of another file and
    a word.
    """
    labels: dict[str, bool] = {}
    stems = {stem(path).casefold(): path for path in scans}
    found: dict[Path, dict[str, Path]] = {}
    for path in scans:
        for rest, word in _halves(stem(path)):
            scan = stems.get(rest.casefold())
            if scan is None or word.isdecimal():
                continue
            if word not in labels:
                labels[word] = shows_labels(path, scan)
            if labels[word]:
                found.setdefault(scan, {})[word] = path
                break
    masks = {path for parts in found.values() for path in parts.values()}
    return {scan: parts for scan, parts in found.items() if scan not in masks}


def _halves(name: str) -> Iterator[tuple[str, str]]:
    """The name in two where a word ends: (what may be a case, the rest), either way round, the
    longest case first.
    """
    cuts = [found.start() for found in re.finditer(r"(?<=.)[-_. ](?=.)", name)]
    halves = [(name[:cut], name[cut + 1 :]) for cut in cuts]
    halves += [(rest, first) for first, rest in halves]
    yield from sorted(halves, key=lambda half: -len(half[0]))


def shows_labels(path: Path, scan: Path) -> bool:
    """Does the file hold few whole numbers, on as many voxels as `scan`? False if it cannot be
    read.
    """
    try:
        if read_grid(path).shape != read_grid(scan).shape:
            return False
        voxels = read_labels(path).voxels
    except FewmaskError:
        return False
    return voxels.itemsize == 1 and np.unique(voxels).size <= _MOST_VALUES


class OrphanMasks(MaskProblem):
    """Masks that no scan's name fits."""


def pair_orphans(
    pairs: Sequence[Pair], problems: list[FewmaskError], names: Names = PLAIN
) -> list[Pair]:
    """Pairs that came to be after masks were given to scans, with the masks that are called after
    them; `problems` keeps only those masks that still belong to none.
    """
    orphans = [problem for problem in problems if isinstance(problem, OrphanMasks)]
    masks = [path for problem in orphans for path in problem.files]
    # Paths only carry the names.
    free = {Path(one.case): one for one in pairs if one.slices and not one.has_mask}
    if not free or not masks:
        return list(pairs)
    called = Names({**{path: one.case for path, one in free.items()}, **names.ids})
    found, rest = match(list(free), masks, called)
    problems[:] = [problem for problem in problems if problem not in orphans]
    if rest:
        problems.append(_orphans(rest, [one.case for one in pairs], called))
    given = {free[path].case: mask for path, mask in found.items()}
    return [replace(one, mask=given[one.case]) if one.case in given else one for one in pairs]


def _orphans(masks: Sequence[Path], known: Sequence[str], names: Names) -> MaskProblem:
    lines = []
    for path in masks[:_LISTED]:
        near = difflib.get_close_matches(names.case(path), known, n=2, cutoff=0.5)
        lines.append(
            f"{printable(path.name)}"
            + (f"   nearest scans: {', '.join(map(printable, near))}" if near else "")
        )
    if len(masks) > _LISTED:
        lines.append(f"... and {len(masks) - _LISTED} more")
    return OrphanMasks(
        f"{count(len(masks), 'mask')} without a scan of that name",
        where=lines,
        did="they were left out",
        fix="name scan and mask alike (case_01.nii.gz in both folders), or add the scans",
        code="M15",
        files=masks,
    )
