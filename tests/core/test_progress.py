"""Progress events: rates and time left from a clock that items move."""

import pytest

from fewmask.core.progress import Pace, ProgressEvent, ignore_progress


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("fewmask.core.progress.time.monotonic", lambda: now[0])
    return now


def test_the_rate_is_the_mean_since_the_work_resumed(clock) -> None:
    """Four of ten steps were done before. Two more in 6 s: 3 s each, and 4 steps, so 12 s, left."""
    pace = Pace("step", 10, done=4)
    clock[0] += 6
    event = pace.event(6, losses={"dice": 0.5}, saved_step=5, note="resumed")
    assert event == ProgressEvent("step", 6, 10, 3.0, 12.0, "", {"dice": 0.5}, 5, "resumed")


def test_before_the_first_item_nobody_knows_what_is_left(clock) -> None:
    clock[0] += 1
    event = Pace("scan", 3).event(0)
    assert (event.seconds_each, event.seconds_left, event.losses) == (0.0, None, {})
    ignore_progress(event)


def test_at_the_end_nothing_is_left(clock) -> None:
    pace = Pace("scan", 2)
    clock[0] += 1
    event = pace.event(2, item="case_01")
    assert (event.item, event.seconds_each, event.seconds_left) == ("case_01", 0.5, 0.0)
