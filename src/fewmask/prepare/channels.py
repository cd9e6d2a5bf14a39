"""Further channels of a scan (`_0001` of nnU-Net, T1 beside FLAIR): one of them is read, none of
them is a scan of its own.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fewmask.core.errors import BadConfig, FewmaskError
from fewmask.core.words import count
from fewmask.io.image import read_grid
from fewmask.prepare.folder import printable
from fewmask.prepare.layout import FileProblem
from fewmask.prepare.names import core_of, stem
from fewmask.prepare.search import Search

_NUMBER = re.compile(r"(.+)_(\d{4})")
_CONTRAST = re.compile(
    r"(.+?)[-_. ]+(t1(?:c|ce|gd|km|n|w|post)?|t2(?:w|f)?|t2[-_]?flair|flair|pdw?|adc|dwi|swi|pet)"
)
_MOST = 16
"""Channels of a scan; what is numbered further counts cases."""
_LISTED = 20


@dataclass(frozen=True)
class Channels:
    """Scans of which each stands once."""

    scans: tuple[Path, ...]
    """Their chosen channel."""
    ids: Mapping[Path, str] = field(default_factory=dict)
    """Case ids, of scans and masks, where the name alone does not tell them."""
    further: Mapping[Path, str] = field(default_factory=dict)
    """The other channels, and whose."""
    notes: tuple[str, ...] = ()


def choose_channels(
    search: Search,
    scans: Sequence[Path],
    masks: Sequence[Path],
    declared: bool | None = None,
    names: Mapping[Path, str] | None = None,
    titles: Mapping[str, str] | None = None,
) -> Channels:
    """One file per scan: the channel that the search wants (by its number, or as the name of a
    contrast), or the first. `names` stand for file names that do not tell the case, `titles` say
    what a data set calls its channels (`1`: `T2`).

    Four digits at the end of a name may count channels or cases. `declared` says which (True:
    channels) where the data set does; else masks do (`p1` or `p1_0001`), else how often the same
    numbers return, else whether the images lie on one grid. Scans that lack the channel become
    problems. Raises `BadConfig` (C02) for a channel that no scan has.
    """
    stems = {path: (names or {}).get(path) or stem(path) for path in [*scans, *masks]}
    # Digits at the end of a folder's name count cases.
    numbered = {path: _split(_NUMBER, stems[path]) for path in scans if _is_numbered(path)}
    found = {path: split for path, split in numbered.items() if split}
    wanted = search.channel
    if not search.channels or (
        found and not _count_channels(found, {stems[path] for path in masks}, declared)
    ):
        ids = {path: name for path, name in stems.items() if _split(_NUMBER, name)}
        return _without(scans, wanted, ids)
    if not found:
        found = _contrasts({path: stems[path] for path in scans})
    if not found:
        return _without(scans, wanted, {})
    return _chosen(scans, found, wanted, search.problems, titles or {})


def _without(scans: Sequence[Path], wanted: str | None, ids: Mapping[Path, str]) -> Channels:
    if scans and wanted is not None and wanted.strip() not in ("0", "0000"):
        raise BadConfig(
            f"no scan has a channel {printable(wanted)!r}: none has several",
            fix="leave `channel` out; of 4D files `volume` chooses",
            code="C02",
        )
    return Channels(tuple(scans), ids)


def _is_numbered(path: Path) -> bool:
    return _split(_NUMBER, stem(path)) is not None


def is_contrast(name: str) -> bool:
    """Is it the name of a contrast, such as `T1` or `flair`?"""
    return _split(_CONTRAST, f"case_{name}") == ("case", name.casefold())


def _split(pattern: re.Pattern[str], name: str) -> tuple[str, str] | None:
    """Name of the case and of the channel."""
    match = pattern.fullmatch(name.casefold())
    return (name[: len(match[1])], match[2]) if match else None


def _count_channels(
    found: Mapping[Path, tuple[str, str]], masks: Iterable[str], declared: bool | None
) -> bool:
    """Do the digits at the end count channels (True) or cases?"""
    if declared is not None:
        return declared
    if {number for _, number in found.values()} == {"0000"}:
        return True
    named = {name for mask in masks for name in (mask.casefold(), core_of(mask.casefold()))}
    # A case numbered 0000 may have a mask of that name, and so may a first channel.
    further = [split for split in found.values() if split[1] != "0000"]
    if any(
        name in named
        for case, number in further
        for name in (f"{case}_{number}".casefold(), core_of(f"{case}_{number}".casefold()))
    ):
        return False
    if any(case.casefold() in named for case, _ in found.values()):
        return True
    groups: dict[str, list[Path]] = defaultdict(list)
    firsts = set()
    for path, (case, number) in found.items():
        groups[case.casefold()].append(path)
        if number == "0000":
            firsts.add(case.casefold())
    largest = max(map(len, groups.values()))
    if not firsts or not 1 < largest <= _MOST:
        return False
    if len(groups) > 1:
        return 2 * len(firsts) > len(groups)
    return _on_one_grid(next(iter(groups.values())))


def _on_one_grid(paths: Iterable[Path]) -> bool:
    """Do the headers say the same shape and place? Files that cannot be read say no."""
    try:
        grids = [read_grid(path) for path in paths]
    except FewmaskError:
        return False
    first = grids[0]
    return all(
        grid.shape == first.shape and abs(grid.affine - first.affine).max() < 1e-3
        for grid in grids[1:]
    )


def _contrasts(stems: Mapping[Path, str]) -> dict[Path, tuple[str, str]]:
    """Files called after a contrast, if one case at least has several; `case` beside `case_T2` is a
    channel without a name.
    """
    found = {path: split for path, name in stems.items() if (split := _split(_CONTRAST, name))}
    plain = {name.casefold(): path for path, name in stems.items() if path not in found}
    for case, _ in list(found.values()):
        if path := plain.get(case.casefold()):
            found[path] = (case, "")
    cases = [case.casefold() for case, _ in found.values()]
    return found if len(cases) > len(set(cases)) else {}


def _chosen(
    scans: Sequence[Path],
    found: Mapping[Path, tuple[str, str]],
    wanted: str | None,
    problems: list[FewmaskError],
    titles: Mapping[str, str],
) -> Channels:
    channels = sorted({channel for _, channel in found.values()})
    shown = {channel: _shown(channel, titles) for channel in channels}
    channel = _channel(shown, wanted)
    with_it = {case.casefold() for case, name in found.values() if name == channel}
    chosen = {path: case for path, (case, name) in found.items() if name == channel}
    further = {path: case for path, (case, name) in found.items() if name != channel}
    lacking = sorted({case for case in further.values() if case.casefold() not in with_it})
    if lacking:
        problems.append(
            FileProblem(
                f"{count(len(lacking), 'scan lacks', 'scans lack')} channel {shown[channel]}",
                where=[printable(case) for case in lacking[:_LISTED]],
                did="they were left out",
                fix="add the missing files, or choose a channel that all scans have with `channel`",
                code="N50",
                files=[path for path, case in further.items() if case in lacking],
            )
        )
        further = {path: case for path, case in further.items() if case not in lacking}
    several = len(channels) > 1
    notes = []
    if several:
        others = ", ".join(shown[name] for name in channels if name != channel)
        notes.append(
            f"channel {shown[channel]} of each scan is used; of other channels "
            f"{count(len(further), 'file is', 'files are')} not read ({others}): choose with "
            "`channel`"
        )
    kept = tuple(path for path in scans if path in chosen or path not in found)
    # A channel without others says nothing more of the case than its name does.
    ids = chosen if several else {}
    return Channels(kept, ids, further, tuple(notes))


def _channel(shown: Mapping[str, str], wanted: str | None) -> str:
    """The channel that a person means by its number or name; without a wish the first."""
    channels = list(shown)
    if wanted is None:
        return channels[0]
    text = wanted.strip().casefold().lstrip("_")
    number = int(text) if text.isdecimal() and len(text) < 9 else -1
    for index, channel in enumerate(channels):
        title = shown[channel].partition(" = ")[2].casefold()
        own = int(channel) if channel.isdecimal() else index
        if number == own or text in (channel, title):
            return channel
    raise BadConfig(
        f"no scan has a channel {printable(wanted)!r}",
        where=f"there are: {', '.join(shown.values())}",
        fix=f"take one of them, such as `channel={channels[0].lstrip('0') or '0'}`",
        code="C02",
    )


def _shown(channel: str, titles: Mapping[str, str]) -> str:
    """`_0001` as 1, or as `1 = T2` where the data set says so; a contrast by its name."""
    if not channel.isdecimal():
        return channel or "without a name"
    number = str(int(channel))
    return f"{number} = {printable(titles[number])}" if number in titles else number
