"""A U-Net on EfficientNet-Lite0: a light decoder over its five levels, and a head that says what
the slice holds.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from fewmask.blocks.nets.efficientnet import CHANNELS, EfficientNetLite0

WIDTHS = (24, 32, 48, 64)
"""Channels of the decoder at strides 2, 4, 8 and 16: full resolution is where time goes."""


class PyramidUNet(nn.Module):
    """Encoder, decoder, and presence head."""

    def __init__(self, outputs: int, structures: int, widths: tuple[int, ...] = WIDTHS) -> None:
        """`outputs` mask logits per pixel, `structures` presence logits per image."""
        super().__init__()
        self.encoder = EfficientNetLite0()
        inputs = (*widths[1:], CHANNELS[-1])
        self.joins = nn.ModuleList(
            _convs(below + skip, width)
            for below, skip, width in zip(inputs, CHANNELS[:-1], widths, strict=True)
        )
        self.last = nn.Conv2d(widths[0], outputs, 1)
        self.present = nn.Linear(CHANNELS[-1] + CHANNELS[-2], structures)

    def forward(self, image: Float[Tensor, "b 1 h w"]) -> tuple[Tensor, Tensor]:
        """Mask logits (b, outputs, h, w) and presence logits (b, structures).

        The mask is decoded at half the side and enlarged: a border moves by less than a pixel.
        """
        levels = self.encoder(image)
        x = levels[-1]
        for join, skip in zip(reversed(self.joins), reversed(levels[:-1]), strict=True):
            x = functional.interpolate(x, skip.shape[-2:], mode="nearest")
            x = join(torch.cat([x, skip], 1))
        logits = functional.interpolate(self.last(x), image.shape[-2:], mode="bilinear")
        pooled = torch.cat([levels[-1].mean((2, 3)), levels[-2].mean((2, 3))], 1)
        return logits, self.present(pooled)


class _GroupNorm(nn.GroupNorm):
    """torch's, on memory that lies channel by channel: its gradient is ten times quicker so."""

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The same numbers."""
        return super().forward(input.contiguous())


def _convs(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3 x 3 convolutions with group norms, which do not depend on the batch."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
            _GroupNorm(8, outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
