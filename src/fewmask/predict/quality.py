"""What is seen of a mask without truth, while the network's answer is still in memory; and what a
run's own scans say about such signs.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fewmask.core.volume import Volume
from fewmask.evaluate.scores import read_scores
from fewmask.io.run import RunFolder
from fewmask.predict.known import Known
from fewmask.predict.predictor import Prediction
from fewmask.quality.beside import read_all
from fewmask.quality.signs import Signs, Sure, mean_in, read_signs
from fewmask.quality.tables import Calibration, calibrate

Outlined = dict[str, tuple[int, int]]
"""By structure, on outlined slices: twice the voxels that drawing and outline share, and all of
both.
"""


def open_calibration(run: Path) -> Calibration:
    """What masks in the run's own `predictions` say: those of kept-aside scans that were scored
    (`metrics.csv`), and outlines that it learned from. Nothing where there are none.
    """
    folder = RunFolder.open(run)
    if not folder.predictions.is_dir() or folder.is_published:
        return Calibration()
    split, scores = folder.read_split(), read_scores(folder.path / "metrics.csv")
    aside = {*split.val, *split.test}
    truths = {
        (one.case, one.label): one.dice
        for one in scores
        if one.case in aside and one.prompts == "automatic" and one.status in ("ok", "missed")
    }
    return calibrate(read_all(folder.predictions), truths)


def overlap(drawn: Prediction, known: Known | None, classes: Sequence[str]) -> Outlined | None:
    """How the network's drawing fits the outlines that it learned from; None without any."""
    if known is None or not known.outlines:
        return None
    found = {}
    for n, name in enumerate(classes, 1):
        pairs = [(drawn.label_map.voxels[d] == n, one == n) for d, one in known.outlines.items()]
        shared = sum(int((mask & truth).sum()) for mask, truth in pairs)
        found[name] = (2 * shared, sum(int(mask.sum() + truth.sum()) for mask, truth in pairs))
    return found


def look_at(
    drawn: Prediction, final: Prediction, volume: Volume, k: int, known: Known | None = None
) -> list[Signs]:
    """Signs of structures 1 to k: of the `final` mask, beside what the network had `drawn`."""
    sure = None
    if drawn.confidence is not None and drawn.mass is not None:
        sure = Sure(drawn.confidence, drawn.mass, drawn.label_map.voxels)
    signs = read_signs(
        final.label_map.voxels,
        k,
        final.label_map.voxel_ml,
        sure,
        drawn.present,
        None if known is None else _spans(known, k),
        final.label_map.grid.orientation.flips[0],
    )
    return _with_intensity(signs, final, volume)


def _with_intensity(signs: Sequence[Signs], final: Prediction, volume: Volume) -> list[Signs]:
    """Slice by slice: a scan in floating point is four times the mask."""
    labels, k = final.label_map.voxels, len(signs)
    sums, counts = np.zeros(k + 1), np.zeros(k + 1)
    for d in np.flatnonzero(labels.any((1, 2))):
        more, voxels = mean_in(labels[d], volume.intensities([int(d)])[0], k)
        sums, counts = sums + more, counts + voxels
    return [
        replace(one, mean_intensity=float(sums[n] / counts[n])) if counts[n] else one
        for n, one in enumerate(signs, 1)
    ]


def _spans(known: Known, k: int) -> list[tuple[int, int] | None]:
    """First and last d that are tagged as holding each structure; None where nobody said so."""
    spans: list[tuple[int, int] | None] = []
    for n in range(k):
        held = np.flatnonzero(known.tags[:, n] == 1)
        spans.append((int(held[0]), int(held[-1])) if len(held) else None)
    return spans
