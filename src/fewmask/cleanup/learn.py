"""Which clean-up the labelled scans speak for.

nnU-Net keeps the largest part of a structure where that raised the Dice of its validation scans.
A few outlined slices cannot tell that: parts far from them are unknown, not wrong. What outlines
and tags can tell is whether a rule would have removed something that a person outlined or tagged,
and whether the structure is one piece wherever it was seen. A rule is switched on only if

- the network found the structure in four outlined slices or more, and in none of them the rule
  takes away what is right,
- it empties next to none of the slices that are tagged as holding the structure (in a few, what the
  network drew is a speck elsewhere, which nobody can tell from the structure's end), and
- it does not lower the Dice over all voxels that outlines and tags decide. Holes are filled if
  besides no outline has one.

Structures in several pieces (both kidneys under one name, lesions) show it: an outlined slice has a
right part that is not the largest of the scan.
"""

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool

from fewmask.cleanup.rule import (
    CleanupRule,
    StructureRule,
    holes_of,
    keep_parts,
)

LEAST_SLICES = 4
"""Outlined slices that must speak for a rule; four of four are one in 16 by chance."""
LOST = 0.02
"""Share of what is right in a slice that may go before the slice speaks against a rule."""
FEW = 0.05
"""Share of outlined slices that may speak against a rule, and of tagged slices with a mask that it
may empty: at the ends of a structure what is right may hang together with nothing, and of a hundred
slices one is always there. Of two kidneys under one name the largest part loses far more.
"""
SHARES = (0.5, 0.2, 0.05)
"""Shares of the largest part that are tried where keeping the largest alone is wrong."""
RULES = (
    StructureRule(),
    StructureRule("largest"),
    *(StructureRule("above", share) for share in SHARES),
)
"""What is weighed: leaving all as it is, then the strongest rule first. Each also with holes
filled, which stands as many places further on.
"""
_NONE = (0,) * (2 * len(RULES))


@dataclass(frozen=True)
class Evidence:
    """What is known of one structure in one labelled scan, beside what the network made of it."""

    predicted: Bool[np.ndarray, "d h w"]
    """The network's mask of the whole scan, not cleaned."""
    outlined: Bool[np.ndarray, "n h w"]
    """A person's mask of the outlined slices."""
    slices: tuple[int, ...]
    """Their d. Only slices of the budget."""
    present: tuple[int, ...] = ()
    """Other slices that hold the structure, by the tags."""
    absent: tuple[int, ...] = ()
    """Other slices that do not hold it, by the tags."""


@dataclass(frozen=True)
class Tally:
    """What labelled scans say about every rule for one structure. Tallies add up, so that one
    scan's masks need to be held at a time.
    """

    seen: int = 0
    """Outlined slices in which the network found some of the structure: a slice that it missed
    cannot speak against a rule, so it does not speak for one either.
    """
    hole: bool = False
    """Did an outline leave a hole?"""
    against: tuple[int, ...] = (0,) * len(RULES)
    """Of each rule: outlined slices in which it would remove what is right."""
    tagged: int = 0
    """Slices tagged as holding the structure, with a mask, and ..."""
    emptied: tuple[int, ...] = (0,) * len(RULES)
    """... those of them that each rule leaves without one."""
    both: tuple[int, ...] = _NONE
    """Of each rule: twice the voxels that the kept mask and the outlines share, and ..."""
    sizes: tuple[int, ...] = _NONE
    """... those of both, over all voxels that labels decide. Their ratio is the Dice."""

    def __add__(self, other: "Tally") -> "Tally":
        """Of all scans of both."""
        return Tally(
            self.seen + other.seen,
            self.hole or other.hole,
            tuple(map(operator.add, self.against, other.against)),
            self.tagged + other.tagged,
            tuple(map(operator.add, self.emptied, other.emptied)),
            tuple(map(operator.add, self.both, other.both)),
            tuple(map(operator.add, self.sizes, other.sizes)),
        )

    def dice(self, index: int) -> float:
        """Under a rule; 1 where labels decide nothing."""
        return self.both[index] / self.sizes[index] if self.sizes[index] else 1.0

    def allows(self, index: int) -> bool:
        """Does nothing speak against a rule?"""
        lost = self.against[index] <= FEW * self.seen and self.emptied[index] <= FEW * self.tagged
        return lost and self.dice(index) >= self.dice(0)


