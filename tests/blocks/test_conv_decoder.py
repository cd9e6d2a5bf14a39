"""The compact SAM's own parts: prompts as pictures, the ellipse it starts from, detail that reaches
the embedding.
"""

import pytest
import torch

from fewmask.blocks.sam import SIZES, Sam, build_sam
from fewmask.blocks.sam.conv_decoder import ConvDecoder, box_prior, rasterise_prompts
from fewmask.blocks.sam.decoder import Prompts

SIDE = 64


@pytest.fixture(scope="module")
def sam() -> Sam:
    torch.manual_seed(0)
    return build_sam(SIZES["tiny"], SIDE).eval()


def test_prompts_are_drawn_where_they_are() -> None:
    """At the masks' side, here that of the image, a box covers rows 4..19 and columns 4..11, a
    point is at (6, 10), and a mask is itself.
    """
    box, points, labels = (
        torch.tensor([[4.0, 4, 12, 20]]),
        torch.tensor([[[6.5, 10.5]]]),
        torch.zeros(1, 1, dtype=torch.int64),
    )
    embedding, mask = torch.zeros(1, 2, 8, 8), 0.5 * torch.ones(1, 1, 32, 32)
    drawn = rasterise_prompts(embedding, Prompts(32, box, points, labels, mask))
    assert drawn.shape == (1, 3, 32, 32)
    assert (
        float(drawn[0, 0].sum()) == 8 * 16
        and float(drawn[0, 0, 4, 4]) == 1
        and float(drawn[0, 0, 3, 4]) == 0
    )
    assert (
        float(drawn[0, 1, 10, 6]) == -1
        and float(drawn[0, 1, 20, 20]) == 0
        and float(drawn[0, 2].mean()) == 0.5
    )
    halved = rasterise_prompts(embedding, Prompts(64, 2 * box, 2 * points, labels, mask))
    assert torch.equal(halved, drawn)
    assert not bool(rasterise_prompts(embedding, Prompts(32)).any())


def test_prior_is_an_ellipse_in_the_box() -> None:
    """3 in the middle, below 0 in the corner, 0 on the border, nothing far away or for no box."""
    prior = box_prior(torch.tensor([[8.0, 8, 23, 23], [torch.nan] * 4]), 32)
    assert prior.shape == (2, 1, 32, 32) and bool((prior[1] == -5).all())
    assert float(prior[0, 0, 15, 15]) == 3.0
    assert (
        float(prior[0, 0, 8, 8]) < 0 < float(prior[0, 0, 8, 15]) < 1
        and float(prior[0, 0, 0, 0]) == -5
    )


@torch.no_grad()
def test_a_fresh_one_answers_with_the_ellipse(sam) -> None:
    box = torch.tensor([[16.0, 16, 48, 40]])
    logits, scores = sam.decode(sam.encode(torch.rand(1, 1, SIDE, SIDE)), box, SIDE)
    wanted = box_prior(box / 2, 32)[:, 0] > 0
    assert logits.shape == (1, 3, 32, 32) and scores.shape == (1, 3)
    assert all(
        float((logits[:, k] > 0).logical_xor(wanted).float().mean()) < 0.03 for k in range(3)
    )


def test_scores_teach_nothing_but_themselves() -> None:
    decoder = ConvDecoder(32)
    embedding = torch.rand(1, 32, 8, 8, requires_grad=True)
    decoder(embedding, torch.rand(1, 3, 32, 32), None)[1].sum().backward()
    assert decoder.masks.weight.grad is None and decoder.scores[0].weight.grad is not None


@torch.no_grad()
def test_one_pixel_reaches_the_embedding(sam) -> None:
    """Without the attention layers' help: what the detail path adds differs only near the pixel
    that differs.
    """
    one = torch.full((1, 3, SIDE, SIDE), 0.5)
    two = one.clone()
    two[..., 20, 20] = 1.0
    a, b = (sam.image_encoder.detail(sam.image_encoder.early(image)) for image in (one, two))
    far = (a - b).abs().amax(1)[0]
    assert float(far[2, 2]) > 10 * float(far[7, 7])
