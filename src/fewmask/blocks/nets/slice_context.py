"""A small 3D network across the slices of a patch, after SAM has seen each as a picture."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_WIDTH = 12
_DILATIONS = (1, 2, 4)
"""Voxels between the taps of the three convolutions: together they reach 7 slices up and down."""


class SliceContext3d(nn.Module):
    """Adds to the logits of a patch what neighbouring slices and the image make of them; nothing at
    the start.

    Works at half the side in plane, since SAM's own masks have no more detail than that.
    """

    def __init__(self, classes: int) -> None:
        """`classes` with background."""
        super().__init__()
        inputs = (classes + 1, _WIDTH, _WIDTH)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(n, _WIDTH, 3, padding=dilation, dilation=dilation),
                nn.GroupNorm(4, _WIDTH),
                nn.GELU(),
            )
            for n, dilation in zip(inputs, _DILATIONS, strict=True)
        )
        self.out = nn.Conv3d(_WIDTH, classes, 1)
        for weight in self.out.parameters():
            nn.init.zeros_(weight)

    def forward(
        self, logits: Float[Tensor, "b c d h w"], image: Float[Tensor, "b 1 d h w"]
    ) -> Float[Tensor, "b c d h w"]:
        """Corrected logits."""
        seen = torch.cat([logits, image.to(logits)], 1)
        x = functional.avg_pool3d(seen, (1, 2, 2), ceil_mode=True)
        x = self.layers[0](x)
        for layer in self.layers[1:]:
            x = x + layer(x)
        size = logits.shape[2:]
        change = functional.interpolate(self.out(x), size, mode="trilinear", align_corners=False)
        return logits + change
