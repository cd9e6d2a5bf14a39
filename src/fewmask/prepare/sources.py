"""What differs between two sources of scans: voxels, field of view, orientation, grey levels, and
volumes of structures where there are masks. Writes nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fewmask.core.errors import BadDataset, FewmaskError
from fewmask.core.recipe import Recipe
from fewmask.core.signals import stopping
from fewmask.core.volume import Volume
from fewmask.io.prepared import Prepared, is_prepared
from fewmask.prepare.discover import Pair, discover
from fewmask.prepare.mapping import Values, check_found
from fewmask.prepare.options import PrepareOptions
from fewmask.prepare.outlines import take_outlines
from fewmask.prepare.reading import processes_for, read_pair, spoils_one_case
from fewmask.prepare.workers import end_if_starting, in_processes

LEAST_SCANS = 2
"""A single scan has no range."""
_LEAST_SLICES = 3
MANY = 20
"""From so many scans on, a range holds the middle 90 % of them, so that one odd scan decides
nothing.
"""
_PERCENTILES = (5, 50, 95)
_SAMPLE = 2_000_000
Facts = dict[str, float | str]
"""Quantity -> of one scan."""


@dataclass(frozen=True)
class Source:
    """A folder of scans, or a prepared dataset, as numbers per scan."""

    place: str
    scans: int
    numbers: Mapping[str, tuple[float, ...]]
    """Quantity -> its value in every scan that has it."""
    words: Mapping[str, tuple[str, ...]]
    """The same of what is no number: modality, orientation."""
    refused: tuple[str, ...] = field(default=())
    """Scans that could not be read, and why."""
    absent: str = ""
    """What is to be said of structures that were asked for and that no mask holds."""


@dataclass(frozen=True)
class Line:
    """A quantity in two sources."""

    quantity: str
    a: str
    """`0.78 (0.68 to 0.94)`: median and range; words with how many scans they are of."""
    b: str
    differs: bool | None
    """Does each median lie outside the other's range (no word in common)? None: too few scans."""


def measure_source(data: Path, options: PrepareOptions) -> Source:
    """Read every scan once. Scans that cannot be read are told and left out; raises `BadDataset` if
    nothing is found at all.
    """
    end_if_starting()
    with stopping("measuring", data):
        if is_prepared(data):
            every, absent = list(_of_prepared(data)), _unprepared(data, options.labels)
        else:
            every, absent = _of_folder(data, options)
    found = [one for one in every if isinstance(one, dict)]
    names = list(dict.fromkeys(name for one in found for name in one))
    columns = {name: tuple(one[name] for one in found if name in one) for name in names}
    return Source(
        str(data),
        len(found),
        {name: values for name, values in columns.items() if _all(values, float)},  # type: ignore[misc]
        {name: values for name, values in columns.items() if _all(values, str)},  # type: ignore[misc]
        tuple(one for one in every if isinstance(one, str)),
        absent,
    )


def compare_sources(a: Source, b: Source) -> list[Line]:
    """A line per quantity that either of them has."""
    words = [_words(name, a, b) for name in dict.fromkeys([*a.words, *b.words])]
    return words + [_numbers(name, a, b) for name in dict.fromkeys([*a.numbers, *b.numbers])]


def facts_of(volume: Volume, ct: bool, volumes_ml: Mapping[str, float]) -> Facts:
    """Of one scan. `volumes_ml` holds structures whose masks are whole."""
    (thick, down, along), (d, h, w) = volume.spacing_mm, volume.shape
    facts: Facts = {
        "modality": "ct" if ct else "mr",
        "orientation": volume.grid.axis_codes,
        "pixel, mm": (down + along) / 2,
        "slice distance, mm": thick,
        "slices": float(d),
        "pixels along a row": float(w),
        "field of view, mm": max(h * down, w * along),
        "length of the scan, mm": d * thick,
    }
    inside, unit = _grey_levels(volume, ct)
    if inside.size:
        for percentile, value in zip(
            _PERCENTILES, np.percentile(inside, _PERCENTILES), strict=True
        ):
            facts[f"{unit}, {percentile}th percentile"] = float(value)
    return facts | {f"{name}, mL": ml for name, ml in volumes_ml.items()}


