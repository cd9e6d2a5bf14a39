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
FEW, _RARE = 3, 0.005
"""Of more than so many structures each begins with this probability."""


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
        if structures > FEW:
            _begin_rare(self.last)
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


@torch.no_grad()
def _begin_rare(last: nn.Conv2d) -> None:
    """Else the first steps push all structures down to nothing, since most pixels are background,
    and only the largest comes back in a few hundred (after Lin et al. 2017, section 4.1).
    """
    share = torch.full((last.out_channels,), _RARE)
    share[0] = 1 - _RARE * (last.out_channels - 1)
    last.bias = nn.Parameter(share.log())
