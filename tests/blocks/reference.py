"""SAM written down once more from its paper and appendix (Kirillov et al. 2023), plainly: what
conversions are held against.

Takes a state dict with the official names. Slow, explicit, no fused attention, no shared code with
the package.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import (
    conv2d,
    conv_transpose2d,
    gelu,
    layer_norm,
    linear,
    pad,
    relu,
    softmax,
)

from fewmask.blocks.sam.config import SamSize

Weights = Mapping[str, Tensor]


def norm(w: Weights, name: str, x: Tensor, eps: float) -> Tensor:
    return layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], eps)


def norm_2d(w: Weights, name: str, x: Tensor) -> Tensor:
    mean = x.mean(1, keepdim=True)
    spread = ((x - mean) ** 2).mean(1, keepdim=True)
    scaled = (x - mean) / torch.sqrt(spread + 1e-6)
    return w[name + ".weight"][:, None, None] * scaled + w[name + ".bias"][:, None, None]


def dense(w: Weights, name: str, x: Tensor) -> Tensor:
    return linear(x, w[name + ".weight"], w[name + ".bias"])


def windowed_attention(w: Weights, name: str, x: Tensor, heads: int) -> Tensor:
    """Attention with decomposed relative positions over one window (b, h, w, c), by loops over
    offsets.
    """
    b, h, width, c = x.shape
    qkv = (
        dense(w, name + ".qkv", x)
        .reshape(b, h * width, 3, heads, c // heads)
        .permute(2, 0, 3, 1, 4)
    )
    q, k, v = qkv[0], qkv[1], qkv[2]
    logits = (q @ k.transpose(-1, -2)) / math.sqrt(c // heads)
    rel_h, rel_w = w[name + ".rel_pos_h"], w[name + ".rel_pos_w"]
    for i in range(h * width):
        for j in range(h * width):
            (yi, xi), (yj, xj) = divmod(i, width), divmod(j, width)
            logits[:, :, i, j] += (
                q[:, :, i] @ rel_h[yi - yj + h - 1] + q[:, :, i] @ rel_w[xi - xj + width - 1]
            )
    mixed = softmax(logits, -1) @ v
    return dense(w, name + ".proj", mixed.transpose(1, 2).reshape(b, h, width, c))


def encode(
    w: Weights, image: Tensor, heads: int, window: int, global_layers: tuple[int, ...]
) -> Tensor:
    """Normalised RGB image -> embedding (b, 256, g, g)."""
    patch = w["image_encoder.patch_embed.proj.weight"].shape[-1]
    x = conv2d(
        image,
        w["image_encoder.patch_embed.proj.weight"],
        w["image_encoder.patch_embed.proj.bias"],
        stride=patch,
    )
    x = x.permute(0, 2, 3, 1) + w["image_encoder.pos_embed"]
    layer = 0
    while f"image_encoder.blocks.{layer}.norm1.weight" in w:
        name = f"image_encoder.blocks.{layer}"
        y = norm(w, name + ".norm1", x, 1e-6)
        if layer in global_layers:
            y = windowed_attention(w, name + ".attn", y, heads)
        else:
            _, h, width, _ = y.shape
            more = -h % window
            y = pad(y, (0, 0, 0, more, 0, more))
            out = torch.zeros_like(y)
            for top in range(0, h + more, window):
                for left in range(0, width + more, window):
                    part = y[:, top : top + window, left : left + window]
                    out[:, top : top + window, left : left + window] = windowed_attention(
                        w, name + ".attn", part, heads
                    )
            y = out[:, :h, :width]
        x = x + y
        y = norm(w, name + ".norm2", x, 1e-6)
        x = x + dense(w, name + ".mlp.lin2", gelu(dense(w, name + ".mlp.lin1", y)))
        layer += 1
    x = x.permute(0, 3, 1, 2)
    x = norm_2d(w, "image_encoder.neck.1", conv2d(x, w["image_encoder.neck.0.weight"]))
    return norm_2d(
        w, "image_encoder.neck.3", conv2d(x, w["image_encoder.neck.2.weight"], padding=1)
    )


def fourier(w: Weights, points: Tensor) -> Tensor:
    """Points in [0, 1] -> sine and cosine of random frequencies."""
    turned = (
        2
        * math.pi
        * (2 * points - 1)
        @ w["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
    )
    return torch.cat([torch.sin(turned), torch.cos(turned)], -1)


def attend(w: Weights, name: str, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    q, k, v = (
        dense(w, name + ".q_proj", q),
        dense(w, name + ".k_proj", k),
        dense(w, name + ".v_proj", v),
    )

    def split(x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)

    q, k, v = split(q), split(k), split(v)
    mixed = softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), -1) @ v
    return dense(w, name + ".out_proj", mixed.transpose(1, 2).reshape(len(q), q.shape[2], -1))


def mlp3(w: Weights, name: str, x: Tensor) -> Tensor:
    return dense(
        w,
        name + ".layers.2",
        relu(dense(w, name + ".layers.1", relu(dense(w, name + ".layers.0", x)))),
    )


def decode(
    w: Weights, embedding: Tensor, box: Tensor, side: int, heads: int, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One box (x0, y0, x1, y1) in pixel edges of an image of `side` -> three mask logits and their
    scores.
    """
    _, c, g, _ = embedding.shape
    corners = fourier(w, box.reshape(1, 2, 2) / side)
    corners = corners + torch.cat(
        [
            w["prompt_encoder.point_embeddings.2.weight"],
            w["prompt_encoder.point_embeddings.3.weight"],
        ]
    )
    if mask is None:
        dense_prompt = w["prompt_encoder.no_mask_embed.weight"].reshape(1, c, 1, 1)
    else:
        p = "prompt_encoder.mask_downscaling."
        x = gelu(norm_2d(w, p + "1", conv2d(mask, w[p + "0.weight"], w[p + "0.bias"], stride=2)))
        x = gelu(norm_2d(w, p + "4", conv2d(x, w[p + "3.weight"], w[p + "3.bias"], stride=2)))
        dense_prompt = conv2d(x, w[p + "6.weight"], w[p + "6.bias"])
    tokens = torch.cat(
        [w["mask_decoder.iou_token.weight"], w["mask_decoder.mask_tokens.weight"], corners[0]]
    )[None]
    keys = (embedding + dense_prompt).flatten(2).transpose(1, 2)
    line = (torch.arange(g) + 0.5) / g
    y, x = torch.meshgrid(line, line, indexing="ij")
    where = fourier(w, torch.stack([x, y], -1)).reshape(1, g * g, c)
    queries = tokens
    t = "mask_decoder.transformer."
    for layer in range(2):
        n = f"{t}layers.{layer}."
        if layer == 0:
            queries = attend(w, n + "self_attn", queries, queries, queries, heads)
        else:
            asked = queries + tokens
            queries = queries + attend(w, n + "self_attn", asked, asked, queries, heads)
        queries = norm(w, n + "norm1", queries, 1e-5)
        queries = queries + attend(
            w, n + "cross_attn_token_to_image", queries + tokens, keys + where, keys, heads
        )
        queries = norm(w, n + "norm2", queries, 1e-5)
        queries = queries + dense(w, n + "mlp.lin2", relu(dense(w, n + "mlp.lin1", queries)))
        queries = norm(w, n + "norm3", queries, 1e-5)
        keys = keys + attend(
            w, n + "cross_attn_image_to_token", keys + where, queries + tokens, queries, heads
        )
        keys = norm(w, n + "norm4", keys, 1e-5)
    queries = queries + attend(
        w, t + "final_attn_token_to_image", queries + tokens, keys + where, keys, heads
    )
    queries = norm(w, t + "norm_final_attn", queries, 1e-5)
    up = "mask_decoder.output_upscaling."
    grid = keys.transpose(1, 2).reshape(1, c, g, g)
    grid = conv_transpose2d(grid, w[up + "0.weight"], w[up + "0.bias"], stride=2)
    grid = gelu(norm_2d(w, up + "1", grid))
    grid = gelu(conv_transpose2d(grid, w[up + "3.weight"], w[up + "3.bias"], stride=2))
    weights = torch.stack(
        [
            mlp3(w, f"mask_decoder.output_hypernetworks_mlps.{i}", queries[:, 1 + i])
            for i in range(4)
        ],
        1,
    )
    masks = (weights @ grid.flatten(2)).reshape(1, 4, 4 * g, 4 * g)
    scores = mlp3(w, "mask_decoder.iou_prediction_head", queries[:, 0])
    return masks[:, 1:], scores[:, 1:]