def learn_rule(evidence: Mapping[str, Iterable[Evidence]]) -> CleanupRule:
    """The rule of every structure from its labelled scans. Without evidence nothing is removed."""
    return CleanupRule({name: learn_structure(scans) for name, scans in evidence.items()})


def learn_structure(scans: Iterable[Evidence]) -> StructureRule:
    """The strongest rule that no labelled scan speaks against; scans are looked at one by one."""
    return decide(sum(map(weigh, scans), Tally()))


def weigh(scan: Evidence) -> Tally:
    """What one labelled scan says."""
    found = scan.predicted[list(scan.slices)]
    tagged = scan.predicted[list(scan.present)].any((1, 2))
    kept = [keep_parts(scan.predicted, rule) for rule in RULES]
    left = [mask[list(scan.present)].any((1, 2)) for mask in kept]
    shown = [mask[list(scan.slices)] for mask in kept]
    said_empty = [mask[list(scan.absent)] for mask in kept]
    shown += [mask | holes_of(mask) for mask in shown]
    said_empty += [mask | holes_of(mask) for mask in said_empty]
    outlined = int(scan.outlined.sum())
    return Tally(
        seen=int((found & scan.outlined).any((1, 2)).sum()),
        hole=bool(holes_of(scan.outlined).any()),
        against=tuple(_count_losses(scan, mask) for mask in kept),
        tagged=int(tagged.sum()),
        emptied=tuple(int((tagged & ~some).sum()) for some in left),
        both=tuple(2 * int((mask & scan.outlined).sum()) for mask in shown),
        sizes=tuple(
            int(mask.sum()) + outlined + int(empty.sum())
            for mask, empty in zip(shown, said_empty, strict=True)
        ),
    )


def decide(tally: Tally) -> StructureRule:
    """The strongest rule that nothing speaks against, and why."""
    if tally.seen < LEAST_SLICES:
        return StructureRule(reason=f"found in {too_few(tally.seen)}")
    before = tally.dice(0)
    for index, rule in enumerate(RULES):
        if index and tally.allows(index):
            sound = tally.seen - tally.against[index]
            reason = f"in {sound} of {tally.seen} outlined slices nothing right is lost"
            reason += _gain(before, tally.dice(index))
            return replace(rule, fill_holes=_fills(tally, index), reason=reason)
    reason = "every rule would remove what was outlined or tagged"
    return StructureRule(fill_holes=_fills(tally, 0), reason=reason)


def _fills(tally: Tally, index: int) -> bool:
    """Shall holes of what a rule keeps be filled? Not where outlines have some, or lose by it."""
    return not tally.hole and tally.dice(index + len(RULES)) >= tally.dice(index)


def too_few(slices: int) -> str:
    """`3 outlined slices: too few to learn a rule from (4)`."""
    count = f"{slices} outlined slice{'s' if slices != 1 else ''}"
    return f"{count}: too few to learn a rule from ({LEAST_SLICES})"


def _count_losses(scan: Evidence, kept: Bool[np.ndarray, "d h w"]) -> int:
    """Outlined slices in which right voxels are gone."""
    losses = 0
    for d, mask in zip(scan.slices, scan.outlined, strict=True):
        right = scan.predicted[d] & mask
        losses += bool((right & ~kept[d]).sum() > LOST * right.sum())
    return losses


def _gain(before: float, after: float) -> str:
    return f"; Dice where labels decide {before:.3f} to {after:.3f}" if after > before else ""
