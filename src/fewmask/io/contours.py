"""From a mask to closed contours along the edges of its pixels, holes joined to their outline by a
keyhole, as RTSTRUCT has them; filled again they give the very mask.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

_STEPS = {(1, 0): 0, (0, 1): 1, (-1, 0): 2, (0, -1): 3}


def outline(mask: Bool[np.ndarray, "a b"]) -> Iterator[Float[np.ndarray, "p 2"]]:
    """One closed contour per connected part, in pixels (a, b), corners at half pixels."""
    parts, _ = ndimage.label(mask)
    for number, place in enumerate(ndimage.find_objects(parts), 1):
        part = parts[place] == number
        loops = trace(part)
        loops.sort(key=_area, reverse=True)
        whole = loops[0]
        for hole in loops[1:]:
            whole = _join(whole, hole)
        yield whole + [axis.start for axis in place] - 0.5


def trace(mask: Bool[np.ndarray, "a b"]) -> list[Float[np.ndarray, "p 2"]]:
    """Every closed line round the mask and round its holes: their corners (a, b), pixel 0, 0 from
    0, 0 to 1, 1. Nothing for an empty mask.
    """
    return [_simple(loop) for loop in _loops(mask)]


def _loops(mask: Bool[np.ndarray, "a b"]) -> list[Float[np.ndarray, "p 2"]]:
    """Directed edges with the mask on their left, strung together. Where two pixels meet in a
    corner only, the loop stays with its own pixel.
    """
    padded = np.pad(mask, 1)
    inner = padded[1:-1, 1:-1]
    leaving: dict[tuple[int, int], list[tuple[int, int]]] = {}
    # Neighbour that is missing -> the edge's first and last corner, counted from the pixel.
    sides = (
        (padded[1:-1, :-2], (0, 0), (1, 0)),
        (padded[2:, 1:-1], (1, 0), (1, 1)),
        (padded[1:-1, 2:], (1, 1), (0, 1)),
        (padded[:-2, 1:-1], (0, 1), (0, 0)),
    )
    for neighbour, first, last in sides:
        for a, b in np.argwhere(inner & ~neighbour).tolist():
            start, end = (a + first[0], b + first[1]), (a + last[0], b + last[1])
            leaving.setdefault(start, []).append(end)
    loops = []
    while leaving:
        start = next(iter(leaving))
        loop, here, came = [start], start, (0, 0)
        while True:
            ends = leaving[here]
            after = ends[0] if len(ends) == 1 else _left_most(here, ends, came)
            ends.remove(after)
            if not ends:
                del leaving[here]
            came, here = (after[0] - here[0], after[1] - here[1]), after
            if here == start:
                break
            loop.append(here)
        loops.append(np.array(loop, float))
    return loops


def _left_most(
    here: tuple[int, int], ends: list[tuple[int, int]], came: tuple[int, int]
) -> tuple[int, int]:
    """The edge that turns left most."""
    facing = _STEPS.get(came, 0)

    def turn(end: tuple[int, int]) -> int:
        """0 right, 1 straight on, 2 left."""
        return (_STEPS[(end[0] - here[0], end[1] - here[1])] - facing + 1) % 4

    return max(ends, key=turn)


def _simple(loop: Float[np.ndarray, "p 2"]) -> Float[np.ndarray, "q 2"]:
    """Without corners on a straight line."""
    before, after = np.roll(loop, 1, axis=0), np.roll(loop, -1, axis=0)
    corners: Float[np.ndarray, "q 2"] = loop[(loop - before != after - loop).any(axis=1)]
    return corners


def _area(loop: Float[np.ndarray, "p 2"]) -> float:
    a, b = loop.T
    return float(abs(np.dot(a, np.roll(b, -1)) - np.dot(b, np.roll(a, -1))) / 2)


def _join(
    whole: Float[np.ndarray, "p 2"], hole: Float[np.ndarray, "q 2"]
) -> Float[np.ndarray, "r 2"]:
    """Go in to the hole at the nearest corners, round it, and back the same way."""
    apart = np.abs(whole[:, None] - hole[None]).sum(-1)
    p, q = np.unravel_index(int(apart.argmin()), apart.shape)
    turned = np.roll(hole, -int(q), axis=0)
    return np.concatenate([whole[: p + 1], turned, turned[:1], whole[p:]])