def _grey_levels(volume: Volume, ct: bool) -> tuple[Float[np.ndarray, " n"], str]:
    """Of CT those inside the window, so that air and table do not count; of MR all."""
    step = max(1, len(volume.voxels) * volume.shape[1] * volume.shape[2] // _SAMPLE)
    intensities = volume.intensities(slice(None, None, min(step, len(volume.voxels)))).ravel()
    if not ct:
        return intensities, "grey level"
    low, high = Recipe().window_hu
    inside = intensities[(intensities > low) & (intensities < high)]
    return inside, f"HU within {low:g} to {high:g}"


def _of_folder(data: Path, options: PrepareOptions) -> tuple[list[Facts | str], str]:
    """Of every scan, and what to say of values that no label map holds."""
    found = discover(
        data, options.scans.follow_links, options.scans.channel, series=options.scans.series
    )
    layout = take_outlines(found, options.outlines)
    work = [(pair, options, dict(layout.names)) for pair in layout.pairs]
    told: list[Facts | str] = []
    totals: Counter[int] = Counter()
    read = 0
    measured = in_processes(_measure_pair, work, processes_for(layout.pairs, options))
    for pair, one in zip(layout.pairs, measured, strict=True):
        told.append(one if isinstance(one, str) else one[0])
        if not isinstance(one, str) and pair.mask is not None:
            totals.update(one[1])
            read += 1
    try:
        check_found(options.labels, layout.names, totals, read)
    except BadDataset as error:
        return told, "; ".join((error.what, *error.where))
    return told, ""


def _unprepared(folder: Path, wanted: Iterable[str]) -> str:
    """What to say of structures that a prepared dataset was made without."""
    absent = [name for name in wanted if name not in Prepared.open(folder).classes]
    return f"it was prepared without {', '.join(absent)}" if absent else ""


def _measure_pair(
    item: tuple[Pair, PrepareOptions, dict[str, Values]],
) -> tuple[Facts, Mapping[int, int]] | str:
    """With its mask's values and their voxels. A scan that cannot be read gives its line."""
    pair, options, names = item
    try:
        reading = read_pair(pair, options, names)
    except Exception as error:
        refusal = error if isinstance(error, FewmaskError) else spoils_one_case(error)
        if refusal is None:
            raise
        return f"{pair.case}: {refusal.what}"
    volumes = {}
    if reading.labels is not None and _is_whole(reading.outlined):
        counts = np.bincount(reading.labels.ravel(), minlength=len(options.labels) + 1)
        for index, name in enumerate(options.labels, 1):
            volumes[name] = float(counts[index]) * reading.volume.voxel_ml
    present = {name: ml for name, ml in volumes.items() if ml}
    return facts_of(reading.volume, reading.ct, present), reading.counts


def _of_prepared(folder: Path) -> Iterator[Facts | str]:
    """Masks stay shut: volumes come from the counts of the case table."""
    prepared = Prepared.open(folder)
    values = {str(name): [str(one) for one in rest] for name, *rest in prepared.options["labels"]}
    for case, row in prepared.cases.items():
        try:
            with prepared.case(case) as file:
                volume = file.volume()
        except FewmaskError as error:
            yield f"{case}: {error.what}"
            continue
        volumes = {}
        if row.complete or _is_whole(row.outlined):
            for name, own in values.items():
                volumes[name] = sum(row.counts.get(one, 0) for one in own) * volume.voxel_ml
        yield facts_of(volume, row.ct, {name: ml for name, ml in volumes.items() if ml})


def _is_whole(outlined: Sequence[int]) -> bool:
    """Does a mask look whole: slices without a gap, and more than a few? Volumes of single slices
    say nothing of a structure.
    """
    return len(outlined) >= _LEAST_SLICES and outlined[-1] - outlined[0] + 1 == len(outlined)


def _words(name: str, a: Source, b: Source) -> Line:
    counts = [Counter(source.words.get(name, ())) for source in (a, b)]
    told = [", ".join(f"{word} {n}" for word, n in one.most_common()) or "-" for one in counts]
    few = any(one.total() < LEAST_SCANS for one in counts)
    return Line(name, told[0], told[1], None if few else not counts[0].keys() & counts[1].keys())


def _numbers(name: str, a: Source, b: Source) -> Line:
    ours, theirs = (np.array(source.numbers.get(name, ()), float) for source in (a, b))
    told = _told(ours), _told(theirs)
    if min(len(ours), len(theirs)) < LEAST_SCANS:
        return Line(name, *told, None)
    return Line(name, *told, _outside(ours, theirs) and _outside(theirs, ours))


def _outside(values: Float[np.ndarray, " n"], others: Float[np.ndarray, " m"]) -> bool:
    """Is the median of the one not in the range of the others?"""
    low, high = _range(others)
    noise = 1e-4 * max(abs(low), abs(high))  # spacing is written in single precision
    return not low - noise <= float(np.median(values)) <= high + noise


def _range(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    low, high = np.percentile(values, (5, 95) if len(values) >= MANY else (0, 100))
    return float(low), float(high)


def _told(values: Float[np.ndarray, " n"]) -> str:
    if not len(values):
        return "-"
    low, high = _range(values)
    return f"{_short(float(np.median(values)))} ({_short(low)} to {_short(high)})"


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _all(values: Sequence[object], kind: type) -> bool:
    return all(isinstance(value, kind) for value in values)
