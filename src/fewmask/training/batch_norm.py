"""Batch norms whose means and variances are those of all training scans, labelled or not."""

from collections.abc import Iterable

from torch import nn

from fewmask.core.volume import Volume
from fewmask.predict import Predictor


def renew_norms(predictor: Predictor, scans: Iterable[Volume]) -> None:
    """Take means and variances anew: the plain mean over windows side by side through all `scans`,
    two at a time (3D methods).

    No mask is looked at, no weight moves, dropout stays off. Norms that take no part in the
    prediction keep what they have, and so do all of them if there is no scan.
    """
    norms = [part for part in predictor.method.modules() if isinstance(part, nn.BatchNorm3d)]
    before = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
    momenta = [norm.momentum for norm in norms]
    side_by_side = predictor.with_windows(stride=predictor.method.batch_spec.patch)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean
        norm.train()
    try:
        for scan in scans:
            side_by_side.volume(scan)
    finally:
        for norm, old, momentum in zip(norms, before, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
            if not norm.num_batches_tracked:
                norm.load_state_dict(old, strict=False)
