"""V-Net: as large as the literature's, and gradients that are right in bfloat16 too."""

import pytest
import torch

from fewmask.blocks.nets.vnet import VNet


def test_size_of_the_literature() -> None:
    assert sum(weight.numel() for weight in VNet(2).parameters()) == 9_448_866


@pytest.mark.parametrize("depth", [16, 32, 48])
def test_gradients_in_bfloat16_are_those_of_float32(depth) -> None:
    """The bottom is 1, 2 or 3 planes deep; over two of them kernels of some CPUs return garbage (relative error 1, or 1e34)."""
    torch.manual_seed(0)
    layer = VNet(2).encode[3][0]
    x, out = torch.randn(2, 256, depth // 16, 3, 2), torch.randn(2, 256, depth // 16, 3, 2)
    (true,) = torch.autograd.grad((layer(x) * out).sum(), layer.weight)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    (found,) = torch.autograd.grad((y.float() * out).sum(), layer.weight)
    assert (found - true).norm() / true.norm() < 0.05
