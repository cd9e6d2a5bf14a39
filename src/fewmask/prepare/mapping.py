"""From the values of somebody's label files to our class indices: which value, or which named
structure, is which class.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Integer, UInt8

from fewmask.core.errors import BadConfig, BadDataset
from fewmask.core.words import count

Wanted = dict[str, tuple[int | str, ...]]
"""Class name -> the source values or structure names that make it up, in class order (index 1, 2,
...).
"""

Sources = int | str | Iterable[int | str]
"""What a person may give for a class: a value, the name of a structure, or several."""

_MAX_CLASSES = 254
_FILE_ENDING = re.compile(r"\.(nii(\.gz)?|nrrd|mha|mhd)$", re.IGNORECASE)
_CLASS_NAME = re.compile(r"\w(?:[\w .+()\[\]&'-]|/(?=\w)){0,63}")
"""A slash stands between letters only: a class is named in tables and pages, never as a path."""
_STRUCTURE = re.compile(r"(?!\.)[^\x00-\x1f\x7f\\=]{1,128}")
_RESERVED = {"background", "unknown", "none"}
IGNORE = "ignore"
"""nnU-Net's name for voxels that nobody looked at."""

Values = int | tuple[int, ...]
"""What a data set's own list gives a name: a value, or those of a region."""


@dataclass(frozen=True)
class Mapped:
    """A label map in our class indices, and what was in the source."""

    voxels: UInt8[np.ndarray, "d h w"]
    """0 background, 1.. class index in the order of the classes."""
    counts: Mapping[int, int] = field(default_factory=dict)
    """Source value -> voxels, without 0."""
    dropped: Mapping[int, int] = field(default_factory=dict)
    """The part of `counts` that no class asked for: now background."""
    unknown: tuple[int, ...] = ()
    """Slices d with voxels that the data set marks as not looked at: nothing of them is kept."""


def values_of(names: Mapping[str, Values], name: str) -> tuple[int, ...]:
    """The values that the data set declares for a name, in whatever letters; none without it."""
    for known, values in names.items():
        if known.casefold() == name.casefold():
            return (values,) if isinstance(values, int) else values
    return ()


def parse_labels(lines: Iterable[str]) -> Wanted:
    """Read `--label` lines: `liver=6`, `kidney=2,3`, `liver=liver.nii.gz`, or `liver` alone (the
    structure of that name).

    No line gives an empty table. Raises `BadConfig` for what cannot be meant: no name, a class
    twice, one value in two classes, value 0, a negative number, a class called background.
    """
    wanted: Wanted = {}
    for line in lines:
        name, equals, text = (part.strip() for part in line.partition("="))
        _add(wanted, name, text.split(",") if equals else [name])
    return wanted


def check_labels(labels: Mapping[str, Sources]) -> Wanted:
    """The same from a mapping: `{"liver": 6, "kidney": (2, 3), "aorta": "aorta.nii.gz"}`."""
    wanted: Wanted = {}
    for name, sources in labels.items():
        if isinstance(sources, str) or not isinstance(sources, Iterable):
            sources = [sources]
        _add(wanted, str(name), [str(source) for source in sources])
    return wanted


def _add(wanted: Wanted, name: str, texts: Sequence[str]) -> None:
    """Add a class with its sources, as a person wrote them."""
    line = f"{name}={','.join(texts)}"
    _check_name(line, name, wanted)
    sources = tuple(_source(line, text) for text in texts)
    for source in sources:
        for other, taken in wanted.items():
            if source in taken:
                raise _nonsense(
                    line, f"{source} is already part of {other}", "give every value to one class"
                )
    if not sources or len(set(sources)) < len(sources):
        raise _nonsense(line, "a value is missing or given twice", "write such as liver=6")
    wanted[name] = sources
    if len(wanted) > _MAX_CLASSES:
        raise BadConfig(
            f"more than {_MAX_CLASSES} classes",
            fix="name fewer structures, or prepare several datasets",
            code="C02",
        )


def resolve(wanted: Wanted, names: Mapping[str, Values]) -> dict[str, tuple[int, ...]]:
    """Replace structure names by the values that the data set declares for them (upper and lower
    case alike); a region has several.

    Raises `BadDataset` (M08) for a name that is not declared, with the nearest ones, and for two
    classes that meet in a value.
    """
    resolved: dict[str, tuple[int, ...]] = {}
    for name, sources in wanted.items():
        values: list[int] = []
        for source in sources:
            found = (source,) if isinstance(source, int) else values_of(names, source)
            if not found:
                raise _undeclared(name, str(source), names)
            values += [value for value in found if value not in values]
        if unseen := set(values) & set(values_of(names, IGNORE)):
            raise BadDataset(
                f"class {name} asks for value {min(unseen)}, which the data set calls {IGNORE!r}",
                where="its voxels were not looked at: they are unknown, and no structure",
                did="nothing was written",
                fix="ask for another value with `labels`",
                code="M08",
            )
        if shared := set(values) & {value for others in resolved.values() for value in others}:
            raise BadDataset(
                f"value {min(shared)} is asked for by two classes",
                where=f"class {name}: {name}={_listed(values)}",
                did="nothing was written",
                fix="give every value to one class with `labels`, such as organ=1 and tumour=2,3",
                code="M17",
            )
        resolved[name] = tuple(values)
    return resolved


