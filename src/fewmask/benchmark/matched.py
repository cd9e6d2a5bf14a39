"""A predicted mask and its truth on one grid and in one numbering, and what a person should know of
the two.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Integer, UInt8

from fewmask.benchmark.pairs import MaskFiles, MaskPair
from fewmask.core.errors import BadConfig, BadDataset, BadScan
from fewmask.core.volume import Grid, LabelMap
from fewmask.core.words import count
from fewmask.io.dicommask import is_dicom_mask, is_struct
from fewmask.io.image import is_prediction, read_labels, read_names
from fewmask.io.rtstruct import grid_around
from fewmask.io.same_grid import joint_grid, lay_on_grid
from fewmask.prepare.content import drawn_across, refuse_grey, stand_alone
from fewmask.prepare.mapping import (
    IGNORE,
    Values,
    Wanted,
    classes_of,
    map_labels,
    map_parts,
    part_names,
    resolve,
    values_of,
)
from fewmask.prepare.options import AS_THEY_ARE, ScanOptions

Outlined = Literal["auto", "partial", "complete"]
"""`partial`: slices of the truth without an outline are unknown; `complete`: they are empty;
`auto`: partial where most outlined slices stand alone.
"""

_MOST = 254


@dataclass(frozen=True)
class Numbering:
    """What the numbers of masks and truths mean."""

    labels: Wanted | None = None
    """Class -> values, or structures, of the truth; None: both hold the same values."""
    same_values: bool = False
    """The masks hold the values of the truth too; else numbers of the classes, in their order."""
    masks: Outlined = "auto"
    scans: ScanOptions = AS_THEY_ARE
    """How both are read."""


@dataclass(frozen=True)
class Matched:
    """A mask and its truth, ready to be scored."""

    prediction: LabelMap
    """Class numbers, 0 outside the slices that are scored."""
    truth: UInt8[np.ndarray, "d h w"]
    classes: tuple[str, ...]
    found: Mapping[int, int]
    """Value in the mask, as it is stored -> voxels; empty where names say which is which."""
    outlined: int | None
    """So many slices are scored, since the truth is outlined in these alone; None: all are."""
    sure: bool
    """Which class a number is was not guessed: fewmask drew the mask, or it names its segments."""
    unseen: int = 0
    """Voxels that the data set marks as not looked at: they are not scored."""
    unlike: tuple[str, ...] = ()
    """What the mask calls its values, where no class is called so."""


@dataclass
class Notes:
    """What is known of all pairs together."""

    numbering: Numbering
    foreign: Counter[int] = field(default_factory=Counter)
    """Value that no class has -> masks that hold it."""
    fitting: int = 0
    """Masks with a value that a class has."""
    others: int = 0
    """Masks whose numbers are taken to be those of the classes."""
    partial: dict[str, int] = field(default_factory=dict)
    """Case -> slices scored."""
    unseen: dict[str, int] = field(default_factory=dict)
    """Case -> voxels that are not scored."""
    unlike: set[str] = field(default_factory=set)
    """Names of structures in masks that name none of the classes."""

    def add(self, case: str, matched: Matched) -> None:
        """Take note of a pair."""
        expected = expected_values(self.numbering)
        self.others += not matched.sure
        if expected is not None:
            self.foreign.update(matched.found.keys() - expected)
            self.fitting += bool(matched.found.keys() & expected)
        if matched.outlined is not None:
            self.partial[case] = matched.outlined
        if matched.unseen:
            self.unseen[case] = matched.unseen
        self.unlike.update(matched.unlike)

    def refuse_foreign(self) -> None:
        """Raise `BadDataset` (M08) if the masks hold values, and none that a class has."""
        if not self.foreign or self.fitting:
            return
        labels, held = self.numbering.labels or {}, _listed(self.foreign)
        wanted = ", ".join(f"{number} = {name}" for number, name in enumerate(labels, 1))
        fix = "if they hold the values of the truth, say `same_values=True`"
        asked = expected_values(replace(self.numbering, same_values=True))
        if asked is not None and not asked & self.foreign.keys():
            fix = "save the masks with these numbers, or score them without `labels`"
        if self.numbering.same_values:
            wanted, fix = _listed(expected_values(self.numbering) or ()), "check `labels`"
        raise BadDataset(
            f"the masks hold {held}, which no class has, and none of the values that a class has",
            where=f"expected in the masks: {wanted}",
            did="nothing was scored",
            fix=fix,
            code="M08",
        )

    def lines(self) -> list[str]:
        """What a person should know."""
        said = []
        if self.foreign:
            most = max(self.foreign.values())
            said.append(
                f"M08: up to {count(most, 'mask holds', 'masks hold')} {_listed(self.foreign)}, "
                "which no class has: not scored"
            )
        labels = self.numbering.labels or {}
        meant = ", ".join(f"{number} = {name}" for number, name in enumerate(labels, 1))
        if self.unlike:
            some = ", ".join(sorted(self.unlike)[:5])
            said.append(
                f"the masks name {some}, and no class is called so: their numbers are taken in the "
                f"order of `labels` ({meant})"
            )
        elif labels and self.others and not self.numbering.same_values and not _in_order(labels):
            said.append(
                f"numbers in the masks are taken in the order of `labels` ({meant}); if they are "
                "the values of the truth, say `same_values=True`"
            )
        if self.partial:
            some = ", ".join(f"{case} ({n})" for case, n in list(self.partial.items())[:5])
            more = " ..." if len(self.partial) > 5 else ""
            said.append(
                f"M12: {count(len(self.partial), 'truth is', 'truths are')} outlined in some "
                f"slices only, and only these are scored: {some}{more} (`masks` can say otherwise)"
            )
        if self.unseen:
            some = ", ".join(f"{case} ({n})" for case, n in list(self.unseen.items())[:5])
            more = " ..." if len(self.unseen) > 5 else ""
            said.append(
                f"M19: voxels that the data set marks {IGNORE!r} are not scored, in "
                f"{count(len(self.unseen), 'truth')}: {some}{more}"
            )
        return said


def match(
    pair: MaskPair,
    numbering: Numbering,
    names: Mapping[str, Values] | None = None,
    drawn_names: Mapping[str, int] | None = None,
) -> Matched:
    """Read a pair; `names` are those that the data set of the truth declares, and `drawn_names`
    those of a label description beside the masks, for masks that hold numbers alone.

    Voxels that it calls `ignore` are empty in both. Raises `BadScan` for a file that cannot be used
    or another grid, `BadDataset` for values that are not as declared.
    """
    classes = tuple(numbering.labels or ())
    if not numbering.labels and (pair.truth.parts or pair.prediction.parts):
        raise BadConfig(
            "a file per structure: which structures are meant?",
            where=str((pair.truth if pair.truth.parts else pair.prediction).path),
            did="nothing was scored",
            fix="name them with `labels`, such as liver",
            code="C02",
        )
    declared = dict(names or {})
    called = _names_of(pair.prediction, drawn_names or {})
    own = _own_names(called, numbering)
    prediction, truth = _read_both(pair, numbering, own, declared, called)
    prediction, truth = _on_one_grid(prediction, truth, pair)
    prediction, truth, unseen = _without_unseen(prediction, truth, pair, declared)
    found = {} if pair.prediction.parts or own else _counts(prediction.voxels)
    guessed = numbering.labels is not None and not numbering.same_values and not own
    unlike = tuple(called) if guessed else ()
    sure = bool(own) or (not pair.prediction.parts and is_prediction(pair.prediction.path))
    if numbering.labels is None:
        values = _values(prediction, truth, pair)
        classes = tuple(map(str, values))
        drawn, true = (_dense(each.voxels, values) for each in (prediction, truth))
    else:
        true = _numbered(truth, pair.truth, numbering.labels, declared)
        drawn = prediction.voxels
        if own:
            drawn = _by_name(prediction, pair.prediction, classes, own, called)
        elif numbering.same_values and not pair.prediction.parts:
            named = {**declared, **called}
            drawn = _numbered(prediction, pair.prediction, resolve(numbering.labels, named), {})
    _refuse_across(LabelMap(true, truth.grid), pair, numbering)
    # What is not marked as unseen was looked at.
    known = _outlined(true, "complete" if unseen and numbering.masks == "auto" else numbering.masks)
    if known is not None:
        drawn = np.where(known[:, None, None], drawn, 0).astype(drawn.dtype)
    scored = LabelMap(drawn, prediction.grid)
    outlined = None if known is None else int(known.sum())
    return Matched(scored, true, classes, found, outlined, sure, unseen, unlike)


def _without_unseen(
    prediction: LabelMap, truth: LabelMap, pair: MaskPair, declared: Mapping[str, Values]
) -> tuple[LabelMap, LabelMap, int]:
    """Both empty where the truth says that nobody looked, and how many voxels these are."""
    own = {} if pair.truth.parts else read_names(pair.truth.path)
    values = values_of({**declared, **own}, IGNORE)
    unseen = np.isin(truth.voxels, values) if values and not pair.truth.parts else None
    if unseen is None or not unseen.any():
        return prediction, truth, 0
    if unseen.all():
        raise BadDataset(
            f"all voxels of the truth are marked {IGNORE!r}",
            where=str(pair.truth.path),
            did="the pair was not scored",
            fix="give a truth in which something was looked at",
            code="M19",
        )
    drawn, true = (
        LabelMap(np.where(unseen, 0, each.voxels).astype(each.voxels.dtype), each.grid, each.notes)
        for each in (prediction, truth)
    )
    return drawn, true, int(unseen.sum())


def expected_values(numbering: Numbering) -> set[int] | None:
    """Values that the masks may hold; None where any may, or nobody can say."""
    labels = numbering.labels
    if labels is None:
        return None
    if not numbering.same_values:
        return set(range(1, len(labels) + 1))
    if any(isinstance(source, str) for sources in labels.values() for source in sources):
        return None
    return {value for values in resolve(labels, {}).values() for value in values}


def _names_of(files: MaskFiles, beside: Mapping[str, int]) -> dict[str, int]:
    """What a mask calls its values: itself, or the label description beside it."""
    return {} if files.parts else read_names(files.path) or dict(beside)


def _own_names(names: Mapping[str, int], numbering: Numbering) -> Wanted:
    """Class -> the name of its segment, for masks that name segments as classes are called:
    such a name says more than a number. Classes that they do not name are absent from them.
    """
    if numbering.labels is None or numbering.same_values:
        return {}
    called = {
        name: [name, *(source for source in sources if isinstance(source, str))]
        for name, sources in numbering.labels.items()
    }
    named = {
        name: next((text for text in texts if values_of(names, text)), None)
        for name, texts in called.items()
    }
    return {name: (text,) for name, text in named.items() if text is not None}


def _by_name(
    mask: LabelMap,
    files: MaskFiles,
    classes: Sequence[str],
    own: Wanted,
    names: Mapping[str, int],
) -> UInt8[np.ndarray, "d h w"]:
    """Class numbers, of the segments that are called as the classes."""
    numbers = np.array([0, *(classes.index(name) + 1 for name in own)], np.uint8)
    mapped = map_labels(mask.voxels, own, dict(names), str(files.path))
    named: UInt8[np.ndarray, "d h w"] = numbers[mapped.voxels]
    return named


def _read_both(
    pair: MaskPair,
    numbering: Numbering,
    own: Wanted,
    declared: Mapping[str, Values],
    called: Mapping[str, Values],
) -> tuple[LabelMap, LabelMap]:
    """Mask and truth, each on its own grid; contours, which have none, on that of the other."""
    labels, called = numbering.labels or {}, {**declared, **called}
    asked = labels if numbering.same_values else own
    mask_drawn, truth_drawn = (_holds_contours(each) for each in (pair.prediction, pair.truth))
    if mask_drawn and truth_drawn:
        raise BadScan(
            "mask and truth are both contours, and no grid says where voxels are",
            where=[str(pair.prediction.path), str(pair.truth.path)],
            did="the pair was not scored",
            fix="let one of them be voxels: predict the masks with `format=nifti`",
            code="D10",
        )
    if mask_drawn:
        truth = _read(pair.truth, numbering, declared, labels)
        grid = _grid_for(pair.prediction, pair.truth, truth.grid)
        return _read(pair.prediction, numbering, called, asked, grid), truth
    prediction = _read(pair.prediction, numbering, called, asked)
    grid = prediction.grid
    if truth_drawn:
        grid = _grid_for(pair.truth, pair.prediction, grid)
    return prediction, _read(pair.truth, numbering, declared, labels, grid)


def _grid_for(contours: MaskFiles, other: MaskFiles, grid: Grid) -> Grid:
    """The grid of the other mask, which shows less than its scan where it is cut to its extent."""
    return grid_around(contours.path, grid) if _is_cut(other) else grid


def _is_cut(files: MaskFiles) -> bool:
    """Is it of a format that is cut to its own extent, which says nothing of the scan's?"""
    if files.parts or not files.path.is_file():
        return False
    return files.path.name.lower().endswith(".seg.nrrd") or is_dicom_mask(files.path)


