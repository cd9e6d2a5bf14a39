"""Official weights mean the same here as where they come from: names, shapes, and every number that
comes out.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fewmask.blocks.sam import SIZES, Sam, SamSize, build_sam
from fewmask.blocks.sam.model import OFFICIAL_MEAN, OFFICIAL_STD
from fewmask.blocks.sam.official import find_size, rename, shapes_of
from fewmask.core.errors import BadCheckpoint
from tests.blocks.reference import decode, encode, official_shapes, random_weights

SMALL = replace(
    SIZES["vit-b"], name="two", image_size=80, width=24, depth=2, heads=2, window=3,
    global_layers=(1,), out_channels=32,
    decoder_heads=4, decoder_mlp=48,
)  # fmt: skip


def loaded(size: SamSize, weights: dict[str, Tensor]) -> Sam:
    sam = build_sam(size).eval()
    sam.load_state_dict(rename(weights, "test"))
    return sam


def agree(size: SamSize, atol: float) -> None:
    weights = random_weights(size)
    sam = loaded(size, weights)
    side = size.image_size
    image = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(1))
    rgb = (image.expand(-1, 3, -1, -1) - torch.tensor(OFFICIAL_MEAN)[:, None, None]) / torch.tensor(
        OFFICIAL_STD
    )[:, None, None]
    box = torch.tensor([[0.2, 0.3, 0.7, 0.9]]) * side
    mask = torch.rand(
        1, 1, sam.mask_side, sam.mask_side, generator=torch.Generator().manual_seed(2)
    )
    with torch.no_grad():
        embedding = sam.encode(image)
        wanted = encode(weights, rgb, size.heads, size.window, size.global_layers)
        assert torch.allclose(embedding, wanted, atol=atol), float((embedding - wanted).abs().max())
        for prompt in (None, mask):
            logits, scores = sam.decode(wanted, box, side, prompt)
            true_logits, true_scores = decode(
                weights, wanted, box[0], side, size.decoder_heads, prompt
            )
            assert torch.allclose(logits, true_logits, atol=atol), float(
                (logits - true_logits).abs().max()
            )
            assert torch.allclose(scores, true_scores, atol=atol)


def test_two_layers_agree_with_the_published_architecture() -> None:
    """One windowed layer (five tokens in windows of three: padded) and one global one."""
    agree(SMALL, 1e-4)


@pytest.mark.slow
def test_vit_b_agrees_with_the_published_architecture() -> None:
    agree(replace(SIZES["vit-b"], image_size=224), 1e-4)


@pytest.mark.parametrize("name", ["vit-b", "vit-l", "vit-h"])
def test_official_names_and_shapes_are_ours_after_renaming(name) -> None:
    with torch.device("meta"):
        tensors = {key: torch.empty(shape) for key, shape in official_shapes(SIZES[name]).items()}
    renamed = {key: tuple(tensor.shape) for key, tensor in rename(tensors, name).items()}
    assert renamed == shapes_of(SIZES[name])
    assert find_size(rename(tensors, name), name) is SIZES[name]


def test_a_transformers_folder_has_the_same_numbers() -> None:
    """The names `transformers` saves, made from its own model, end up as ours."""
    from transformers import SamModel

    from fewmask.blocks.sam.build import _config

    model = SamModel(_config(SMALL))
    renamed = rename(model.state_dict(), "test")
    assert {name: tuple(t.shape) for name, t in renamed.items()} == shapes_of(SMALL)
    sam = build_sam(SMALL).eval()
    sam.load_state_dict(renamed)
    pixels = torch.rand(1, 3, 80, 80)
    with torch.no_grad():
        wanted = model.eval().vision_encoder(pixels).last_hidden_state
        assert torch.allclose(sam.image_encoder(pixels).last_hidden_state, wanted, atol=1e-4)


def test_our_own_names_stay() -> None:
    tensors = build_sam(SIZES["tiny"]).state_dict()
    assert rename(tensors, "test") == tensors


def test_another_architecture_is_refused_by_its_numbers() -> None:
    tensors = rename(random_weights(SMALL), "test")
    with pytest.raises(BadCheckpoint, match="2 layers of width 24"):
        find_size(tensors, "test")
    with pytest.raises(BadCheckpoint, match="0 layers of width 0"):
        find_size({"conv1.weight": torch.zeros(1)}, "test")


def test_two_names_for_one_tensor_must_agree() -> None:
    both = {
        "vision_encoder.pos_embed": torch.zeros(1),
        "shared_image_embedding.positional_embedding": torch.zeros(2),
        "prompt_encoder.shared_embedding.positional_embedding": torch.ones(2),
    }
    with pytest.raises(BadCheckpoint, match="differ"):
        rename(both, "test")


@pytest.mark.parametrize("name", sorted(SIZES))
def test_every_size_is_known_by_its_weights(name: str) -> None:
    """Whatever its decoder: the compact one keeps its attention layers a level deeper."""
    with torch.device("meta"):
        weights = build_sam(SIZES[name]).state_dict()
    assert find_size(weights, "here").name == name
