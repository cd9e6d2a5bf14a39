"""Overlapping windows over a volume, averaged; finished slices leave at once, so that memory is one
row of windows.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from fewmask.core.errors import BadConfig

_SLAB = 16
"""Finished slices that leave at once."""
PredictWindows = Callable[[Float[Tensor, "b 1 d h w"]], Float[Tensor, "b c d h w"]]
"""From windows to probabilities."""


@dataclass(frozen=True)
class Windows:
    """How a volume is cut. Raises `BadConfig` for a stride that would leave voxels out."""

    patch: tuple[int, int, int]
    """Voxels (d, h, w) of a window."""
    stride: tuple[int, int, int] | None = None
    """Voxels (d, h, w) from one window to the next; None = half a window."""
    gaussian: bool = False
    """Weigh the middle of a window more than its border (sigma = an eighth of its side), as nnU-Net
    does.
    """
    batch: int = 2
    """Windows per call of the network; more are faster where a GPU idles, and take more of its
    memory.
    """

    def __post_init__(self) -> None:
        if self.stride is None:
            return
        if not all(1 <= step <= side for step, side in zip(self.stride, self.patch, strict=True)):
            raise BadConfig(
                f"a stride of {self.stride} leaves gaps between windows of {self.patch}",
                did="nothing was written",
                fix="use steps from 1 to the window's sides",
                code="C02",
            )


def slide(
    volume: Float[Tensor, "d h w"], windows: Windows, predict: PredictWindows
) -> Iterator[Float[Tensor, "c n h w"]]:
    """Probabilities of the volume, d from first to last, in blocks of finished slices. Smaller
    volumes are padded with 0.
    """
    depth, side_h, side_w = windows.patch
    n_slices, height, width = volume.shape
    padded, (before_d, before_h, before_w) = _pad(volume, windows.patch)
    starts_d, *starts_in_plane = _starts(tuple(padded.shape), windows)
    corners = list(itertools.product(*starts_in_plane))
    weight = _weight(windows).to(volume.device)
    # `total` and `weights` sum up one row of windows: `depth` slices of the padded volume, from
    # slice `first` on. When a row is through, no later window reaches the slices before the next
    # row's start: they are divided and leave, and what remains moves to the front.
    total = volume.new_zeros(0)
    weights = volume.new_zeros(depth, *padded.shape[1:])
    for row, first in enumerate(starts_d):
        for begin in range(0, len(corners), windows.batch):
            chunk = corners[begin : begin + windows.batch]
            cut = [padded[first : first + depth, y : y + side_h, x : x + side_w] for y, x in chunk]
            probabilities = predict(torch.stack(cut)[:, None]).float()
            for (y, x), probs in zip(chunk, probabilities, strict=True):
                if not len(total):
                    total = volume.new_zeros(len(probs), depth, *padded.shape[1:])
                # Times 1 would be a copy of all probabilities for nothing.
                weighed = probs * weight if windows.gaussian else probs
                total[:, :, y : y + side_h, x : x + side_w] += weighed
                weights[:, y : y + side_h, x : x + side_w] += weight
        last = row == len(starts_d) - 1
        done = depth if last else starts_d[row + 1] - first
        # Of the finished slices those of the volume itself, without the padding around it.
        low, high = max(before_d - first, 0), min(before_d + n_slices - first, done)
        for start in range(low, high, _SLAB):
            slab = slice(start, min(start + _SLAB, high))
            mean = total[:, slab] / weights[slab]
            yield mean[:, :, before_h : before_h + height, before_w : before_w + width]
        if not last:
            _move_up(total.unbind(1), done)
            _move_up(weights.unbind(0), done)


def _move_up(slices: Sequence[Tensor], done: int) -> None:
    """What stands from slice `done` on goes to the front, and zeros take its place: one by one, so
    that no second copy is held.
    """
    for to, source in zip(slices, slices[done:], strict=False):
        to.copy_(source)
    for left in slices[-done:]:
        left.zero_()


def _pad(
    volume: Float[Tensor, "d h w"], patch: tuple[int, int, int]
) -> tuple[Float[Tensor, "pd ph pw"], tuple[int, int, int]]:
    """The volume with zeros around it up to the size of a window, and how many stand before it
    along (d, h, w).
    """
    missing = [max(side - n, 0) for n, side in zip(volume.shape, patch, strict=True)]
    d, h, w = (n // 2 for n in missing)
    after_d, after_h, after_w = (n - n // 2 for n in missing)
    return functional.pad(volume, (w, after_w, h, after_h, d, after_d)), (d, h, w)


def _starts(shape: tuple[int, ...], windows: Windows) -> list[list[int]]:
    """Per axis the first voxels of windows that cover it; the last window ends with the axis."""
    steps = windows.stride or tuple(side // 2 for side in windows.patch)
    return [
        [*range(0, n - side, step), n - side]
        for n, side, step in zip(shape, windows.patch, steps, strict=True)
    ]


def _weight(windows: Windows) -> Float[Tensor, "d h w"]:
    if not windows.gaussian:
        return torch.ones(windows.patch)
    d, h, w = (
        torch.exp(-0.5 * ((torch.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in windows.patch
    )
    # Far corners weigh almost nothing; a floor keeps the division by their sum exact.
    return (d[:, None, None] * h[:, None] * w).clamp_min(1e-4)
