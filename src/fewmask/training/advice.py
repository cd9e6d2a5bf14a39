"""Is a run long enough to be of use? If not, what would do."""

import math
from collections.abc import Callable, Mapping, Sequence

from fewmask.methods._method import Stage

_SMALLEST = 128
"""Pixels; the results have no smaller grid."""
_GRAIN = 32
_TRIES = 3

_STUCK_ROWS = 30
"""Logged steps with one and the same loss that are no accident."""


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


def tell_stuck(rows: Sequence[Mapping[str, str]]) -> str:
    """What to say where the summed loss of the last logged steps does not change at all (F18); an
    empty text else. `rows` are those of losses.csv; a loss that a step lacks is empty.
    """
    last = rows[-_STUCK_ROWS:]
    sums = [
        math.fsum(float(text) for name, text in row.items() if name != "step" and text)
        for row in last
    ]
    if len(sums) < _STUCK_ROWS or max(sums) - min(sums) > 1e-6 * max(map(abs, sums)):
        return ""
    return (
        f"the loss has not changed since step {last[0]['step']}: see whether the grey-level window "
        "(`recipe`) shows the structure, whether `labels` name the right value, and whether `lr` "
        "is far too large or small"
    )
