"""Slices that correct each other."""

import torch

from fewmask.blocks.nets.slice_context import SliceContext3d


def test_at_the_start_nothing_is_added() -> None:
    torch.manual_seed(0)
    logits, image = torch.randn(2, 3, 5, 7, 6), torch.rand(2, 1, 5, 7, 6)
    assert torch.equal(SliceContext3d(3)(logits, image), logits)


def test_a_slice_hears_of_seven_others_up_and_down_and_no_further() -> None:
    """Convolutions with taps 1, 2 and 4 apart. Group norms see the whole patch, so they are taken
    out here.
    """
    torch.manual_seed(0)
    across = SliceContext3d(2)
    torch.nn.init.normal_(across.out.weight)
    for layer in across.layers:
        assert isinstance(layer, torch.nn.Sequential)
        layer[1] = torch.nn.Identity()
    logits = torch.randn(1, 2, 20, 4, 4, requires_grad=True)
    across(logits, torch.rand(1, 1, 20, 4, 4))[0, :, 10].sum().backward()
    assert logits.grad is not None
    heard = torch.nonzero(logits.grad[0].abs().sum((0, 2, 3)))[:, 0].tolist()
    assert heard == list(range(3, 18))


def test_every_weight_learns_after_the_first_step() -> None:
    torch.manual_seed(0)
    across = SliceContext3d(2)
    logits, image = torch.randn(1, 2, 6, 8, 8), torch.rand(1, 1, 6, 8, 8)
    optimiser = torch.optim.SGD(across.parameters(), 1.0)
    across(logits, image).square().sum().backward()
    optimiser.step()
    optimiser.zero_grad()
    across(logits, image).square().sum().backward()
    assert all(
        weight.grad is not None and weight.grad.abs().sum() > 0 for weight in across.parameters()
    )
