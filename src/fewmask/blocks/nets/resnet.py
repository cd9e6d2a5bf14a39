"""ResNet-38: BasicBlocks [3, 4, 8, 3], stride 32, one-channel stem, global average pooling and k
logits (A1).
"""

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al. 2016)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        """`before` and `after` are channel counts."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        same = stride == 1 and before == after
        shortcut = nn.Sequential(
            nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
        )
        self.shortcut = nn.Identity() if same else shortcut

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Shortcut plus body, rectified."""
        return nn.functional.relu(self.shortcut(x) + self.body(x))


class ResNet(nn.Module):
    """Stem, four stages of BasicBlocks, pooling, linear head."""

    def __init__(
        self, blocks: tuple[int, ...] = (3, 4, 8, 3), width: int = 64, outputs: int = 1
    ) -> None:
        """`blocks` per stage; `width` channels in the first stage, doubled per stage; `outputs`
        logits.
        """
        super().__init__()
        stem = [
            nn.Conv2d(1, width, 7, 2, 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        ]
        layers: list[nn.Module] = list(stem)
        before = width
        for stage, count in enumerate(blocks):
            after = width * 2**stage
            for block in range(count):
                layers.append(BasicBlock(before, after, 2 if block == 0 and stage > 0 else 1))
                before = after
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(before, outputs)

    def forward(
        self, image: Float[Tensor, "b 1 h w"]
    ) -> tuple[Float[Tensor, "b c gh gw"], Float[Tensor, "b k"]]:
        """Last feature map (stride 32) and logits."""
        features = cast(Tensor, self.features(image))
        return features, self.head(features.mean((2, 3)))
