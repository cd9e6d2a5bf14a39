"""From a prepared dataset to batches. The label gate is here: no budget, no mask."""

from pathlib import Path

from fewmask.core.batch import BatchSpec
from fewmask.core.budget import Budget
from fewmask.data.loader import ONE_AHEAD, Ahead, Loader
from fewmask.data.patches import PatchLoader
from fewmask.data.slices import SliceLoader
from fewmask.io.prepared import Prepared


def open_loader(
    prepared: Prepared,
    budget: Budget,
    batch_spec: BatchSpec,
    seed: int,
    pseudo: Path | None = None,
    trust: float = 0.0,
    ahead: Ahead = ONE_AHEAD,
    spill: Path | None = None,
) -> Loader:
    """Slices or patches, as the method wants; `pseudo` is a folder of an earlier stage's labels,
    those below `trust` left out; in the folder `spill` placed scans are kept that memory has no
    room for.

    Raises `BadConfig` if the budget grants nothing that the method needs.
    """
    return (
        SliceLoader(prepared, budget, batch_spec, seed, pseudo, trust, ahead)
        if batch_spec.patch is None
        else PatchLoader(prepared, budget, batch_spec, seed, pseudo, trust, ahead, spill)
    )
