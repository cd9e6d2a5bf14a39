"""Overlapping windows over a volume, averaged; finished slices leave at once, so that memory is one
row of windows.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Ask = Callable[[Float[Tensor, "b 1 d h w"]], Float[Tensor, "b c d h w"]]
"""From windows to probabilities."""


@dataclass(frozen=True)
class Windows:
    """How a volume is cut."""

    patch: tuple[int, int, int]
    """Voxels (d, h, w) of a window."""
    stride: tuple[int, int, int] | None = None
    """Step between windows; None = half a window."""
    gaussian: bool = False
    """Weigh the middle of a window more than its border (sigma = an eighth of its side), as nnU-Net
    does.
    """
    batch: int = 2
    """Windows per call of the network."""


def slide(
    volume: Float[Tensor, "d h w"], windows: Windows, ask: Ask
) -> Iterator[Float[Tensor, "c n h w"]]:
    """Probabilities of the volume, d from first to last, in blocks of finished slices. Smaller
    volumes are padded with 0.
    """
    shape = tuple(volume.shape)
    padded = [max(n, side) for n, side in zip(shape, windows.patch, strict=True)]
    before = [(big - n) // 2 for big, n in zip(padded, shape, strict=True)]
    after = [big - n - first for big, n, first in zip(padded, shape, before, strict=True)]
    whole = functional.pad(volume, (before[2], after[2], before[1], after[1], before[0], after[0]))
    stride = windows.stride or tuple(side // 2 for side in windows.patch)
    starts = [
        _starts(n, side, step) for n, side, step in zip(padded, windows.patch, stride, strict=True)
    ]
    weight = _weight(windows).to(volume.device)
    depth, side_h, side_w = windows.patch
    total = volume.new_zeros(0)
    weights = volume.new_zeros(depth, *padded[1:])
    inside = (slice(before[1], before[1] + shape[1]), slice(before[2], before[2] + shape[2]))
    for index, first in enumerate(starts[0]):
        corners = list(itertools.product(starts[1], starts[2]))
        for begin in range(0, len(corners), windows.batch):
            some = corners[begin : begin + windows.batch]
            cut = torch.stack(
                [
                    whole[None, first : first + depth, y : y + side_h, x : x + side_w]
                    for y, x in some
                ]
            )
            for (y, x), probs in zip(some, ask(cut).float(), strict=True):
                if not len(total):
                    total = volume.new_zeros(len(probs), depth, *padded[1:])
                total[:, :, y : y + side_h, x : x + side_w] += probs * weight
                weights[:, y : y + side_h, x : x + side_w] += weight
        last = index == len(starts[0]) - 1
        done = depth if last else starts[0][index + 1] - first
        low, high = max(before[0] - first, 0), min(before[0] + shape[0] - first, done)
        if high > low:
            yield (total[:, low:high] / weights[low:high])[:, :, inside[0], inside[1]]
        if not last:
            total = torch.cat([total[:, done:], torch.zeros_like(total[:, :done])], 1)
            weights = torch.cat([weights[done:], torch.zeros_like(weights[:done])])


def _starts(n: int, side: int, step: int) -> list[int]:
    """First voxels of windows that cover an axis; the last one ends with it."""
    return [*range(0, n - side, step), n - side]


def _weight(windows: Windows) -> Float[Tensor, "d h w"]:
    if not windows.gaussian:
        return torch.ones(windows.patch)
    d, h, w = (
        torch.exp(-0.5 * ((torch.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in windows.patch
    )
    # Far corners weigh almost nothing; a floor keeps the division by their sum exact.
    return (d[:, None, None] * h[:, None] * w).clamp_min(1e-4)
