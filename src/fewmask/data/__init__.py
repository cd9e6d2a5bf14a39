"""From a prepared dataset to batches. The label gate is here: no budget, no mask."""

from fewmask.core.batch import Feed
from fewmask.core.budget import Budget
from fewmask.data.feed import Batches
from fewmask.data.patches import PatchFeed
from fewmask.data.slices import SliceFeed
from fewmask.io.prepared import Prepared


def open_feed(prepared: Prepared, budget: Budget, feed: Feed, seed: int) -> Batches:
    """Slices or patches, as the method wants. Raises `BadConfig` if the budget grants nothing that it needs."""
    return (SliceFeed if feed.patch is None else PatchFeed)(prepared, budget, feed, seed)
