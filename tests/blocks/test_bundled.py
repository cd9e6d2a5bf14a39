"""The weights in the package: small enough, what the card says, whole, and better than the ellipse
on shapes of their own.
"""

import hashlib
from pathlib import Path

import torch
from torch.nn import functional

from fewmask.blocks.prompts import mask_boxes
from fewmask.blocks.sam import build_sam, size_named
from fewmask.blocks.sam.conv_decoder import box_prior
from fewmask.io.ledger import bundled
from fewmask.io.weights import fit_into, load_tensors
from fewmask.methods import config_class

DOCS = Path(__file__).parents[2] / "docs"
SIDE = 224


def test_file_card_and_shelf_agree() -> None:
    data = bundled().read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    assert len(data) < 24e6
    assert (
        digest in (DOCS / "compact.md").read_text() and digest in (DOCS / "weights.md").read_text()
    )


def test_it_is_the_default_of_every_method_with_a_sam() -> None:
    assert all(
        config_class(name)().encoder == "compact" and config_class(name)().weights == "auto"
        for name in ("sam_mix", "ada_sam")
    )
    assert config_class("sam_pp")().encoder == "compact"


def dice(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return 2 * (a & b).sum((1, 2)) / (a.sum((1, 2)) + b.sum((1, 2)))


def test_it_follows_an_edge_that_no_ellipse_follows() -> None:
    """A bright half disc and an L, on which the model's own prior (a rounded ellipse in the box) is
    far off.
    """
    sam = build_sam(size_named("compact"), SIDE).eval()
    fit_into(
        sam, {name: tensor.float() for name, tensor in load_tensors(bundled()).items()}, bundled()
    )
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    half = ((y - 120) ** 2 + (x - 110) ** 2 < 55**2) & (y > 120)
    corner = ((y > 60) & (y < 160) & (x > 60) & (x < 100)) | (
        (y > 120) & (y < 160) & (x > 60) & (x < 170)
    )
    truth = torch.stack([half, corner])
    noise = 0.03 * torch.randn(2, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    image = (0.35 + 0.25 * truth + noise).clamp(0, 1)[:, None]
    with torch.no_grad():
        boxes = mask_boxes(truth)
        logits, scores = sam.decode(sam.encode(image), boxes, SIDE)
    found = logits[torch.arange(2), scores.argmax(1)][:, None]
    ours, prior = (
        dice(functional.interpolate(x, (SIDE, SIDE), mode="bilinear")[:, 0] > 0, truth)
        for x in (found, box_prior(boxes, SIDE))
    )
    assert (ours > prior + 0.1).all() and ours[0] > 0.95, (ours, prior)
