"""How far long work is: one event and one callback for training, preparing and predicting."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ProgressEvent:
    """Where some work stands after an item of it."""

    unit: str
    """What is counted, in the singular: `step`, `scan`."""
    done: int
    total: int
    seconds_each: float = 0.0
    """Mean time of an item since the work began or resumed; 0 before the first."""
    seconds_left: float | None = None
    """None: not known yet."""
    item: str = ""
    """Name of the item, such as a case."""
    losses: Mapping[str, float] = field(default_factory=dict)
    """Of the last training step; empty for all other work."""
    saved_step: int = 0
    """Training: the step up to which everything is on disk."""
    note: str = ""
    """What else a person should know. Without `losses`: the work itself, in words."""


OnProgress = Callable[[ProgressEvent], bool | None]
"""Called as the work goes on. True asks training to save and stop (`Interrupted`); other work goes
on to its end whatever comes back.
"""
OnMessage = Callable[[str], None]
"""Called with a line for people."""


def ignore_progress(event: ProgressEvent) -> None:
    """Does nothing."""


class Pace:
    """Counts items of some work and times them."""

    def __init__(self, unit: str, total: int, done: int = 0) -> None:
        """The work begins now; `done` of its items were done before."""
        self.unit, self.total = unit, total
        self._first, self._begun = done, time.monotonic()

    def event(
        self,
        done: int,
        *,
        item: str = "",
        losses: Mapping[str, float] | None = None,
        saved_step: int = 0,
        note: str = "",
    ) -> ProgressEvent:
        """The event after `done` items in all."""
        made = done - self._first
        each = (time.monotonic() - self._begun) / made if made > 0 else 0.0
        left = each * (self.total - done) if made > 0 else None
        return ProgressEvent(
            self.unit, done, self.total, each, left, item, losses or {}, saved_step, note
        )
