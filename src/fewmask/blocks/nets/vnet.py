"""V-Net as the semi-supervised literature uses it (Yu and colleagues 2019, after Milletari and
colleagues 2016): 9.4 M weights.

Sixteen filters, five levels, strided convolutions down and transposed ones up, skips added (not
concatenated), batch norm (there) and dropout after the bottom and before the last layer.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from fewmask.blocks.team import members, my_rows

DEPTH = 16
"""Sides of a patch must be multiples of this."""
Norm = Literal["batch", "instance"]
"""Statistics of the batch in training and of all training at test time, or of each patch by itself,
always.
"""


class _Conv3d(nn.Conv3d):
    """A padded 3 x 3 x 3 convolution whose weights get their true gradient on every CPU, where
    channels come out innermost.

    Over exactly two planes oneDNN's bfloat16 gradient of such weights is garbage (torch 2.13 with
    avx512_bf16: off by its own size, or 1e34), and 32 voxels of depth are two at the bottom. Those
    few voxels are computed in float32. One input channel lies the same either way: its strides must
    say which is meant, or the outputs come outermost.
    """

    def forward(self, input: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c2 d h w"]:
        """As `nn.Conv3d`."""
        if input.device.type != "cpu":
            return super().forward(input)
        if input.shape[2] == 2:
            with torch.autocast("cpu", enabled=False):
                return super().forward(input.float())
        if self.in_channels == 1:
            input = torch.empty_like(input, memory_format=torch.channels_last_3d).copy_(input)
        return super().forward(input)


class _InstanceNorm3d(nn.InstanceNorm3d):
    """Statistics of each patch; in bfloat16 on a CPU tensors keep their channels innermost.

    torch's own (2.13) turns them outermost, and the copies and what follows them are a quarter of a
    training step. A batch norm of one patch at a time is the same and leaves them; in float32,
    where it rounds ten times as coarsely, it is not worth it. Not a group norm with a channel per
    group either: over channels-last tensors its variance is a difference of squares, and a mean of
    500 deviations makes it wrong by a third.
    """

    def forward(self, input: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c d h w"]:
        """As `nn.InstanceNorm3d` without running statistics."""
        if input.device.type != "cpu" or input.dtype != torch.bfloat16:
            return super().forward(input)
        settings = (None, None, self.weight, self.bias, True, 0.0, self.eps)
        return torch.cat([functional.batch_norm(patch, *settings) for patch in input.split(1)])


class _Dropout3d(nn.Dropout3d):
    """Among several processes, each drops what one process would drop of its share of the batch."""

    def forward(self, input: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c d h w"]:
        """As `nn.Dropout3d`."""
        if members() == 1 or not self.training or not self.p:
            return super().forward(input)
        channels, keep = input.shape[1], 1 - self.p

        def draw(n: int) -> Tensor:
            return input.new_empty(n, channels, 1, 1, 1).bernoulli_(keep)

        return input * (my_rows(draw, len(input)) / keep)


def _convs(count: int, inputs: int, outputs: int, norm: Norm) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(count):
        layers += [
            _Conv3d(inputs if index == 0 else outputs, outputs, 3, padding=1),
            _norm(norm, outputs),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


def _down(inputs: int, norm: Norm) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, 2 * inputs, 2, stride=2), _norm(norm, 2 * inputs), nn.ReLU()
    )


def _up(inputs: int, norm: Norm) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose3d(inputs, inputs // 2, 2, stride=2), _norm(norm, inputs // 2), nn.ReLU()
    )


def _norm(kind: Norm, channels: int) -> nn.Module:
    if kind == "instance":
        return _InstanceNorm3d(channels, affine=True)
    return nn.BatchNorm3d(channels)


class VNet(nn.Module):
    """Logits per voxel."""

    def __init__(
        self, outputs: int, filters: int = 16, dropout: float = 0.5, norm: Norm = "batch"
    ) -> None:
        """`outputs` includes the background; `filters` at full resolution."""
        super().__init__()
        widths = [filters * 2**level for level in range(5)]
        self.first = _convs(1, 1, filters, norm)
        self.downs = nn.ModuleList(_down(width, norm) for width in widths[:-1])
        self.encode = nn.ModuleList(
            _convs(count, width, width, norm)
            for count, width in zip((2, 3, 3, 3), widths[1:], strict=True)
        )
        self.ups = nn.ModuleList(_up(width, norm) for width in reversed(widths[1:]))
        self.decode = nn.ModuleList(
            _convs(count, width, width, norm)
            for count, width in zip((3, 3, 2, 1), reversed(widths[:-1]), strict=True)
        )
        self.dropout = _Dropout3d(dropout)
        self.last = nn.Conv3d(filters, outputs, 1)

    @property
    def bottom_channels(self) -> int:
        """Channels of the deepest level."""
        return self.last.in_channels * 16

    def bottom(self, image: Float[Tensor, "b 1 d h w"]) -> Float[Tensor, "b e dd hh ww"]:
        """The deepest features, a sixteenth of each side."""
        return self._descend(image)[0]

    def forward(self, image: Float[Tensor, "b 1 d h w"]) -> Float[Tensor, "b c d h w"]:
        """Sides are multiples of 16."""
        x, skips = self._descend(image)
        x = self.dropout(x)
        for up, convs, skip in zip(self.ups, self.decode, reversed(skips), strict=True):
            x = convs(up(x) + skip)
        result: Float[Tensor, "b c d h w"] = self.last(self.dropout(x))
        return result

    def _descend(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, skips = self.first(image), []
        for down, convs in zip(self.downs, self.encode, strict=True):
            skips.append(x)
            x = convs(down(x))
        return x, skips