def _holds_contours(files: MaskFiles) -> bool:
    return not files.parts and not files.path.is_dir() and is_struct(files.path)


def _read(
    files: MaskFiles,
    numbering: Numbering,
    declared: Mapping[str, Values],
    asked: Wanted,
    grid: Grid | None = None,
) -> LabelMap:
    """The label map; of a file per structure the classes, in their order. `asked` are the classes
    whose segments win where several overlap; `grid` is the other's: DICOM masks of a smaller extent
    and contours are laid on it.
    """
    plane, labels = numbering.scans.plane or "axial", numbering.labels or {}
    if not files.parts:
        names = {**declared, **read_names(files.path)}
        classes = classes_of(asked, names) if asked else None
        read = read_labels(files.path, numbering.scans.read, wanted=classes, grid=grid)
        refuse_grey(read, str(files.path))
        return read.in_plane(plane)
    wanted = {name for group in part_names(labels, files.parts).values() for name in group}
    maps = {
        name: read_labels(files.parts[name], numbering.scans.read).in_plane(plane)
        for name in sorted(wanted)
    }
    first_name, first = next(iter(maps.items()))
    laid = {
        name: lay_on_grid(first.grid, one, files.parts[first_name], files.parts[name])[0].voxels
        for name, one in maps.items()
    }
    return LabelMap(map_parts(laid, labels, files.case).voxels, first.grid)


