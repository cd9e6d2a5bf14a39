"""Folding relative positions into queries and keys changes nothing but time and memory."""

import pytest
import torch
from transformers.models.sam.configuration_sam import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionAttention

from fewmask.blocks.sam.attention import Attention, offsets
from fewmask.blocks.sam.patch_embed import resize_positions


def original(grid: int) -> SamVisionAttention:
    torch.manual_seed(0)
    config = SamVisionConfig(
        hidden_size=24, num_attention_heads=3, image_size=8 * grid, patch_size=8, use_rel_pos=True
    )
    attention = SamVisionAttention(config, window_size=0)
    with torch.no_grad():
        for table in (attention.rel_pos_h, attention.rel_pos_w):
            table.normal_()
    return attention


def folded(old: SamVisionAttention) -> Attention:
    return Attention(old.qkv, old.proj, old.num_attention_heads, old.rel_pos_h, old.rel_pos_w)


@pytest.mark.parametrize(("made_for", "grid"), [(5, 5), (14, 14), (7, 5), (4, 9)])
def test_the_same_as_the_original_with_interpolated_tables_too(made_for, grid) -> None:
    old = original(made_for)
    tokens = torch.randn(2, grid, grid, 24)
    assert torch.allclose(folded(old)(tokens)[0], old(tokens)[0], atol=1e-5)


def test_the_same_on_a_grid_that_is_not_square() -> None:
    """Tables for another number of rows than columns; the original code interpolates each for its
    own axis.
    """
    old = original(6)
    tokens = torch.randn(1, 6, 3, 24)
    assert torch.allclose(folded(old)(tokens)[0], old(tokens)[0], atol=1e-5)


def test_gradients_are_the_same() -> None:
    old = original(5)
    tokens = torch.randn(1, 5, 5, 24)
    grads = []
    for attention in (old, folded(old)):
        old.zero_grad()
        attention(tokens)[0].square().sum().backward()
        grads.append(
            [old.rel_pos_h.grad.clone(), old.rel_pos_w.grad.clone(), old.qkv.weight.grad.clone()]
        )
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(*grads, strict=True))


def test_without_tables_it_is_plain_attention() -> None:
    old = original(4)
    old.use_rel_pos = False
    tokens = torch.randn(1, 4, 4, 24)
    plain = Attention(old.qkv, old.proj, 3, None, None)
    assert torch.allclose(plain(tokens)[0], old(tokens)[0], atol=1e-5)


def test_offsets_by_hand() -> None:
    """Three tokens, table rows for offsets -2 .. 2: entry [i, j] is the row of offset i - j."""
    table = torch.arange(-2.0, 3.0)[:, None]
    assert offsets(table, 3)[..., 0].tolist() == [[0, -1, -2], [1, 0, -1], [2, 1, 0]]


def test_positions_keep_their_grid_and_their_mean() -> None:
    positions = torch.randn(1, 8, 8, 4)
    assert resize_positions(positions, (8, 8)) is positions
    flat = torch.full((1, 8, 8, 4), 2.5)
    assert torch.allclose(resize_positions(flat, (5, 12)), torch.full((1, 5, 12, 4), 2.5))
