"""A moving average of a network's weights: steadier than the last ones, and what predicts."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

Net = TypeVar("Net", bound=nn.Module)


def average_of(network: Net) -> Net:
    """A copy that does not learn by gradients; `move` lets it follow."""
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def move(average: nn.Module, network: nn.Module, index: int, decay: float) -> None:
    """After step `index` (from 0): average = kept * average + (1 - kept) * network.

    `kept` is `decay`, but (index + 1) / (index + 10) as long as that is less, so that the random
    start is soon forgotten. Means and variances of batch norms move as weights do; what is counted
    is copied.
    """
    kept = min(decay, (index + 1) / (index + 10))
    slow: list[Tensor] = list(average.parameters())
    fast: list[Tensor] = list(network.parameters())
    for number, latest in zip(average.buffers(), network.buffers(), strict=True):
        if number.is_floating_point():
            slow.append(number)
            fast.append(latest)
        else:
            number.copy_(latest)
    move_all(slow, fast, kept)


@torch.no_grad()
def move_all(slow: list[Tensor], fast: list[Tensor], kept: float) -> None:
    """slow = `kept` * slow + (1 - `kept`) * fast, all at once: on a GPU one kernel instead of
    hundreds.
    """
    get_ema_multi_avg_fn(kept)(slow, fast, 0)
