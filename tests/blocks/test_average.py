"""The moving average, by hand."""

import pytest
import torch
from torch import nn

from fewmask.blocks.average import average_of, move
from tests.narrow import required


def test_the_start_is_soon_forgotten_and_then_the_decay_holds() -> None:
    """Weights 1, 1, ... after a start of 0: 1/10 is kept of 0 after step 0, 2/11 of that after
    step 1; from step 8 on (9/18 = 1/2) the decay of 1/2.
    """
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = average_of(network)
    nn.init.ones_(network.weight)
    move(average, network, 0, 0.5)
    assert float(average.weight) == pytest.approx(0.9)
    move(average, network, 1, 0.5)
    assert float(average.weight) == pytest.approx(1 - 0.1 * 2 / 11)
    nn.init.zeros_(average.weight)
    move(average, network, 100, 0.5)
    assert float(average.weight) == 0.5 and not average.weight.requires_grad
    assert network.weight.requires_grad and network.weight.item() == 1


def test_means_and_variances_move_too_and_counts_are_copied() -> None:
    norm = nn.BatchNorm3d(1)
    average = average_of(norm)
    required(norm.running_mean).fill_(4.0)
    required(norm.running_var).fill_(3.0)
    required(norm.num_batches_tracked).fill_(7)
    move(average, norm, 100, 0.75)
    assert torch.equal(required(average.running_mean), torch.tensor([1.0]))
    assert torch.equal(required(average.running_var), torch.tensor([0.75 * 1 + 0.25 * 3]))
    assert int(required(average.num_batches_tracked)) == 7
