"""Processes that learn from one batch together, each from its share (`torchrun`): what couples the
items of a batch is summed over all of them, and what is drawn is drawn for all of them.

A loss is right if its mean over the processes is the loss of the whole batch, and the same holds of
its gradients. Means over items are, since shares are equally large; whatever is divided by a sum
over the batch must be made of `total`s. Outside `together` every function does what one process
alone would.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn

from fewmask.core.errors import NoRoom

_together = False


@contextmanager
def together() -> Iterator[None]:
    """Within the block the processes of torch's group learn together; alone where there is none."""
    global _together
    _together = distributed.is_available() and distributed.is_initialized()
    try:
        yield
    finally:
        _together = False


def members() -> int:
    """How many processes learn together."""
    return distributed.get_world_size() if _together else 1


def place() -> int:
    """Which of them this is; the first, 0, writes files."""
    return distributed.get_rank() if _together else 0


def total(values: Tensor) -> Tensor:
    """The sum over the processes. Its gradient comes back `members` times as large, so that the
    mean over the processes is that of the whole batch.
    """
    count = members()
    if count == 1:
        return values
    summed = add_up(values.detach().clone())
    return summed + (values - values.detach()) * count


def mean(values: Tensor) -> Tensor:
    """The mean over the processes, without gradient."""
    return values if members() == 1 else add_up(values.detach().clone()) / members()


def my_rows(draw: Callable[[int], Tensor], count: int) -> Tensor:
    """The `count` rows of this process of what `draw` makes for the batch of all: with the same
    state of torch's generator everywhere, each item gets what it would get in one process.
    """
    first = place() * count
    return draw(members() * count)[first : first + count]


def average_gradients(network: nn.Module) -> None:
    """Every gradient becomes its mean over the processes; a weight that moved nowhere has none."""
    count = members()
    if count == 1:
        return
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    has = [weight.grad is not None for weight in weights]
    device = weights[0].device
    parts = [
        (torch.zeros_like(weight) if weight.grad is None else weight.grad).flatten().float()
        for weight in weights
    ]
    # One sum for all of them: a hundred small ones would each wait for the slowest process.
    flat = add_up(torch.cat([torch.tensor(has, device=device).float(), *parts]))
    anywhere = (flat[: len(weights)] > 0).tolist()
    pieces = flat[len(weights) :].split([weight.numel() for weight in weights])
    for weight, piece, moved in zip(weights, pieces, anywhere, strict=True):
        if moved:
            weight.grad = torch.empty_like(weight).copy_((piece / count).view_as(weight))


def add_up(values: Tensor, group: object = None) -> Tensor:
    """`values` itself, with the sum over the processes in it."""
    with telling():
        distributed.all_reduce(values, group=group)
    return values


class PeerLost(NoRoom):
    """Another process of the training ended: without it there is no whole batch."""


@contextmanager
def telling() -> Iterator[None]:
    """Raise `PeerLost` (F24) where processes cannot reach each other any more."""
    try:
        yield
    except RuntimeError as error:
        raise PeerLost(
            "another process of this training ended, or cannot be reached",
            where=str(error).splitlines()[:1],
            did="everything up to the last whole step is saved",
            fix="see what the others said; the same command resumes from here",
            code="F24",
        ) from error
