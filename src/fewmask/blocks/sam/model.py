"""SAM on a batch of images, each with its own prompt set, in one call."""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Sam(nn.Module):
    """Image encoder, prompt encoder and mask decoder; images come in [0, 1] at any square size and are brought to SAM's own."""

    def __init__(
        self, image_encoder: nn.Module, prompt_encoder: nn.Module, mask_decoder: nn.Module, image_size: int, grid: int
    ) -> None:
        """`image_size`: side of SAM's input; `grid`: side of its embedding."""
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.image_size = image_size
        self.grid = grid

    @property
    def mask_side(self) -> int:
        """Side of the mask logits and of the dense mask prompt."""
        return 4 * self.grid

    def encode(self, image: Float[Tensor, "b 1 s s"]) -> Float[Tensor, "b c g g"]:
        """Embeddings of grey slices in [0, 1]; centred to [-1, 1], copied to three channels, resized to SAM's side if need be."""
        if image.shape[-1] != self.image_size:
            image = functional.interpolate(image, (self.image_size, self.image_size), mode="bilinear", antialias=True)
        return self.image_encoder((2 * image - 1).expand(-1, 3, -1, -1)).last_hidden_state

    def decode(
        self,
        embedding: Float[Tensor, "b c g g"],
        boxes: Float[Tensor, "b 4"],
        side: int,
        masks: Float[Tensor, "b 1 m m"] | None = None,
    ) -> tuple[Float[Tensor, "b 3 m m"], Float[Tensor, "b 3"]]:
        """Three mask logits and their predicted IoU per image.

        `boxes` are (x0, y0, x1, y1) in pixel edges of an image of side `side`; `masks` is the dense prompt at `mask_side`
        or None for SAM's "no mask" embedding. Images never see each other: one prompt set per image, all in one call.
        """
        # The prompt encoder adds half a pixel to move indices to centres; our edges are positions already.
        frame = boxes * (self.image_size / side) - 0.5
        sparse, dense = self.prompt_encoder(None, None, frame[:, None], masks)
        b = embedding.shape[0]
        logits, scores = self.mask_decoder(
            image_embeddings=embedding,
            image_positional_embeddings=self._positions(embedding).expand(b, -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense.expand(b, -1, -1, -1),
            multimask_output=True,
        )[:2]
        return logits[:, 0], scores[:, 0]

    def _positions(self, embedding: Tensor) -> Float[Tensor, "1 c g g"]:
        """Fourier features of the token centres (SAM's dense positional encoding)."""
        centres = (torch.arange(self.grid, device=embedding.device, dtype=torch.float32) + 0.5) / self.grid
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        embed = cast(nn.Module, self.prompt_encoder.shared_embedding)
        return cast(Tensor, embed(torch.stack([x, y], dim=-1))).permute(2, 0, 1)[None]
