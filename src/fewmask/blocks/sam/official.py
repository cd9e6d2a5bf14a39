"""Names of SAM's weights: the official `.pth` files and `transformers` folders, to ours. Values are
never touched.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from fewmask.blocks.sam.build import build_sam
from fewmask.blocks.sam.config import SIZES, SamSize
from fewmask.core.errors import BadCheckpoint

_LAYER = r"image_encoder\.blocks\.(\d+)"
_OFFICIAL: tuple[tuple[str, str], ...] = (
    (r"image_encoder\.pos_embed", "image_encoder.patch_embed.positions"),
    (r"image_encoder\.patch_embed\.proj\.", "image_encoder.patch_embed.patches."),
    (_LAYER + r"\.norm(\d)\.", r"image_encoder.layers.\1.layer_norm\2."),
    (_LAYER + r"\.(attn|mlp)\.", r"image_encoder.layers.\1.\2."),
    (r"image_encoder\.neck\.0\.", "image_encoder.neck.conv1."),
    (r"image_encoder\.neck\.1\.", "image_encoder.neck.layer_norm1."),
    (r"image_encoder\.neck\.2\.", "image_encoder.neck.conv2."),
    (r"image_encoder\.neck\.3\.", "image_encoder.neck.layer_norm2."),
    (
        r"prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix",
        "prompt_encoder.shared_embedding.positional_embedding",
    ),
    (r"prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    (r"prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (
        r"mask_decoder\.transformer\.layers\.(\d+)\.norm(\d)\.",
        r"mask_decoder.transformer.layers.\1.layer_norm\2.",
    ),
    (
        r"mask_decoder\.transformer\.norm_final_attn\.",
        "mask_decoder.transformer.layer_norm_final_attn.",
    ),
    (r"mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
    (
        r"mask_decoder\.(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.0\.",
        r"mask_decoder.\1.proj_in.",
    ),
    (
        r"mask_decoder\.(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.1\.",
        r"mask_decoder.\1.layers.0.",
    ),
    (
        r"mask_decoder\.(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.2\.",
        r"mask_decoder.\1.proj_out.",
    ),
)
_TRANSFORMERS: tuple[tuple[str, str], ...] = (
    (r"vision_encoder\.pos_embed", "image_encoder.patch_embed.positions"),
    (r"vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.patches."),
    (r"vision_encoder\.", "image_encoder."),
    (r"shared_image_embedding\.", "prompt_encoder.shared_embedding."),
)


def rename(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Tensors under our names, whatever form they come in: official, `transformers`, or ours
    (returned as they are).

    Raises `BadCheckpoint` if two names become one with different values.
    """
    names = set(tensors)
    table: tuple[tuple[str, str], ...] = ()
    if "image_encoder.pos_embed" in names:
        table = _OFFICIAL
    elif "vision_encoder.pos_embed" in names:
        table = _TRANSFORMERS
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        ours = _rename(name, table)
        if ours in renamed and not torch.equal(renamed[ours], tensor):
            raise BadCheckpoint(
                f"two tensors are called {ours} and differ",
                where=where,
                fix="get the file again from where it was published",
                code="W04",
            )
        renamed[ours] = tensor
    return renamed


def find_size(tensors: Mapping[str, Tensor], where: str) -> SamSize:
    """Which size these weights (under our names) are for. Raises `BadCheckpoint` if none has their
    width and depth.
    """
    plain = {
        name.replace("image_encoder.body.", "image_encoder."): tensor
        for name, tensor in tensors.items()
    }
    positions = plain.get("image_encoder.patch_embed.positions")
    depth = 1 + max(
        (int(m[1]) for name in plain if (m := re.match(r"image_encoder\.layers\.(\d+)\.", name))),
        default=-1,
    )
    width = 0 if positions is None else positions.shape[-1]
    for size in SIZES.values():
        if (size.width, size.depth) == (width, depth):
            return size
    raise BadCheckpoint(
        f"no SAM we know has {depth} layers of width {width}",
        where=where,
        fix=(
            f"sizes known: {', '.join(SIZES)}; original SAM and MedSAM fit, SAM 2, SAM-HQ and "
            "MobileSAM do not"
        ),
        code="W04",
    )


def shapes_of(size: SamSize) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of a SAM of this size, without allocating it."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in build_sam(size).state_dict().items()}


def _rename(name: str, table: tuple[tuple[str, str], ...]) -> str:
    for pattern, ours in table:
        changed, count = re.subn("^" + pattern, ours, name)
        if count:
            return changed
    return name
