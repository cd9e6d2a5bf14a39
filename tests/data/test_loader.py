"""Batches are made ahead, by as many threads as are asked for, and no further."""

import threading
import time

import pytest

from fewmask.core.batch import Batch
from fewmask.data.loader import Ahead, Prefetcher


def named(index: int) -> Batch:
    """A batch that says which step it is for."""
    return Batch(names={"step": (str(index),)})


@pytest.mark.parametrize("workers", [1, 3])
def test_as_many_batches_as_workers_are_made_ahead_in_any_order(workers) -> None:
    made: list[int] = []

    def make(index: int) -> Batch:
        time.sleep(0.01 * (3 - index % 3))  # later ones are ready first
        made.append(index)
        return named(index)

    batches = Prefetcher(make, Ahead(workers))
    for index in range(6):
        assert batches.batch(index).names["step"] == (str(index),)
    batches.close()
    # Each was made once; what was still waiting when it was closed was not begun.
    assert len(made) == len(set(made)) and set(range(6)) <= set(made) <= set(range(6 + workers))


def test_workers_work_side_by_side() -> None:
    """Three batches that wait for each other."""
    together = threading.Barrier(3, timeout=10)

    def make(index: int) -> Batch:
        if index < 3:
            together.wait()
        return named(index)

    batches = Prefetcher(make, Ahead(3))
    assert batches.batch(0).names["step"] == ("0",)
    batches.close()


def test_what_goes_wrong_while_a_batch_is_made_is_told_when_it_is_asked_for() -> None:
    def make(index: int) -> Batch:
        if index == 2:
            raise ValueError("the second")
        return named(index)

    batches = Prefetcher(make, Ahead(2))
    assert [batches.batch(index).names["step"] for index in (0, 1)] == [("0",), ("1",)]
    with pytest.raises(ValueError, match="the second"):
        batches.batch(2)
    batches.close()
