"""Which clean-up the labelled scans speak for.

nnU-Net keeps the largest part of a structure where that raised the Dice of its validation scans.
A few outlined slices cannot tell that: parts far from them are unknown, not wrong. What outlines
and tags can tell is whether a rule would have removed something that a person outlined or tagged,
and whether the structure is one piece wherever it was seen. A rule is switched on only if

- the network found the structure in four outlined slices or more, and in none of them the rule
  takes away what is right,
- it empties next to none of the slices that are tagged as holding the structure (in a few, what the
  network drew is a speck elsewhere, which nobody can tell from the structure's end), and
- it does not lower the Dice over all voxels that outlines and tags decide.

Structures in several pieces (both kidneys under one name, lesions) show it: an outlined slice has a
right part that is not the largest of the scan.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
EMPTIED = 0.05
"""Share of the tagged slices with a mask that may be emptied before they speak against a rule. Of
two kidneys under one name the largest part leaves more slices empty: one lies higher.
"""
SHARES = (0.5, 0.2, 0.05)
"""Shares of the largest part that are tried where keeping the largest alone is wrong."""


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


def learn_rule(evidence: dict[str, Sequence[Evidence]]) -> CleanupRule:
    """The rule of every structure from its labelled scans. Without evidence nothing is removed."""
    return CleanupRule({name: learn_structure(scans) for name, scans in evidence.items()})


def learn_structure(scans: Sequence[Evidence]) -> StructureRule:
    """The strongest rule that no labelled scan speaks against."""
    seen = sum(_found_slices(scan) for scan in scans)
    if seen < LEAST_SLICES:
        count = f"found in {seen} outlined slice{'s' if seen != 1 else ''}"
        return StructureRule(reason=f"{count}: too few to learn a rule from ({LEAST_SLICES})")
    holes = _wants_no_holes(scans)
    before = _dice(scans, StructureRule())
    for rule in (StructureRule("largest"), *(StructureRule("above", share) for share in SHARES)):
        if not any(_takes_what_is_right(scan, rule) for scan in scans) and not _empties(
            scans, rule
        ):
            after = _dice(scans, rule)
            if after >= before:
                reason = f"in {seen} of {seen} outlined slices nothing right is lost"
                return StructureRule(
                    rule.keep, rule.share, holes, f"{reason}{_gain(before, after)}"
                )
    return StructureRule(
        fill_holes=holes, reason="every rule would remove what was outlined or tagged"
    )


def _found_slices(scan: Evidence) -> int:
    """Outlined slices in which the network found some of the structure: a slice that it missed
    cannot speak against a rule, so it does not speak for one either.
    """
    return int((scan.predicted[list(scan.slices)] & scan.outlined).any((1, 2)).sum())


def _takes_what_is_right(scan: Evidence, rule: StructureRule) -> bool:
    """Would the rule remove right voxels of an outlined slice?"""
    kept = keep_parts(scan.predicted, rule)
    for d, mask in zip(scan.slices, scan.outlined, strict=True):
        right = scan.predicted[d] & mask
        if (right & ~kept[d]).sum() > LOST * right.sum():
            return True
    return False


def _empties(scans: Sequence[Evidence], rule: StructureRule) -> bool:
    """Would the rule empty more than a few of the slices that are tagged as holding the
    structure?
    """
    found = emptied = 0
    for scan in scans:
        tagged = list(scan.present)
        before, after = (
            mask[tagged].any((1, 2)) for mask in (scan.predicted, keep_parts(scan.predicted, rule))
        )
        found += int(before.sum())
        emptied += int((before & ~after).sum())
    return emptied > EMPTIED * found


def _dice(scans: Sequence[Evidence], rule: StructureRule) -> float:
    """Dice over all voxels that outlines and tags decide: outlined slices, and those without it."""
    both = sizes = 0
    for scan in scans:
        kept = keep_parts(scan.predicted, rule)
        found = kept[list(scan.slices)]
        both += 2 * int((found & scan.outlined).sum())
        sizes += int(found.sum()) + int(scan.outlined.sum()) + int(kept[list(scan.absent)].sum())
    return both / sizes if sizes else 1.0


def _wants_no_holes(scans: Sequence[Evidence]) -> bool:
    """Did no outline leave a hole?"""
    return not any(holes_of(scan.outlined).any() for scan in scans)


def _gain(before: float, after: float) -> str:
    return f"; Dice where labels decide {before:.3f} to {after:.3f}" if after > before else ""