def classes_of(wanted: Wanted, names: Mapping[str, Values]) -> dict[int, str]:
    """Value in the masks -> the class that it is part of. Raises as `resolve`."""
    resolved = resolve(wanted, names)
    return {value: name for name, values in resolved.items() for value in values}


def map_labels(
    labels: Integer[np.ndarray, "d h w"],
    wanted: Wanted,
    names: Mapping[str, Values],
    where: str = "",
    flipped: bool = False,
) -> Mapped:
    """Class indices for one label map in (d, h, w); `where` names the file in messages, and
    `flipped` says that d runs against its slices.

    Values that no class asked for become background and are counted. Slices that hold the value of
    a name `ignore` are unknown: background here, and listed in `unknown`. Raises `BadDataset` for a
    value that the data set's own list (`names`, if there is one) does not hold, with voxel and
    slice numbers (M08), and for a mask whose only value is 255 where 1 was asked for (M07). An
    empty label map is fine here: whether "empty" was reviewed is not for this function to say.
    """
    resolved = resolve(wanted, names)
    counts = _counts(labels)
    asked = {value for values in resolved.values() for value in values}
    if set(counts) == {255} and 255 not in asked and 1 in asked:
        name = next(name for name, values in resolved.items() if 1 in values)
        raise BadDataset(
            "mask holds 0 and 255, not 0 and 1",
            where=[where, f"asked for {name}={_listed(resolved[name])}"],
            did="the case was skipped",
            fix=f"ask for {name}=255 with `labels`",
            code="M07",
        )
    declared = {value for name in names for value in values_of(names, name)}
    stray = sorted(set(counts) - declared - asked) if names else []
    if stray:
        raise _stray(labels[::-1] if flipped else labels, stray, counts, names, where)
    voxels = np.zeros(labels.shape, np.uint8)
    for index, values in enumerate(resolved.values(), start=1):
        voxels[np.isin(labels, values)] = index
    unseen = set(counts) & set(values_of(names, IGNORE))
    unknown = np.isin(labels, list(unseen)).any((1, 2)) if unseen else np.zeros(len(labels), bool)
    voxels[unknown] = 0
    return Mapped(
        voxels,
        counts,
        {value: n for value, n in counts.items() if value not in asked},
        tuple(int(d) for d in np.flatnonzero(unknown)),
    )


def map_parts(
    parts: Mapping[str, Integer[np.ndarray, "d h w"]], wanted: Wanted, where: str = ""
) -> Mapped:
    """Class indices from one mask file per structure (TotalSegmentator); any value above 0 is
    inside.

    `parts` holds the files that the classes ask for, by structure name, at least one. Raises
    `BadDataset` for a name that is not there (M08) and for two classes that share voxels (M17).
    `counts` and `dropped` stay empty.
    """
    voxels: UInt8[np.ndarray, "d h w"] | None = None
    for index, (name, structures) in enumerate(part_names(wanted, parts).items(), start=1):
        for structure in structures:
            inside = parts[structure] > 0
            voxels = np.zeros(inside.shape, np.uint8) if voxels is None else voxels
            other = voxels[inside & (voxels != index)]
            if other.any():
                first = list(wanted)[int(other[other > 0][0]) - 1]
                raise _overlap(name, first, int(np.count_nonzero(other)), where)
            voxels[inside] = index
    if voxels is None:
        raise BadConfig("no class was asked for", fix="name one with `labels`", code="C02")
    return Mapped(voxels)


