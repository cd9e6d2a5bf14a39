"""Build a SAM of a given size from the modules that `transformers` keeps; random weights that can
learn.

Two defaults of `transformers` would make a fresh model untrainable and are set right here: weights
drawn with deviation 1e-10 (we use 0.02), and Fourier position features drawn with deviation 122
instead of SAM's 1 (boxes would be noise). Two parts are ours: tokens (any input size) and attention
(relative positions folded into queries and keys).
"""

from typing import Any, cast

from torch import nn

from fewmask.blocks.sam.attention import Attention
from fewmask.blocks.sam.config import SamSize
from fewmask.blocks.sam.conv_decoder import ConvDecoder, DetailEncoder, RasterDecoder
from fewmask.blocks.sam.model import Sam
from fewmask.blocks.sam.patch_embed import PatchEmbed, conv_stem
from fewmask.blocks.sam.two_way_decoder import TwoWayDecoder
from fewmask.core.errors import BadConfig


def build_sam(size: SamSize, image_size: int = 0, masks: int = 3) -> Sam:
    """A SAM with fresh weights that sees images of `image_size` pixels; 0 = the side its positions
    are stored for.

    `masks` per prompt; SAM has 3, a class head one per class and background. Raises `BadConfig` if
    patches do not tile the input.
    """
    side = image_size or size.image_size
    if side % size.patch:
        raise BadConfig(
            f"patches of {size.patch} px do not tile an image of {side} px",
            fix=f"use a size that is a multiple of {size.patch}",
            code="C02",
        )
    # Deferred: transformers takes longer to import than torch, and other methods do without.
    from transformers import SamModel

    parts = SamModel(_config(size, masks))
    parts.shared_image_embedding.positional_embedding.data.normal_(0, 1)
    parts.prompt_encoder.shared_embedding = parts.shared_image_embedding
    encoder = parts.vision_encoder
    early, patches, early_channels = conv_stem(size.width, size.patch)
    if size.stem == "patch":
        patches = encoder.patch_embed.projection
    elif size.decoder == "two-way":
        patches = nn.Sequential(early, patches)
    encoder.patch_embed = PatchEmbed(patches, size.image_size // size.patch, size.width)
    encoder.pos_embed = None  # they are in PatchEmbed
    for layer in encoder.layers:
        layer.attn = _attention(layer.attn)
    if size.decoder == "drawn":
        whole = DetailEncoder(early, early_channels, encoder, size.patch, size.out_channels)
        raster = RasterDecoder(ConvDecoder(size.out_channels, masks))
        return Sam(whole, raster, side, size.patch, size.out_channels)
    two_way = TwoWayDecoder(parts.prompt_encoder, parts.mask_decoder)
    official = size.stem == "patch"
    return Sam(encoder, two_way, side, size.patch, size.out_channels, official=official)


def _attention(old: Any) -> Attention:
    tables = (old.rel_pos_h, old.rel_pos_w) if old.use_rel_pos else (None, None)
    return Attention(
        cast(nn.Module, old.qkv), cast(nn.Module, old.proj), old.num_attention_heads, *tables
    )


def _config(size: SamSize, masks: int = 3) -> Any:
    """The same sizes in the words of `transformers`."""
    from transformers import (
        SamConfig,
        SamMaskDecoderConfig,
        SamPromptEncoderConfig,
        SamVisionConfig,
    )

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
    prompt = SamPromptEncoderConfig(
        hidden_size=size.out_channels, image_size=size.image_size, patch_size=size.patch
    )
    decoder = SamMaskDecoderConfig(
        hidden_size=size.out_channels,
        mlp_dim=size.decoder_mlp,
        num_attention_heads=size.decoder_heads,
        iou_head_hidden_dim=size.out_channels,
        num_multimask_outputs=masks,
    )
    return SamConfig(
        vision_config=vision,
        prompt_encoder_config=prompt,
        mask_decoder_config=decoder,
        initializer_range=0.02,
    )
