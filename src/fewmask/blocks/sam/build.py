"""Build a SAM of a given size from the modules that `transformers` keeps; random weights that can learn.

Two defaults of `transformers` would make a fresh model untrainable and are set right here: weights drawn with deviation 1e-10
(we use 0.02), and Fourier position features drawn with deviation 122 instead of SAM's 1 (boxes would be noise).
"""

import itertools
import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

from fewmask.blocks.sam.model import Sam
from fewmask.blocks.sam.size import SamSize
from fewmask.core.errors import BadConfig


def build_sam(size: SamSize, task_size: int) -> Sam:
    """A SAM with fresh weights for square slices of `task_size` pixels.

    A size with `image_size` 0 takes the task's size as its own. Raises `BadConfig` if patches do not tile the input.
    """
    size = replace(size, image_size=size.image_size or task_size)
    if size.image_size % size.patch:
        raise BadConfig(
            f"patches of {size.patch} px do not tile an image of {size.image_size} px",
            did="nothing was started",
            fix=f"prepare with a size that is a multiple of {size.patch}",
            row="C02",
        )
    parts = SamModel(_config(size))
    parts.shared_image_embedding.positional_embedding.data.normal_(0, 1)
    parts.prompt_encoder.shared_embedding = parts.shared_image_embedding
    encoder = parts.vision_encoder
    if size.stem == "conv":
        encoder.patch_embed = ConvStem(size.width, size.patch)
    return Sam(encoder, parts.prompt_encoder, parts.mask_decoder, size.image_size, size.image_size // size.patch)


class ConvStem(nn.Module):
    """A stack of 3 x 3 convolutions, halving the side until one pixel per patch is left (Xiao et al. 2021)."""

    def __init__(self, width: int, patch: int) -> None:
        """`patch` is a power of two; output has `width` channels."""
        super().__init__()
        halvings = int(math.log2(patch))
        channels = [3, *(max(16, width // 2 ** (halvings - step)) for step in range(halvings))]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.GELU()]
            layers += [nn.Conv2d(after, after, 3, 1, 1), nn.GroupNorm(8, after), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels[-1], width, 1))

    def forward(self, pixel_values: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b gh gw c"]:
        """Tokens, channels last, as `transformers`' patch embedding gives them."""
        return self.layers(pixel_values).permute(0, 2, 3, 1)


def _config(size: SamSize) -> SamConfig:
    vision = SamVisionConfig(
        hidden_size=size.width,
        output_channels=size.out_channels,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        mlp_dim=4 * size.width,
        image_size=size.image_size,
        patch_size=size.patch,
        window_size=size.window,
        global_attn_indexes=list(size.global_layers),
        num_pos_feats=size.out_channels // 2,
        use_rel_pos=size.relative_positions,
        initializer_range=0.02,
    )
    prompt = SamPromptEncoderConfig(hidden_size=size.out_channels, image_size=size.image_size, patch_size=size.patch)
    decoder = SamMaskDecoderConfig(
        hidden_size=size.out_channels,
        mlp_dim=size.decoder_mlp,
        num_attention_heads=size.decoder_heads,
        iou_head_hidden_dim=size.out_channels,
    )
    return SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder, initializer_range=0.02)


def official_normalisation() -> tuple[Tensor, Tensor]:
    """Mean and deviation of ImageNet's RGB in [0, 1], as the official weights expect (SAM's pixel_mean / 255)."""
    return torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
