"""Schedules: factors in [0, 1] as functions of where training stands."""

import math

from fewmask.core.batch import Step


def linear_ramp(step: Step, over: float) -> float:
    """0 at the first step, 1 once the fraction `over` of training has passed; 1 throughout if
    `over` is 0.
    """
    return 1.0 if over <= 0 else min(1.0, step.fraction / over)


def warm_cosine(step: Step, warmup: int) -> float:
    """Linear rise over `warmup` steps, then half a cosine down to 0 at the last step."""
    rise = min(1.0, (step.index + 1) / max(1, warmup))
    return rise * 0.5 * (1 + math.cos(math.pi * step.fraction))


def sigmoid_ramp(step: Step) -> float:
    """exp(-5 (1 - fraction)^2): 0.007 at the first step, 1 at the last (Laine and Aila 2017; over
    the whole run, as in UA-MT).
    """
    return math.exp(-5 * (1 - step.fraction) ** 2)
