"""How tensors lie in memory."""

from typing import TypeVar

import torch
from torch import nn

T = TypeVar("T", bound=nn.Module)


def channels_last(module: T) -> T:
    """Weights of convolutions with channels innermost: with bfloat16, 1.8 to 2.7 times faster
    training steps on a CPU.
    """
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in module.parameters():
        if weight.ndim in formats:
            weight.data = weight.data.contiguous(memory_format=formats[weight.ndim])
    return module
