"""SAM behind its small door: one prompt set per image, positions where they should be, adapters
that start as nothing.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch

from fewmask.blocks.sam import SIZES, Sam, build_sam, size_named
from fewmask.blocks.sam.lora import LoraQkv, add_lora
from fewmask.blocks.sam.two_way_decoder import TwoWayDecoder
from fewmask.core.errors import BadConfig

SIDE = 64
TOKENS = replace(SIZES["tiny"], decoder="two-way")
"""SAM's own decoder at the size of `tiny`."""


@pytest.fixture(scope="module", params=["two-way", "drawn"])
def sam(request) -> Sam:
    torch.manual_seed(0)
    return build_sam(replace(SIZES["tiny"], decoder=request.param), SIDE).eval()


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_weights_are_not_practically_zero() -> None:
    """The library's defaults are a deviation of 1e-10 for weights and 122 for Fourier features."""
    sam: Any = build_sam(TOKENS, SIDE)
    assert 0.005 < float(sam.image_encoder.layers[0].attn.qkv.weight.std()) < 0.2
    assert 0.5 < float(sam.prompt_encoder.shared_embedding.positional_embedding.std()) < 2


@torch.no_grad()
def test_each_image_sees_its_own_prompt_only(sam) -> None:
    embedding = sam.encode(images(2))
    boxes = torch.tensor([[4.0, 4, 30, 30], [20.0, 10, 60, 50]])
    dense = torch.rand(
        2, 1, sam.mask_side, sam.mask_side, generator=torch.Generator().manual_seed(2)
    )
    logits, scores = sam.decode(embedding, boxes, SIDE, dense)
    assert logits.shape == (2, 3, 32, 32) and scores.shape == (2, 3)
    for row in range(2):
        alone, score = sam.decode(
            embedding[row : row + 1], boxes[row : row + 1], SIDE, dense[row : row + 1]
        )
        assert torch.allclose(alone[0], logits[row], atol=1e-5) and torch.allclose(
            score[0], scores[row], atol=1e-5
        )


@torch.no_grad()
def test_nobody_asked_nothing_answered(sam) -> None:
    logits, scores = sam.decode(sam.encode(images(1))[:0], torch.zeros(0, 4), SIDE)
    assert logits.shape == (0, 3, 32, 32) and scores.shape == (0, 3)


@torch.no_grad()
def test_prompts_matter(sam) -> None:
    embedding = sam.encode(images(1))
    one, two = torch.tensor([[4.0, 4, 30, 30]]), torch.tensor([[34.0, 34, 60, 60]])
    here, there = (sam.decode(embedding, box, SIDE)[0] for box in (one, two))
    point = sam.decode(
        embedding,
        None,
        SIDE,
        None,
        torch.tensor([[[12.0, 20.0]]]),
        torch.ones(1, 1, dtype=torch.int64),
    )[0]
    assert not torch.allclose(here, point)
    dense = sam.decode(embedding, one, SIDE, torch.ones(1, 1, 32, 32))[0]
    assert not torch.allclose(here, there) and not torch.allclose(here, dense)


@torch.no_grad()
def test_a_box_at_a_token_centre_has_that_tokens_position() -> None:
    """Tokens are 8 pixels wide: the position of the point (12, 20) in pixel edges is that of token
    column 1, row 2.
    """
    sam: Any = build_sam(TOKENS, SIDE)
    decoder = TwoWayDecoder(sam.prompt_encoder, sam.mask_decoder)
    grid = decoder.positions(torch.zeros(1, 32, 8, 8))[0, :, 2, 1]
    corner = sam.prompt_encoder._embed_boxes(torch.tensor([[[12.0, 20, 12, 20]]]) - 0.5)[0, 0, 0]
    assert torch.allclose(corner - sam.prompt_encoder.point_embed[2].weight[0], grid, atol=1e-5)


@torch.no_grad()
def test_other_image_sides_are_brought_to_sams_own() -> None:
    torch.manual_seed(0)
    sam = build_sam(TOKENS, 32).eval()
    assert sam.encode(images(1)).shape == (1, 32, 4, 4)
    embedding = sam.encode(images(1))
    small = sam.decode(embedding, torch.tensor([[4.0, 4, 16, 16]]), 32)[0]
    large = sam.decode(embedding, torch.tensor([[8.0, 8, 32, 32]]), 64)[0]
    assert torch.equal(small, large) and small.shape == (1, 3, 16, 16)
    sam.image_size = 96
    assert sam.encode(images(1)).shape == (1, 32, 12, 12)
    assert sam.decode(sam.encode(images(1)), torch.tensor([[4.0, 4, 16, 16]]), 64)[0].shape == (
        1,
        3,
        48,
        48,
    )


def test_official_sizes_have_official_numbers() -> None:
    """ViT-B's image encoder holds 89.67 M weights (SAM's code base); counted without allocating
    them.
    """
    with torch.device("meta"):
        encoder = build_sam(SIZES["vit-b"], 1024).image_encoder
    assert round(sum(weight.numel() for weight in encoder.parameters()) / 1e6, 2) == 89.67


def test_lora_starts_as_nothing_and_merges_exactly() -> None:
    torch.manual_seed(0)
    qkv = torch.nn.Linear(12, 36)
    adapted, x = LoraQkv(qkv, 4), torch.rand(5, 12)
    assert torch.equal(adapted(x), qkv(x))
    with torch.no_grad():
        adapted.up_q.normal_()
        adapted.up_v.normal_()
    assert not torch.allclose(adapted(x), qkv(x))
    assert torch.allclose(adapted(x)[:, 12:24], qkv(x)[:, 12:24])  # keys untouched
    assert torch.allclose(adapted.merged()(x), adapted(x), atol=1e-5)


def test_lora_of_vit_b_rank_4_has_147456_weights() -> None:
    """12 layers x (q and v) x 4 x (768 + 768)."""
    with torch.device("meta"):
        sam = build_sam(SIZES["vit-b"], 1024)
        add_lora(sam, 4)
    assert (
        sum(weight.numel() for weight in sam.image_encoder.parameters() if weight.requires_grad)
        == 147_456
    )


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(BadConfig, match="no encoder"):
        size_named("vit-x")
    with pytest.raises(BadConfig, match="do not tile"):
        build_sam(SIZES["tiny"], 60)
