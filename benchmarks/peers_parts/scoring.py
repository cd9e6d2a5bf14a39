"""Dice, HD95, ASSD and NSD of two masks of 512 x 512 x 200 voxels."""

import math
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from scipy import ndimage

from fewmask.evaluate.scores import score_case
from peers_parts.turns import Match, Skipped, ask, elsewhere, growth_mib, here

SPACING = (1.5, 0.75, 0.75)
TOLERANCE = 2.0
WORK = "scores"


def masks(depth: int = 200, side: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """Two ellipsoids as large as a liver with bumps of their own, and a piece beside one of them,
    (d, h, w) as uint8.
    """
    rng = np.random.default_rng(0)
    shape = (depth, side, side)
    d, h, w = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    ball = (d[:, None, None] / 0.45) ** 2 + (h[:, None] / 0.38) ** 2 + ((w + 0.2) / 0.42) ** 2

    def bumpy() -> np.ndarray:
        coarse = rng.standard_normal([max(4, n // 16) for n in shape]).astype(np.float32)
        factors = [n / m for n, m in zip(shape, coarse.shape, strict=True)]
        bumps = ndimage.zoom(coarse, factors, order=1)
        inside: np.ndarray = (ball + 0.08 * bumps < 1).astype(np.uint8)
        return inside

    truth, pred = bumpy(), bumpy()
    pred[3 * depth // 4 :][:10, 300 * side // 512 :, 380 * side // 512 :][:, :30, :20] = 1
    return pred, truth


def matches(medpy: Path | None, side: int = 512) -> Iterator[Match | Skipped]:
    """Against every peer."""
    pred, truth = masks(side * 200 // 512, side)
    ours = partial(score_case, "a", pred, truth, SPACING, ["x"], nsd_tolerance_mm=TOLERANCE)
    (score,) = ours()
    numbers = (score.dice, score.hd95_mm, score.assd_mm, score.nsd)
    for peer, package, theirs in (
        ("MONAI", "monai", _by_monai),
        ("surface-distance", "surface_distance", _by_surface_distance),
    ):
        if not find_spec(package):
            yield Skipped(WORK, peer, f"{package} is not installed")
            continue
        call = partial(theirs, *_as_given(peer, pred, truth))
        note = f"Dice, HD95, ASSD, NSD: {_said(numbers)}; {peer} {_said(call())}"
        mib = growth_mib(ours), growth_mib(call)
        yield Match(WORK, peer, here(ours), here(call), note, mib)
    if medpy is None:
        yield Skipped(WORK, "MedPy", "`--medpy` names no interpreter that has it")
        return
    folder = Path(mkdtemp(prefix="peers-"))
    np.savez(folder / "pair.npz", pred=pred, truth=truth)
    script, words = Path(__file__).parent / "alone" / "medpy_scores.py", [str(folder / "pair.npz")]
    words += map(str, SPACING)
    said = ask(medpy, script, *words).splitlines()[0]
    note = f"Dice, HD95, ASSD: {_said(numbers[:3])}; MedPy (percentile of both sets) {said}, no NSD"
    yield Match(WORK, "MedPy", here(ours), elsewhere(medpy, script, *words), note)


def _said(numbers: tuple[float, ...]) -> str:
    return " ".join(f"{number:.4g}" for number in numbers)


def _as_given(peer: str, pred: np.ndarray, truth: np.ndarray) -> tuple[Any, Any]:
    """In the form that the peer takes, made before the clock starts."""
    if peer != "MONAI":
        return pred == 1, truth == 1
    import torch

    return torch.from_numpy(pred)[None, None], torch.from_numpy(truth)[None, None]


def _by_monai(pred: object, truth: object) -> tuple[float, ...]:
    from monai import metrics

    given = {"include_background": True, "spacing": list(SPACING)}
    found = (
        metrics.compute_dice(pred, truth),
        metrics.compute_hausdorff_distance(pred, truth, percentile=95, **given),
        metrics.compute_average_surface_distance(pred, truth, symmetric=True, **given),
        metrics.compute_surface_dice(pred, truth, class_thresholds=[TOLERANCE], **given),
    )
    return tuple(float(value) for value in found)


def _by_surface_distance(pred: np.ndarray, truth: np.ndarray) -> tuple[float, ...]:
    import surface_distance as peer

    distances = peer.compute_surface_distances(truth, pred, SPACING)
    there, back = peer.compute_average_surface_distance(distances)
    return (
        peer.compute_dice_coefficient(truth, pred),
        peer.compute_robust_hausdorff(distances, 95),
        math.fsum((there, back)) / 2,
        peer.compute_surface_dice_at_tolerance(distances, TOLERANCE),
    )
