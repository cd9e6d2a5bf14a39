"""A U-Net in two halves, so that something can stand between them: residual encoder, decoder with
skips (MONAI's blocks, imported when one is built: that takes longer than torch).
"""

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn


class Encoder(nn.Module):
    """One residual block per entry of `channels`; the first keeps the side, each further one halves
    it.
    """

    def __init__(self, channels: tuple[int, ...], inputs: int = 1) -> None:
        """`inputs` channels in."""
        from monai.networks.blocks import UnetResBlock

        super().__init__()
        before = (inputs, *channels[:-1])
        self.blocks = nn.ModuleList(
            UnetResBlock(
                2, a, b, kernel_size=3, stride=1 if level == 0 else 2, norm_name="instance"
            )
            for level, (a, b) in enumerate(zip(before, channels, strict=True))
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """Features of every level, finest first."""
        levels = []
        for block in self.blocks:
            x = block(x)
            levels.append(x)
        return levels


class Decoder(nn.Module):
    """Up again, with the encoder's features as skips, to `outputs` logits per pixel."""

    def __init__(self, channels: tuple[int, ...], outputs: int) -> None:
        """`channels` as in the encoder."""
        from monai.networks.blocks import UnetrUpBlock

        super().__init__()
        self.blocks = nn.ModuleList(
            UnetrUpBlock(
                2,
                channels[i],
                channels[i - 1],
                kernel_size=3,
                upsample_kernel_size=2,
                norm_name="instance",
                res_block=True,
            )
            for i in range(len(channels) - 1, 0, -1)
        )
        self.out = nn.Conv2d(channels[0], outputs, 1)

    def forward(
        self, bottom: Float[Tensor, "b c gh gw"], skips: list[Tensor]
    ) -> Float[Tensor, "b k h w"]:
        """`skips` are the levels above the bottom, finest first."""
        x = bottom
        for block, skip in zip(self.blocks, reversed(skips), strict=True):
            x = block(x, skip)
        return cast(Tensor, self.out(x))
