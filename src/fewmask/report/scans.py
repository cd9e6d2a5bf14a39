"""Scans and their masks, as the page shows them: most doubtful first."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewmask.core.errors import BadDataset, BadScan, FewmaskError
from fewmask.core.recipe import Recipe
from fewmask.core.volume import BURNED_IN, LabelMap, Volume
from fewmask.evaluate.scores import CaseScore
from fewmask.io.image import read_labels
from fewmask.io.known import read_known_note
from fewmask.io.text import expecting, read_json
from fewmask.report.doubt import Doubt, Evidence, Quality, Tags, find_doubts, spell
from fewmask.report.failures import Positions, add_positions, positions_of
from fewmask.report.frame import Frame, make_frame
from fewmask.report.measure import Extent, measure
from fewmask.report.slices import Drawer, Masks, Picture, Room, Strip, choose
from fewmask.report.story import Story, make_story

_STORIES = 3
NO_PICTURE = "no picture: text in its pixels may name a person"
NO_SCAN = "no picture: no scan of this name was given"


@dataclass(frozen=True)
class Subject:
    """A scan and its mask, before anything of them is read."""

    case: str
    mask: Path
    scan: Callable[[], Volume] | None
    """None: there is none of this name."""
    group: str = ""
    """Its part in the run: kept aside, learned from, or neither."""
    truth: Callable[[], LabelMap | None] = lambda: None
    outlines: Callable[[], Masks] = dict
    """Slices that the model learned from."""
    tags: Callable[[Volume], Tags] = lambda volume: {}
    burned_in: bool = False
    whose: str = "the outline"


@dataclass(frozen=True)
class Line:
    """One structure in one scan, in words and numbers."""

    extent: Extent
    slices: str
    """Of the mask, as the file counts; a dash where there is none of it."""
    tag: str
    """Of the tag; empty where nobody said."""
    agrees: bool
    """Do tag and mask end at the same slices, as far as anybody said?"""
    quality: Quality | None
    score: CaseScore | None


@dataclass(frozen=True)
class Scan:
    """One scan on the page."""

    case: str
    group: str
    doubt: Doubt
    lines: tuple[Line, ...]
    frame: Frame | None
    pictures: tuple[Picture, ...]
    strip: Strip | None
    note: str
    """Why there is no picture."""
    person: bool
    """Is anything a person drew in its pictures?"""

    @property
    def ml(self) -> float:
        """All structures together, to sort by."""
        return math.fsum(line.extent.ml for line in self.lines)

    @property
    def dice(self) -> float | None:
        """The worst, to sort by; None without truth."""
        known = [line.score.dice for line in self.lines if line.score is not None]
        known = [dice for dice in known if not math.isnan(dice)]
        return min(known, default=None)


@dataclass(frozen=True)
class Wall:
    """All scans of a page."""

    scans: tuple[Scan, ...]
    stories: tuple[Story, ...]
    """How the first few masks came about."""
    no_prompt: int | None
    """Slices judged to hold a structure that gave no prompt; None if no mask came from a prompt."""
    positions: Positions
    """Where along the structure masks and truth agree."""
    refused: Mapping[str, FewmaskError] = field(default_factory=dict)
    """Case -> why its mask is not on the page."""


@dataclass(frozen=True)
class Terms:
    """What is the same for all scans of a page."""

    classes: Sequence[str]
    recipe: Callable[[Volume], Recipe]
    scores: Sequence[CaseScore] = ()
    """Of automatic masks."""
    quality: Mapping[str, Sequence[Quality]] = field(default_factory=dict)
    slices_from: int = 0
    show_burned_in: bool = False


@dataclass
class _Seen:
    """What is left of a scan once it is closed."""

    extents: list[Extent]
    flipped: bool
    depth: int
    frame: Frame | None = None
    pictures: tuple[Picture, ...] = ()
    strip: Strip | None = None
    note: str = ""
    person: bool = False
    tags: Tags = field(default_factory=dict)


def look_at(subjects: Sequence[Subject], terms: Terms) -> Wall:
    """Read every mask and scan, one at a time. A mask that cannot be read, or is not of its scan,
    spoils no other one; where none is left the first fault is raised. Raises `BadDataset` for a
    file of prompts that is none.
    """
    room, positions = Room.for_scans(len(subjects)), Positions({})
    seen, evidence = {}, {}
    refused: dict[str, FewmaskError] = {}
    for subject in subjects:
        try:
            seen[subject.case], found = _look(subject, terms, room)
        except (BadScan, BadDataset) as error:
            refused[subject.case] = error
            continue
        positions = add_positions(positions, found)
        evidence[subject.case] = _evidence(subject, seen[subject.case], terms)

    if refused and not seen:
        raise next(iter(refused.values()))

    def called(case: str, d: int) -> int:
        one = seen[case]
        return (one.depth - 1 - d if one.flipped else d) + terms.slices_from

    doubts = find_doubts(evidence, called)
    by_case = {subject.case: subject for subject in subjects}
    scans = tuple(
        _scan(by_case[case], seen[case], evidence[case], doubt, lambda d, c=case: called(c, d))  # type: ignore[misc]
        for case, doubt in doubts.items()
    )
    stories, no_prompt = _stories([by_case[case] for case in doubts], terms)
    return Wall(scans, stories, no_prompt, positions, refused)


def tell_refused(wall: Wall) -> list[str]:
    """Sentences about masks that are not on the page."""
    return [f"{case} is not shown: {error.what}" for case, error in wall.refused.items()]


def _look(subject: Subject, terms: Terms, room: Room) -> tuple[_Seen, Positions]:
    """What a mask and its scan show."""
    try:
        volume = subject.scan() if subject.scan is not None else None
    except BadScan as error:
        return _without_scan(subject, terms, f"no picture: {error.what}"), Positions({})
    if volume is None:
        return _without_scan(subject, terms, NO_SCAN), Positions({})
    drawer, truth = _drawer(subject, terms, volume)
    flipped = volume.grid.orientation.flips[0]
    seen = _Seen(measure(drawer.pred, terms.classes, volume), flipped, volume.shape[0])
    seen.tags = subject.tags(volume)
    found = positions_of(drawer.pred, truth, terms.classes) if truth else Positions({})
    if (subject.burned_in or BURNED_IN in volume.notes) and not terms.show_burned_in:
        seen.note = NO_PICTURE
        return seen, found
    chosen = choose(drawer, seen.tags, truth is not None)
    seen.frame = drawer.frame
    seen.pictures = tuple(
        drawer.picture(d, f"slice {drawer.called(d)}: {why}", room.large) for d, why in chosen
    )
    left = room.bytes_a_scan - sum(picture.weight for picture in seen.pictures)
    seen.strip = drawer.strip(chosen[0][0], left)
    seen.person = any(mask.any() for mask in drawer.person.values())
    return seen, found


def _without_scan(subject: Subject, terms: Terms, why: str) -> _Seen:
    """What a mask shows alone."""
    labels = read_labels(subject.mask)
    flipped, depth = labels.grid.orientation.flips[0], labels.shape[0]
    return _Seen(measure(labels, terms.classes, None), flipped, depth, note=why)


def _drawer(subject: Subject, terms: Terms, volume: Volume) -> tuple[Drawer, LabelMap | None]:
    truth = subject.truth()
    pred = read_labels(subject.mask).in_plane(volume.grid.plane)
    if pred.shape != volume.shape:
        raise BadDataset(
            f"the mask of {subject.case} has other slices than the scan",
            where=[f"mask  {subject.mask}", f"{pred.shape} (d, h, w), the scan {volume.shape}"],
            did="its mask was not drawn",
            fix="give the scans that these masks were drawn for",
            code="M01",
        )
    if pred.grid.distance_voxels(volume.grid) > 0.5:
        raise BadDataset(
            f"the mask of {subject.case} lies elsewhere than the scan",
            where=[f"mask  {subject.mask}", "their corners are more than half a voxel apart"],
            did="its mask was not drawn",
            fix="give the scans that these masks were drawn for",
            code="M03",
        )
    person = dict(enumerate(truth.voxels)) if truth is not None else subject.outlines()
    frame = make_frame(volume, terms.recipe(volume))
    whose = "truth" if truth is not None else subject.whose
    drawer = Drawer(
        subject.case, volume, frame, terms.classes, pred, person, terms.slices_from, whose
    )
    return drawer, truth


def _evidence(subject: Subject, seen: _Seen, terms: Terms) -> Evidence:
    return Evidence(
        seen.extents,
        seen.tags,
        [score for score in terms.scores if score.case == subject.case],
        terms.quality.get(subject.case, ()),
        read_known_note(subject.mask.parent, subject.case).empty,
    )


def _scan(
    subject: Subject,
    seen: _Seen,
    evidence: Evidence,
    doubt: Doubt,
    called: Callable[[int], int],
) -> Scan:
    lines = []
    for extent in seen.extents:
        name = extent.structure
        tag, said = seen.tags.get(name), name in seen.tags
        lines.append(
            Line(
                extent,
                slices=spell(extent.span, called) if extent.span else "-",
                tag=(spell(tag, called) if tag else "absent") if said else "",
                agrees=not said or tag == extent.span,
                quality=next((one for one in evidence.quality if one.structure == name), None),
                score=next((one for one in evidence.scores if one.label == name), None),
            )
        )
    return Scan(
        subject.case,
        subject.group,
        doubt,
        tuple(lines),
        seen.frame,
        seen.pictures,
        seen.strip,
        seen.note,
        seen.person,
    )


def _stories(subjects: Sequence[Subject], terms: Terms) -> tuple[tuple[Story, ...], int | None]:
    """Of the first few scans with prompts; prompts that are missing are counted over all."""
    stories: list[Story] = []
    no_prompt: int | None = None
    for subject in subjects:
        path = subject.mask.parent / f"{subject.case}.prompts.json"
        if not path.exists():
            continue
        prompts: dict[str, Any] = read_json(path, max_bytes=256 * 2**20)
        with expecting(path, kind=BadDataset, fix="remove it and predict the scan again"):
            no_prompt = (no_prompt or 0) + sum(sum(line["no_prompt"]) for line in prompts["slices"])
            if len(stories) < _STORIES and (story := _story(subject, prompts, terms)):
                stories.append(story)
    return tuple(stories), no_prompt


def _story(subject: Subject, prompts: dict[str, Any], terms: Terms) -> Story | None:
    if subject.scan is None:
        return None
    volume = subject.scan()
    if (subject.burned_in or BURNED_IN in volume.notes) and not terms.show_burned_in:
        return None
    recipe = terms.recipe(volume)
    if not recipe.resolved:
        # The heat map lies on the network's grid, which only the run knows.
        return None
    drawer, _ = _drawer(subject, terms, volume)
    return make_story(prompts, drawer, recipe)
