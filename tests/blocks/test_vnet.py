"""V-Net: as large as the literature's, and gradients that are right in bfloat16 too."""

import pytest
import torch
from torch import nn

from fewmask.blocks.memory import channels_last
from fewmask.blocks.nets.vnet import VNet
from tests.narrow import part


def test_size_of_the_literature() -> None:
    assert sum(weight.numel() for weight in VNet(2).parameters()) == 9_448_866


@pytest.mark.parametrize("depth", [16, 32, 48])
def test_gradients_in_bfloat16_are_those_of_float32(depth) -> None:
    """The bottom is 1, 2 or 3 planes deep; over two of them kernels of some CPUs return garbage
    (relative error 1, or 1e34).
    """
    torch.manual_seed(0)
    layer = part(VNet(2), "encode.3.0", nn.Conv3d)
    x, out = torch.randn(2, 256, depth // 16, 3, 2), torch.randn(2, 256, depth // 16, 3, 2)
    (true,) = torch.autograd.grad((layer(x) * out).sum(), layer.weight)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    (found,) = torch.autograd.grad((y.float() * out).sum(), layer.weight)
    assert (found - true).norm() / true.norm() < 0.05


@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_norms_of_each_patch_are_torch_s_and_keep_channels_innermost(mean) -> None:
    """In bfloat16, with three digits; far from zero too, where a difference of squares would be
    wrong by a third.
    """
    torch.manual_seed(0)
    norm = part(VNet(2, norm="instance"), "first.1", nn.InstanceNorm3d)
    theirs = nn.InstanceNorm3d(16, affine=True).double()
    for layer in (norm, theirs):
        layer.weight.data.copy_(torch.linspace(0.5, 2.0, 16))
        layer.bias.data.copy_(torch.linspace(-1.0, 1.0, 16))
    x = (
        (mean + torch.randn(3, 16, 8, 8, 8))
        .bfloat16()
        .contiguous(memory_format=torch.channels_last_3d)
        .requires_grad_()
    )
    out = norm(x)
    assert out.dtype == torch.bfloat16 and out.is_contiguous(memory_format=torch.channels_last_3d)
    expected = theirs(x.double())
    assert (out - expected).abs().max() < 0.03
    pull = torch.randn(3, 16, 8, 8, 8)
    gradients = [
        torch.autograd.grad((y * pull).sum(), (x, layer.weight))
        for y, layer in ((out, norm), (expected, theirs))
    ]
    for found, true in zip(*gradients, strict=True):
        assert (found - true).norm() / true.norm() < 0.01


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_channels_stay_innermost_from_the_first_layer_on(norm) -> None:
    """Its one input channel lies the same either way."""
    net = channels_last(VNet(2, norm=norm))
    with torch.autocast("cpu", torch.bfloat16):
        assert net.first(torch.randn(2, 1, 16, 16, 16)).is_contiguous(
            memory_format=torch.channels_last_3d
        )