def _on_one_grid(
    prediction: LabelMap, truth: LabelMap, pair: MaskPair
) -> tuple[LabelMap, LabelMap]:
    """The smaller one in the grid of the larger: either may be cropped to its extent. Where both
    are, of formats that crop, a grid that holds both.
    """
    if _is_cut(pair.prediction) and _is_cut(pair.truth):
        joint = joint_grid(truth.grid, prediction.grid)
        if joint is not None:
            where = (pair.truth.path, pair.prediction.path)
            return lay_on_grid(joint, prediction, *where)[0], lay_on_grid(joint, truth, *where)[0]
    if prediction.voxels.size > truth.voxels.size:
        where = (pair.prediction.path, pair.truth.path)
        return prediction, lay_on_grid(prediction.grid, truth, *where)[0]
    where = (pair.truth.path, pair.prediction.path)
    return lay_on_grid(truth.grid, prediction, *where)[0], truth


def _numbered(
    label_map: LabelMap,
    files: MaskFiles,
    labels: Mapping[str, tuple[int | str, ...]],
    declared: Mapping[str, Values],
) -> UInt8[np.ndarray, "d h w"]:
    if files.parts:  # in class numbers since it was read
        return label_map.voxels.astype(np.uint8)
    names = {**declared, **read_names(files.path)}
    return map_labels(label_map.voxels, dict(labels), names, str(files.path)).voxels


