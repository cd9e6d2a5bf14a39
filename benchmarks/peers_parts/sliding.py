"""The same V-Net over the same windows of a volume, thirteen organs, to a label map."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from fewmask.blocks.memory import channels_last
from fewmask.core.batch import Task
from fewmask.methods import build, vnet
from fewmask.predict.windows import PredictWindows, Windows, slide
from peers_parts.turns import Match, Skipped, growth_mib, here

ORGANS = tuple(f"organ {number}" for number in range(1, 14))
Inferer = Callable[[Tensor, Windows, PredictWindows], Tensor]


def matches(side: int = 128) -> Iterator[Match | Skipped]:
    """Without weights, where both give the same bits, and with Gaussian ones."""
    torch.manual_seed(0)
    patch = (side // 2,) * 3
    task = Task(ORGANS, side, "ct", 1.0)
    net = channels_last(build("vnet", vnet.Config(patch=patch), task).eval())

    def predict(image: Float[Tensor, "b 1 d h w"]) -> Float[Tensor, "b c d h w"]:
        with torch.autocast("cpu", torch.bfloat16):
            return net.predict(image).probs

    volume = torch.rand(side, side, side)
    for gaussian in (False, True):
        work = "windows, Gaussian" if gaussian else "windows"
        if not find_spec("monai"):
            yield Skipped(work, "MONAI", "monai is not installed")
            continue
        windows = Windows(patch, gaussian=gaussian)
        ours = partial(_ours, volume, windows, predict)
        theirs = partial(_by_monai, volume, windows, predict)
        same = float((ours() == theirs()).float().mean())
        note = f"labels alike {same:.4%}; memory with a network of one layer, {_WIDE[0]} slices"
        yield Match(work, "MONAI", here(ours), here(theirs), note, _memory(windows))


_WIDE = (192, 256, 256)
"""The volume (d, h, w) over which memory is measured."""


def _memory(windows: Windows) -> tuple[float, float]:
    """What each holds besides the network."""
    share = torch.rand(1, len(ORGANS) + 1, 1, 1, 1)
    volume = torch.rand(_WIDE)
    both = (partial(call, volume, windows, lambda x: x * share) for call in (_ours, _by_monai))
    ours, theirs = (growth_mib(call) for call in both)
    return ours, theirs


@torch.no_grad()
def _ours(
    volume: Float[Tensor, "d h w"], windows: Windows, predict: PredictWindows
) -> UInt8[Tensor, "d h w"]:
    labels, first = torch.empty(volume.shape, dtype=torch.uint8), 0
    for block in slide(volume, windows, predict):
        labels[first : first + block.shape[1]] = block.argmax(0)
        first += block.shape[1]
    return labels


@torch.no_grad()
def _by_monai(
    volume: Float[Tensor, "d h w"], windows: Windows, predict: PredictWindows
) -> UInt8[Tensor, "d h w"]:
    from monai.inferers import sliding_window_inference

    found = sliding_window_inference(
        volume[None, None],
        windows.patch,
        windows.batch,
        lambda image: predict(image).float(),
        overlap=0.5,
        mode="gaussian" if windows.gaussian else "constant",
    )
    labels: Tensor = found[0].argmax(0).to(torch.uint8)
    return labels
