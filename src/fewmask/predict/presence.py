"""Which slices of a scan hold a structure, judged with their neighbours."""

import numpy as np
from jaxtyping import Bool, Float


def smooth_presence(present: Float[np.ndarray, "d k"], cost: float) -> Bool[np.ndarray, "d k"]:
    """The sequence of yes and no along d that fits P(present) best, if every change between
    neighbours costs `cost` in log-odds.

    A lone "no" between sure neighbours becomes "yes", and a lone "yes" far from them "no"; `cost` 0
    is P >= 0.5 slice by slice. Changes at the ends of the scan are free. Classes are judged by
    themselves; no slices give no answers. (Viterbi 1967.) A class that would vanish from the scan
    although some slice called it stays as its slices say: an unsure classifier is no evidence that
    a structure is missing.
    """
    p = present.astype(np.float64).clip(1e-4, 1 - 1e-4)
    odds = np.log(p / (1 - p))
    depth, classes = odds.shape
    smoothed = np.zeros((depth, classes), dtype=bool)
    if not depth:
        return smoothed
    # Forwards: `no` and `yes` are the worth of the best sequence up to slice d that ends so (a "no"
    # is worth 0, a "yes" its log-odds); `was_yes` keeps whether slice d - 1 was a "yes" in it, for
    # an end in "no" (0) and in "yes" (1). Backwards: from the better end along what was kept.
    no, yes = np.zeros(classes), odds[0]
    was_yes = np.zeros((depth, 2, classes), dtype=bool)
    for d in range(1, depth):
        was_yes[d] = yes - cost > no, yes >= no - cost
        no, yes = np.maximum(no, yes - cost), np.maximum(yes, no - cost) + odds[d]
    smoothed[-1] = yes >= no
    for d in range(depth - 1, 0, -1):
        smoothed[d - 1] = np.where(smoothed[d], was_yes[d, 1], was_yes[d, 0])
    return np.where(smoothed.any(0), smoothed, present >= 0.5)
