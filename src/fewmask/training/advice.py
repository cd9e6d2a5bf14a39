"""Is a run long enough to be of use? If not, what would do."""

import math
from collections.abc import Callable

from fewmask.methods._method import Stage

_SMALLEST = 128
"""Pixels; the results have no smaller grid."""
_GRAIN = 32
_TRIES = 3


def advise(
    stage: Stage,
    steps: int,
    least: int,
    minutes: float | None = None,
    seconds: float = 0.0,
    fits: tuple[int, int] | None = None,
) -> str:
    """What to say of too few steps; nothing where they reach `least`.

    `minutes` and the `seconds` of a step are the stage's; None: steps were asked for. `fits` is a
    smaller size and its steps in these minutes.
    """
    if steps >= least:
        return ""
    wants = f"{stage.method} wants {least} or more to be of use"
    if minutes is None:
        return f"{_steps(steps)} asked for; {wants}: `steps={math.ceil(least / stage.steps_share)}`"
    enough = math.ceil(least * seconds / 60 / stage.share)
    smaller = ""
    if fits is not None:
        smaller = f", or prepare again with `size={fits[0]}` (about {fits[1]} steps)"
    whole = minutes / stage.share
    given = f"{whole:g} minute{'s' if whole != 1 else ''}"
    if stage.share < 1:
        given = f"its {stage.share:.0%} of {given}"
    return f"about {_steps(steps)} fit in {given}; {wants}: `minutes={enough}`{smaller}"


def largest_size(
    size: int, part: float, count_steps: Callable[[int], int], least: int
) -> tuple[int, int] | None:
    """The first size below `size` with `least` steps, and its steps; None if none of a few has.

    Begins where `part` of the steps would become all, were steps as long as slices have pixels, and
    goes down: they are longer.
    """
    first = min(size - _GRAIN, _GRAIN * int(size * math.sqrt(part) / _GRAIN))
    for tried in range(max(first, _SMALLEST), _SMALLEST - 1, -_GRAIN)[:_TRIES]:
        if tried >= size:
            return None
        steps = count_steps(tried)
        if steps >= least:
            return tried, steps
    return None


def _steps(steps: int) -> str:
    return f"{steps} step{'s' if steps != 1 else ''}"
