"""Which slices to outline next: rules that choose, from what is known without opening a mask.

Every rule gives each slice a score, and one loop picks: structures in turn, of the patients with
the fewest outlines so far (fewer slices of more scans teach more), at most two slices a scan, never
one that a person outlined or declared empty.

* `random`, the rule to beat: uniform over slices in which a tag, or the predicted mask, says that
  the structure is.
* `spread`: the slice farthest from all outlines so far, measured along the structure's extent over
  all scans, so that outlines are evenly spaced from its lower to its upper end.
* `entropy`: the slice with the most doubt, in mm2 of coin toss: over its pixels, the sum of the
  binary entropy (bits) of the structure's probability.
* `mixed`: doubt times distance, the product of the two.

`entropy` follows ClaSP PE (arXiv 2601.13677, read in its abstract): predictive entropy, queries
stratified by class, noise on the logarithm of the score that decays as labels grow. We differ:
whole slices of 2D networks instead of 3D patches of nnU-Net; every query belongs to a class; noise
is Gumbel's divided by `outlines / 5`, at least 1 (a schedule of our own); patients with fewer
outlines go first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int8

from fewmask.core.errors import BadConfig
from fewmask.core.randomness import rng
from fewmask.core.volume import Plane

Rule = Literal["random", "spread", "entropy", "mixed"]
RULES: tuple[Rule, ...] = get_args(Rule)
DEFAULT_RULE: Rule = "random"
"""What ships until another rule is decidedly better (docs/next.md)."""
DOUBTING: tuple[Rule, ...] = ("entropy", "mixed")
"""Rules that need a network's doubt."""
PER_SCAN = 2
"""Most slices of one scan in one plan."""
_CALM = 5
"""Outlines at which noise begins to shrink."""
_LEAST_MM2 = 1e-3
_ENDS = {
    "axial": ("lower", "upper"),
    "sagittal": ("right", "left"),
    "coronal": ("front", "back"),
}
"""Where d is small and where it is large."""


@dataclass(frozen=True)
class Suggestion:
    """A slice to outline."""

    case: str
    d: int
    """In the package's order: 0 = feet, of axial slices."""
    slice: int
    """In the order of the file, from 0."""
    structure: str
    reason: str
    """A few words for a person."""


@dataclass(frozen=True)
class CaseView:
    """What a rule may know of a scan."""

    case: str
    patient: str
    tags: Int8[np.ndarray, "d k"]
    """Per slice and structure 1 it is there, 0 not, -1 nobody said."""
    known: frozenset[int] = frozenset()
    """Slices d that a person outlined or declared empty."""
    area_mm2: Float[np.ndarray, "d k"] | None = None
    """Of the predicted mask; None: nothing was predicted."""
    doubt_mm2: Float[np.ndarray, "d k"] | None = None
    """Sum of binary entropies in bits, times the area of a pixel; None: nobody can say."""
    flipped: bool = False
    """Does d run against the file's slices?"""
    plane: Plane = "axial"
    used: range | None = None
    """Slices that training may see; None: all."""

    @property
    def depth(self) -> int:
        """Number of slices."""
        return len(self.tags)


def choose(
    views: Sequence[CaseView],
    classes: Sequence[str],
    n: int,
    rule: Rule = DEFAULT_RULE,
    seed: int = 0,
    per_scan: int = PER_SCAN,
) -> list[Suggestion]:
    """Up to n slices to outline, the first one first; the same for the same input.

    Fewer where fewer are free, none where every slice is known. Of a structure that no tag and no
    mask shows anywhere, any slice may hold it.
    """
    if n < 1:
        raise BadConfig(f"{n} slices asked for", fix="use `n=1` or more", code="C02")
    views = sorted(views, key=lambda view: view.case)
    plan = _Plan([_Field.of(views, k, rule) for k in range(len(classes))], views, rule, seed)
    chosen: list[Suggestion] = []
    for _ in range(n):
        found = plan.pick(per_scan)
        if found is None:
            break
        k, index, d = found
        view, reason = views[index], plan.fields[k].reason(views[index], index, d, rule)
        number = view.depth - 1 - d if view.flipped else d
        chosen.append(Suggestion(view.case, d, number, classes[k], f"{classes[k]}: {reason}"))
    return chosen


