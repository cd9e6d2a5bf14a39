"""SAM's attention with its relative positions folded into queries and keys, so that fused attention
computes it.

SAM adds q . R_h[y - y'] + q . R_w[x - x'] to every logit. That is a dot product too: append to each
query its products with all rows and columns of R, and to each key a one for its own row and column.
The result is the same to rounding, but no (tokens x tokens) matrix is ever stored:
docs/results/cost.md has time and memory.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head self-attention over a grid of tokens; takes over the weights of a `transformers`
    SAM attention.
    """

    def __init__(
        self,
        qkv: nn.Module,
        proj: nn.Module,
        heads: int,
        rel_pos_h: Tensor | None,
        rel_pos_w: Tensor | None,
    ) -> None:
        """`rel_pos_*`: (2 n - 1, width / heads) offsets -(n - 1) .. n - 1, or None without relative
        positions.
        """
        super().__init__()
        self.qkv = qkv
        self.proj = proj
        self.heads = heads
        self.rel_pos_h = rel_pos_h
        self.rel_pos_w = rel_pos_w

    def forward(
        self, hidden_states: Float[Tensor, "b h w c"]
    ) -> tuple[Float[Tensor, "b h w c"], None]:
        """Attend; the second value stands where `transformers` returns attention weights."""
        b, h, w, _ = hidden_states.shape
        q, k, v = self.qkv(hidden_states).view(b, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        width = q.shape[-1]
        if self.rel_pos_h is None or self.rel_pos_w is None:
            mixed = functional.scaled_dot_product_attention(q, k, v)
        else:
            q, k = _fold(q, k, h, w, self.rel_pos_h, self.rel_pos_w)
            # Fused attention wants values as wide as keys.
            mixed = functional.scaled_dot_product_attention(
                q, k, functional.pad(v, (0, h + w)), scale=1.0
            )[..., :width]
        return self.proj(mixed.transpose(1, 2).reshape(b, h, w, -1)), None


def _fold(
    q: Float[Tensor, "b n t c"],
    k: Float[Tensor, "b n t c"],
    h: int,
    w: int,
    rel_h: Tensor,
    rel_w: Tensor,
) -> tuple[Float[Tensor, "b n t c2"], Float[Tensor, "b n t c2"]]:
    b, n, t, c = q.shape
    grid = q.view(b, n, h, w, c)
    row_offsets, column_offsets = offsets(rel_h, h).to(q.dtype), offsets(rel_w, w).to(q.dtype)
    by_row = torch.einsum("bnhwc,hkc->bnhwk", grid, row_offsets).reshape(b, n, t, h)
    by_column = torch.einsum("bnhwc,wkc->bnhwk", grid, column_offsets).reshape(b, n, t, w)
    rows = torch.eye(h, dtype=q.dtype, device=q.device).repeat_interleave(w, 0).expand(b, n, t, h)
    columns = torch.eye(w, dtype=q.dtype, device=q.device).repeat(h, 1).expand(b, n, t, w)
    return torch.cat([q * c**-0.5, by_row, by_column], -1), torch.cat([k, rows, columns], -1)


def offsets(rel_pos: Float[Tensor, "l c"], n: int) -> Float[Tensor, "n n c"]:
    """Row [i, j] = embedding of the offset i - j on an axis of n tokens; a table for another n is
    interpolated linearly.
    """
    if rel_pos.shape[0] != 2 * n - 1:
        table = rel_pos.T[None].float()
        resized = functional.interpolate(table, size=2 * n - 1, mode="linear")[0].T
        rel_pos = resized.to(rel_pos.dtype)
    index = torch.arange(n, device=rel_pos.device)
    return rel_pos[index[:, None] - index[None, :] + n - 1]
