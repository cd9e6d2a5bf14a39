"""Masks that a person accepts: a round's prediction with the person's own slices put in."""

import numpy as np

from fewmask.core.volume import LabelMap
from fewmask.io.image import write_labels
from fewmask.workbench.bench import Bench


def accept(bench: Bench, case: str, number: int) -> None:
    """Write the accepted mask and note it down. Raises `KeyError` where the round has none."""
    info = bench.voxels.info(case)
    labels = np.array(bench.predicted.mask(case, number))
    for d in bench.outlines.outlined(case):
        labels[d] = bench.outlines.read(case, d).mask
    write_labels(bench.folder.accepted_file(case), LabelMap(labels, info.grid))
    bench.tables.set_accepted(case, number)


def take_back(bench: Bench, case: str) -> None:
    """The mask of a case is no longer accepted: a person said so, or outlined another slice."""
    if bench.tables.accepted(case) is not None:
        bench.tables.set_accepted(case, None)
        bench.folder.accepted_file(case).unlink(missing_ok=True)
