"""From pixels to tokens with absolute positions, at any size."""

import itertools
import math
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class PatchEmbed(nn.Module):
    """A patch embedding plus learned positions; positions made for another grid are
    interpolated.
    """

    def __init__(self, patches: nn.Module, grid: int, width: int) -> None:
        """`patches` maps (b, c0, h, w) to (b, width, gh, gw); `grid` is the side the positions are
        stored for.
        """
        super().__init__()
        self.patches = patches
        self.positions = nn.Parameter(0.02 * torch.randn(1, grid, grid, width))

    def forward(self, pixel_values: Float[Tensor, "b c0 h w"]) -> Float[Tensor, "b gh gw c"]:
        """Tokens, channels last, as the layers of `transformers` take them."""
        tokens = cast(Tensor, self.patches(pixel_values)).permute(0, 2, 3, 1)
        positions = resize_positions(self.positions, (tokens.shape[1], tokens.shape[2]))
        return tokens + positions.to(tokens.dtype)


def resize_positions(
    positions: Float[Tensor, "1 g g2 c"], grid: tuple[int, int]
) -> Float[Tensor, "1 gh gw c"]:
    """Bicubic, without aligned corners; the same tensor if the grid is its own."""
    if positions.shape[1:3] == grid:
        return positions
    resized = functional.interpolate(
        positions.permute(0, 3, 1, 2).float(), grid, mode="bicubic", align_corners=False
    )
    return resized.permute(0, 2, 3, 1)


def conv_stem(width: int, patch: int) -> tuple[nn.Sequential, nn.Sequential, int]:
    """A stack of 3 x 3 convolutions, halving the side until one pixel per patch is left (Xiao et
    al. 2021).

    Comes in two parts, up to the first halving and the rest, with the channels between them;
    `patch` is a power of two.
    """
    halvings = int(math.log2(patch))
    channels = [3, *(max(16, width // 2 ** (halvings - step)) for step in range(halvings))]
    parts: list[list[nn.Module]] = []
    for before, after in itertools.pairwise(channels):
        part = [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.GELU()]
        parts.append([*part, nn.Conv2d(after, after, 3, 1, 1), nn.GroupNorm(8, after), nn.GELU()])
    rest = [layer for part in parts[1:] for layer in part]
    return (
        nn.Sequential(*parts[0]),
        nn.Sequential(*rest, nn.Conv2d(channels[-1], width, 1)),
        channels[1],
    )
