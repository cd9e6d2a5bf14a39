"""Masks as paths of SVG: along the edges of their pixels, nothing smoothed away."""

import numpy as np
from jaxtyping import Bool

from fewmask.io.contours import trace


def path_of(mask: Bool[np.ndarray, "h w"]) -> str:
    """`d` of a path that fills exactly the mask's pixels (rule `evenodd`), in pixels from the
    upper left corner; empty for an empty mask.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return ""
    top, left = int(rows[0]), int(columns[0])
    inside = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    words = []
    for loop in trace(inside):
        corners = loop.astype(int) + np.array([top, left])
        y, x = corners[0]
        words.append(f"M{x} {y}")
        for down, right in np.diff(corners, axis=0).tolist():
            words.append(f"v{down}" if down else f"h{right}")
        words.append("z")
    return "".join(words)