def part_names(wanted: Wanted, structures: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The structures that each class asks for, as they are named here; value 1 of a structure's
    own file is that structure. Raises `BadDataset` (M08) for one that is not there.
    """
    there = {structure.casefold(): structure for structure in structures}
    found: dict[str, tuple[str, ...]] = {}
    for name, sources in wanted.items():
        sources = (name,) if sources == (1,) and name.casefold() in there else sources
        for source in sources:
            if str(source).casefold() not in there:
                raise _undeclared(name, str(source), dict.fromkeys(there.values(), 1), parts=True)
        found[name] = tuple(there[str(source).casefold()] for source in sources)
    return found


def check_found(
    wanted: Wanted, names: Mapping[str, Values], found: Mapping[int, int], cases: int
) -> None:
    """After all label maps are read: raise `BadDataset` (M08) if a value that was asked for is in
    none of them.

    `found` sums `Mapped.counts` over the `cases`.
    """
    resolved = resolve(wanted, names)
    absent = [
        f"{name}={value}"
        for name, values in resolved.items()
        for value in values
        if value not in found and not _of_region(value, wanted[name], names, found)
    ]
    if absent and cases:
        raise BadDataset(
            f"no label map holds {', '.join(absent)}",
            where=f"values found in {cases} label maps: {_listed(sorted(found)) or 'none but 0'}",
            did="nothing was written",
            fix="give `labels` with the values found",
            code="M08",
        )


def _of_region(
    value: int,
    sources: tuple[int | str, ...],
    names: Mapping[str, Values],
    found: Mapping[int, int],
) -> bool:
    """Was the value not asked for itself, but as part of a region of which something is there?"""
    regions = [values_of(names, source) for source in sources if isinstance(source, str)]
    return value not in sources and any(
        value in region and set(region) & set(found) for region in regions
    )


def _check_name(line: str, name: str, wanted: Wanted) -> None:
    if not name or not _CLASS_NAME.fullmatch(name):
        raise _nonsense(line, f"{name!r} is not a class name", "write such as liver=6")
    if name.casefold() in _RESERVED:
        raise _nonsense(
            line,
            f"{name} is no structure: what no class asks for is background anyway",
            "leave it out",
        )
    if name.casefold() in {other.casefold() for other in wanted}:
        raise _nonsense(
            line,
            f"class {name} is given twice",
            f"give its values together, such as {name}=2,3",
        )


def _source(line: str, text: str) -> int | str:
    """A whole number from 1, or the name of a structure (its file ending may be given)."""
    text = _FILE_ENDING.sub("", text.strip())
    if re.fullmatch(r"[1-9]\d{0,8}", text):
        return int(text)
    if not text or re.fullmatch(r"[-+.\d]+(e[-+]?\d+)?", text, re.IGNORECASE):
        reason = "0 is background" if re.fullmatch(r"0+", text) else f"{text!r} is no label value"
        raise _nonsense(line, reason, "give whole numbers from 1, or names of structures")
    if not _STRUCTURE.fullmatch(text):
        raise _nonsense(
            line, f"{text!r} is no name of a structure", "give the name alone, without folders"
        )
    return text


def _nonsense(line: str, why: str, fix: str) -> BadConfig:
    return BadConfig(f"`labels` {line!r}: {why}", fix=fix, code="C02")


def _counts(labels: Integer[np.ndarray, "d h w"]) -> dict[int, int]:
    """Voxels per value, without 0."""
    if labels.size and labels.dtype.itemsize <= 2 and int(labels.min()) >= 0:
        # Several times faster than sorting all voxels, as np.unique does.
        numbers = np.bincount(labels.ravel())
        return {int(value): int(numbers[value]) for value in np.flatnonzero(numbers) if value}
    values, numbers = np.unique(labels, return_counts=True)
    return {int(value): int(number) for value, number in zip(values, numbers, strict=True) if value}


def _undeclared(
    name: str, source: str, names: Mapping[str, Values], parts: bool = False
) -> BadDataset:
    near = difflib.get_close_matches(
        source.casefold(), [known.casefold() for known in names], n=3, cutoff=0.5
    )
    listed = ", ".join(sorted(names)[:20]) + (
        f" ... ({len(names)} in all)" if len(names) > 20 else ""
    )
    instead = f"give a value instead, such as {name}=1"
    if parts:  # files of one structure each have names, not values
        instead = f"ask for one of these, such as {name}={min(names, default=name)}"
    return BadDataset(
        f"class {name} asks for structure {source!r}, which the data set does not have",
        where=f"structures: {listed}" if names else "the data set names no structures",
        did="nothing was written",
        fix=f"ask for {name}={near[0]} with `labels`" if near else instead,
        code="M08",
    )


def _stray(
    labels: Integer[np.ndarray, "d h w"],
    stray: Sequence[int],
    counts: Mapping[int, int],
    names: Mapping[str, Values],
    where: str,
) -> BadDataset:
    lines = [where]
    for value in stray[:5]:
        slices = np.flatnonzero((labels == value).any(axis=(1, 2)))
        lines.append(
            f"value {value}: {count(counts[value], 'voxel')}, slices {slices[0]} to {slices[-1]} "
            "(from 0, in the order of the file)"
        )
    lines.append(
        "declared: "
        + ", ".join(f"{name}={_listed(values_of(names, name))}" for name in list(names)[:20])
    )
    return BadDataset(
        f"label {_listed(stray)} is not in the data set's own list",
        where=lines,
        did="the case was skipped",
        fix="correct the mask, or add the value to dataset.json",
        code="M08",
    )


def _overlap(name: str, other: str, voxels: int, where: str) -> BadDataset:
    return BadDataset(
        f"structures of {other} and {name} overlap in {count(voxels, 'voxel')}",
        where=where,
        did="the case was skipped",
        fix="ask for one of them, or correct the masks: a voxel can belong to one class only",
        code="M17",
    )


def _listed(values: Iterable[int]) -> str:
    shown = [str(value) for value in values]
    return ", ".join(shown[:20]) + (" ..." if len(shown) > 20 else "")