@dataclass
class _Field:
    """One structure over all scans; arrays are (scan, d), padded to the deepest scan."""

    here: Bool[np.ndarray, "s d"]
    """A tag or the mask says that the structure is there."""
    free: Bool[np.ndarray, "s d"]
    """May be suggested."""
    doubt: Float[np.ndarray, "s d"]
    """mm2; NaN: nobody can say."""
    place: Float[np.ndarray, "s d"]
    """Along the extent of the structure in its scan, 0 to 1."""
    seen: Bool[np.ndarray, "s d"]
    """Outlines of it so far: known slices in its extent."""
    tagged: Bool[np.ndarray, " s"]
    lost: bool
    """Nothing says where it is in any scan."""

    @classmethod
    def of(cls, views: Sequence[CaseView], k: int, rule: Rule) -> "_Field":
        """What is known of structure number k (from 0)."""
        shape = (len(views), max((view.depth for view in views), default=0))
        here, open_, known, used = (np.zeros(shape, bool) for _ in range(4))
        doubt = np.full(shape, np.nan)
        for index, view in enumerate(views):
            row, tags = slice(0, view.depth), view.tags[:, k]
            untagged = tags < 0
            drawn = np.zeros(view.depth, bool) if view.area_mm2 is None else view.area_mm2[:, k] > 0
            here[index, row] = np.where(untagged, drawn, tags == 1)
            open_[index, row] = untagged
            known[index, sorted(view.known)] = True
            used[index, row] = True if view.used is None else np.isin(range(view.depth), view.used)
            if view.doubt_mm2 is not None:
                doubt[index, row] = view.doubt_mm2[:, k]
        lost = not here.any()
        if lost:
            here = open_
        free = here.copy()
        if rule in DOUBTING and not lost:
            most = np.fmax.reduce(doubt, axis=1, initial=0.0)[:, None]
            free |= open_ & (doubt >= 0.5 * most) & (doubt > 0)
        tagged = np.array([bool((view.tags[:, k] >= 0).any()) for view in views], bool)
        free &= used & ~known
        return cls(here, free, doubt, _places(here), here & known, tagged, lost)

    def reason(self, view: CaseView, index: int, d: int, rule: Rule) -> str:
        """Why slice d of this scan, in words."""
        if self.lost:
            return "nothing says yet where it is: look for it here"
        if not self.here[index, d]:
            return "the mask ends before this slice, and is unsure"
        where = self._where(view, index, d)
        if rule in DOUBTING and not np.isnan(self.doubt[index, d]):
            return f"the mask is unsure here, at its {where} ({self._how_unsure(index, d)})"
        if rule in ("spread", "mixed"):
            return f"no outline of it so near its {where} yet"
        said = "tags say" if self.tagged[index] else "the mask says"
        return f"{said} that it is here, near its {where}; drawn by lot"

    def _where(self, view: CaseView, index: int, d: int) -> str:
        low, high = _ENDS[view.plane]
        place = self.place[index, d]
        return f"{low} end" if place < 0.25 else f"{high} end" if place > 0.75 else "middle"

    def _how_unsure(self, index: int, d: int) -> str:
        usual = float(np.nanmedian(self.doubt[self.here]))
        mm2 = float(self.doubt[index, d])
        size = f"{mm2 / 100:.1f} cm2 in doubt"
        return f"{size}, {mm2 / usual:.1f} times the usual" if usual > _LEAST_MM2 else size


def _places(here: Bool[np.ndarray, "s d"]) -> Float[np.ndarray, "s d"]:
    """Of each slice, where between the first and the last slice that hold the structure; 0 to 1."""
    place = np.zeros(here.shape)
    for row, flags in zip(place, here, strict=True):
        held = np.flatnonzero(flags)
        if len(held):
            first, last = held[0], held[-1]
            row[:] = ((np.arange(len(row)) - first + 0.5) / (last - first + 1)).clip(0, 1)
    return place