def _counts(voxels: Integer[np.ndarray, "d h w"]) -> dict[int, int]:
    values, counts = np.unique(voxels, return_counts=True)
    return {int(v): int(n) for v, n in zip(values, counts, strict=True) if v}


def _values(prediction: LabelMap, truth: LabelMap, pair: MaskPair) -> list[int]:
    """Values that occur in the one or the other."""
    values = sorted(_counts(prediction.voxels).keys() | _counts(truth.voxels).keys())
    if len(values) > _MOST:
        raise BadDataset(
            f"{len(values)} different values: is one of them a scan?",
            where=[str(pair.prediction.path), str(pair.truth.path)],
            did="the pair was not scored",
            fix="give label maps, or name the structures with `labels`",
            code="M08",
        )
    return values


def _refuse_across(truth: LabelMap, pair: MaskPair, numbering: Numbering) -> None:
    """Slices outlined in another plane say nothing about what lies between them."""
    plane = drawn_across(truth, several=True) if numbering.masks != "complete" else None
    if plane is not None:
        raise BadScan(
            f"single {plane} slices of the truth seem to be outlined",
            where=str(pair.truth.path),
            did="the pair was not scored",
            fix=f"say `plane={plane}`",
            code="M12",
        )


def _dense(
    voxels: Integer[np.ndarray, "d h w"], values: Sequence[int]
) -> UInt8[np.ndarray, "d h w"]:
    """Each value's place among the values, from 1; 0 stays."""
    return np.searchsorted(np.array([0, *values]), voxels).astype(np.uint8)


def _outlined(truth: UInt8[np.ndarray, "d h w"], masks: Outlined) -> Bool[np.ndarray, " d"] | None:
    """Slices that the truth says something about; None: all.

    Few outlines are drawn here and there, whole ones slice after slice: if most outlined slices
    have no outlined neighbour, the others were not looked at.
    """
    known = np.asarray(truth.any((1, 2)))
    if masks == "complete" or not known.any() or (masks == "auto" and not stand_alone(known)):
        return None
    return known


def _in_order(labels: Wanted) -> bool:
    """Are the values of the classes their numbers, so that both readings are one? Structures that
    are named have no values: only a single one can be in no other order.
    """
    named = len(labels) == 1 and isinstance(next(iter(labels.values()))[0], str)
    return named or all(sources == (number,) for number, sources in enumerate(labels.values(), 1))


def _listed(values: Iterable[int]) -> str:
    shown = [str(value) for value in sorted(values)]
    return ", ".join(shown[:10]) + (" ..." if len(shown) > 10 else "")
