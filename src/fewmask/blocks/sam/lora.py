"""Low-rank adapters on the queries and values of SAM's fused qkv layers (Hu et al.
2022; A10).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from fewmask.blocks.sam.model import Sam


class LoraQkv(nn.Module):
    """A frozen fused qkv layer plus B_q A_q x on q and B_v A_v x on v; keys untouched, no bias or
    scaling, B = 0 at first.
    """

    def __init__(self, qkv: nn.Linear, rank: int) -> None:
        """Wrap `qkv` (in -> 3 * width)."""
        super().__init__()
        self.qkv = qkv.requires_grad_(False)
        width = qkv.out_features // 3
        self.down_q, self.down_v = (
            nn.Parameter(0.01 * torch.randn(rank, qkv.in_features)) for _ in range(2)
        )
        self.up_q, self.up_v = (nn.Parameter(torch.zeros(width, rank)) for _ in range(2))

    def forward(self, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c3"]:
        """The fused projection with its low-rank change."""
        q = functional.linear(functional.linear(x, self.down_q), self.up_q)
        v = functional.linear(functional.linear(x, self.down_v), self.up_v)
        change = torch.cat([q, torch.zeros_like(q), v], dim=-1)
        result: Float[Tensor, "*n c3"] = self.qkv(x) + change
        return result

    def merged(self) -> nn.Linear:
        """One plain layer with the same output."""
        plain = nn.Linear(
            self.qkv.in_features, self.qkv.out_features, bias=self.qkv.bias is not None
        )
        q, v = self.up_q @ self.down_q, self.up_v @ self.down_v
        change = torch.cat([q, torch.zeros_like(q), v])
        plain.weight.data.copy_(self.qkv.weight + change)
        if self.qkv.bias is not None:
            plain.bias.data.copy_(self.qkv.bias)
        return plain


def add_lora(sam: Sam, rank: int) -> None:
    """Freeze the image encoder and put an adapter of this rank into every attention layer."""
    sam.image_encoder.requires_grad_(False)
    for layer in sam.image_encoder.layers:  # type: ignore[union-attr]
        layer.attn.qkv = LoraQkv(layer.attn.qkv, rank)


def lora_names(sam: Sam) -> dict[str, str]:
    """Name of a weight in a SAM without adapters -> its name in this one, for those that adapters
    moved.
    """
    inner = [name for name in sam.state_dict() if ".attn.qkv.qkv." in name]
    return {name.replace(".qkv.qkv.", ".qkv."): name for name in inner}