@dataclass
class _Plan:
    """A plan in the making."""

    fields: list[_Field]
    views: Sequence[CaseView]
    rule: Rule
    seed: int
    taken: list[tuple[int, int]] = field(default_factory=list)
    """(scan, d), in order."""

    def pick(self, per_scan: int) -> tuple[int, int, int] | None:
        """Structure, scan and slice of the next suggestion; None where nothing is free."""
        turn = self._outlines() + len(self.taken)
        for step in range(len(self.fields)):
            k = (turn + step) % len(self.fields)
            free = self._free(k, per_scan)
            if free.any():
                scores = np.where(free, self._scores(k), -np.inf)
                index, d = np.unravel_index(int(scores.argmax()), scores.shape)
                self.taken.append((int(index), int(d)))
                return k, int(index), int(d)
        return None

    def _free(self, k: int, per_scan: int) -> Bool[np.ndarray, "s d"]:
        """Slices that may be taken now, of the patients with the fewest outlines."""
        free = self.fields[k].free.copy()
        for index, d in self.taken:
            free[index, d] = False
        scans = [index for index, _ in self.taken]
        full = [index for index in set(scans) if scans.count(index) >= per_scan]
        free[full] = False
        counts = self._patients(scans)
        open_ = free.any(1)
        if open_.any():
            free[counts > counts[open_].min()] = False
        return free

    def _patients(self, scans: Sequence[int]) -> Float[np.ndarray, " s"]:
        """Of each scan, how many outlines its patient has."""
        names = [view.patient for view in self.views]
        total = dict.fromkeys(names, 0)
        for name, count in zip(names, self._seen().sum(1), strict=True):
            total[name] += int(count)
        for index in scans:
            total[names[index]] += 1
        return np.array([total[name] for name in names], float)

    def _seen(self) -> Bool[np.ndarray, "s d"]:
        """Known slices that hold any structure: those declared empty teach little of shapes."""
        seen: Bool[np.ndarray, "s d"] = np.any([one.seen for one in self.fields], axis=0)
        return seen

    def _outlines(self) -> int:
        return int(self._seen().sum())

    def _scores(self, k: int) -> Float[np.ndarray, "s d"]:
        """The rule's score of every slice; the largest is taken."""
        one = self.fields[k]
        noise: Float[np.ndarray, "s d"] = rng(self.seed, "next", k, self._outlines()).gumbel(
            size=one.here.shape
        )
        if self.rule == "random":
            return noise
        apart: Float[np.ndarray, "s d"] = np.log(np.maximum(self._apart(k), 1e-6))
        if self.rule == "spread":
            apart += 1e-6 * noise  # decides among equals
            return apart
        measured = one.doubt[one.free & ~np.isnan(one.doubt)]
        usual = float(np.median(measured)) if len(measured) else 1.0
        noise /= max(1.0, self._outlines() / _CALM)
        noise += np.log(np.maximum(np.nan_to_num(one.doubt, nan=usual), _LEAST_MM2))
        return noise + apart if self.rule == "mixed" else noise

    def _apart(self, k: int) -> Float[np.ndarray, "s d"]:
        """Distance from the nearest outline along the extent; an end is as if twice as near, so
        that n slices fall into the middles of n equal parts.
        """
        one = self.fields[k]
        taken = [(index, d) for index, d in self.taken if one.here[index, d]]
        places = [*one.place[one.seen], *(one.place[index, d] for index, d in taken)]
        far = np.array([-np.inf, *sorted(places), np.inf])
        after = np.searchsorted(far, one.place).clip(1)
        nearest = np.minimum(far[after] - one.place, one.place - far[after - 1])
        apart: Float[np.ndarray, "s d"] = np.minimum(
            nearest, 2 * np.minimum(one.place, 1 - one.place)
        )
        return apart
