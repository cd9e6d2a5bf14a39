"""From a prepared dataset to batches. The label gate is here: no budget, no mask."""

from pathlib import Path

from fewmask.core.batch import Feed
from fewmask.core.budget import Budget
from fewmask.data.feed import Batches
from fewmask.data.patches import PatchFeed
from fewmask.data.slices import SliceFeed
from fewmask.io.prepared import Prepared


def open_feed(
    prepared: Prepared, budget: Budget, feed: Feed, seed: int, pseudo: Path | None = None, trust: float = 0.0
) -> Batches:
    """Slices or patches, as the method wants; `pseudo` is a folder of an earlier stage's labels, those below `trust` left out.

    Raises `BadConfig` if the budget grants nothing that the method needs.
    """
    return (
        SliceFeed(prepared, budget, feed, seed) if feed.patch is None else PatchFeed(prepared, budget, feed, seed, pseudo, trust)
    )