def random_weights(size: SamSize, seed: int = 0) -> dict[str, Tensor]:
    """A state dict with the official names and shapes for `size`, filled with random numbers."""
    generator = torch.Generator().manual_seed(seed)
    shapes = official_shapes(size)

    def draw(name: str, shape: tuple[int, ...]) -> Tensor:
        fan = math.prod(shape[1:]) if len(shape) > 1 else 1
        value = torch.randn(shape, generator=generator)
        if "positional_encoding" in name or "embed" in name or "token" in name.rsplit(".", 2)[-2]:
            return value
        if len(shape) == 1:
            return 0.1 * value + (1 if "norm" in name and name.endswith("weight") else 0)
        return value / math.sqrt(fan)

    return {name: draw(name, shape) for name, shape in shapes.items()}


def official_shapes(size: SamSize) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an official checkpoint, from the paper's description."""
    w, o, g, h = (
        size.width,
        size.out_channels,
        size.image_size // size.patch,
        size.width // size.heads,
    )
    shapes: dict[str, tuple[int, ...]] = {"image_encoder.pos_embed": (1, g, g, w)}

    def layer(name: str, out: int, *into: int, bias: bool = True) -> None:
        shapes[name + ".weight"] = (out, *into)
        if bias:
            shapes[name + ".bias"] = (out,)

    layer("image_encoder.patch_embed.proj", w, 3, size.patch, size.patch)
    for i in range(size.depth):
        n = f"image_encoder.blocks.{i}"
        rows = 2 * (g if i in size.global_layers else size.window) - 1
        shapes[n + ".attn.rel_pos_h"] = shapes[n + ".attn.rel_pos_w"] = (rows, h)
        layer(n + ".norm1", w)
        layer(n + ".norm2", w)
        layer(n + ".attn.qkv", 3 * w, w)
        layer(n + ".attn.proj", w, w)
        layer(n + ".mlp.lin1", 4 * w, w)
        layer(n + ".mlp.lin2", w, 4 * w)
    layer("image_encoder.neck.0", o, w, 1, 1, bias=False)
    layer("image_encoder.neck.1", o)
    layer("image_encoder.neck.2", o, o, 3, 3, bias=False)
    layer("image_encoder.neck.3", o)
    shapes["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"] = (2, o // 2)
    for i in range(4):
        shapes[f"prompt_encoder.point_embeddings.{i}.weight"] = (1, o)
    shapes["prompt_encoder.not_a_point_embed.weight"] = shapes[
        "prompt_encoder.no_mask_embed.weight"
    ] = (1, o)
    layer("prompt_encoder.mask_downscaling.0", 4, 1, 2, 2)
    layer("prompt_encoder.mask_downscaling.1", 4)
    layer("prompt_encoder.mask_downscaling.3", 16, 4, 2, 2)
    layer("prompt_encoder.mask_downscaling.4", 16)
    layer("prompt_encoder.mask_downscaling.6", o, 16, 1, 1)
    t = "mask_decoder.transformer."

    def attention(name: str, inner: int) -> None:
        for part in ("q_proj", "k_proj", "v_proj"):
            layer(f"{name}.{part}", inner, o)
        layer(f"{name}.out_proj", o, inner)

    for i in range(2):
        attention(f"{t}layers.{i}.self_attn", o)
        attention(f"{t}layers.{i}.cross_attn_token_to_image", o // 2)
        attention(f"{t}layers.{i}.cross_attn_image_to_token", o // 2)
        layer(f"{t}layers.{i}.mlp.lin1", size.decoder_mlp, o)
        layer(f"{t}layers.{i}.mlp.lin2", o, size.decoder_mlp)
        for k in range(1, 5):
            layer(f"{t}layers.{i}.norm{k}", o)
    attention(t + "final_attn_token_to_image", o // 2)
    layer(t + "norm_final_attn", o)
    shapes["mask_decoder.iou_token.weight"] = (1, o)
    shapes["mask_decoder.mask_tokens.weight"] = (4, o)
    shapes["mask_decoder.output_upscaling.0.weight"] = (o, o // 4, 2, 2)
    shapes["mask_decoder.output_upscaling.0.bias"] = (o // 4,)
    layer("mask_decoder.output_upscaling.1", o // 4)
    shapes["mask_decoder.output_upscaling.3.weight"] = (o // 4, o // 8, 2, 2)
    shapes["mask_decoder.output_upscaling.3.bias"] = (o // 8,)
    for name, out in [(f"output_hypernetworks_mlps.{i}", o // 8) for i in range(4)] + [
        ("iou_prediction_head", 4)
    ]:
        layer(f"mask_decoder.{name}.layers.0", o, o)
        layer(f"mask_decoder.{name}.layers.1", o, o)
        layer(f"mask_decoder.{name}.layers.2", out, o)
    return shapes
