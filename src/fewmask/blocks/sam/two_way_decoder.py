"""SAM's own decoder: prompts become tokens that attend to the image and back (`transformers`)."""

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewmask.blocks.sam.decoder import Prompts


@dataclass(frozen=True)
class TwoWayDecoder:
    """A prompt encoder and a mask decoder of `transformers` as one `MaskDecoder`."""

    prompt_encoder: nn.Module
    mask_decoder: nn.Module

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Both modules."""
        return {"prompt_encoder": self.prompt_encoder, "mask_decoder": self.mask_decoder}

    @property
    def class_head(self) -> tuple[str, ...]:
        """A token, a hypernetwork and a score per mask."""
        heads = ("mask_tokens", "output_hypernetworks_mlps", "iou_prediction_head")
        return tuple(f"mask_decoder.{head}." for head in heads)

    def decode(
        self, embedding: Float[Tensor, "b c g g"], prompts: Prompts
    ) -> tuple[Float[Tensor, "b k m m"], Float[Tensor, "b k"]]:
        """See `MaskDecoder`."""
        b, _, g, _ = embedding.shape
        logits, scores = self.mask_decoder(
            image_embeddings=embedding,
            image_positional_embeddings=self.positions(embedding).expand(b, -1, -1, -1),
            sparse_prompt_embeddings=self._sparse(embedding, prompts),
            dense_prompt_embeddings=self._dense(prompts.masks).expand(b, -1, g, g),
            multimask_output=True,
        )[:2]
        return logits[:, 0], scores[:, 0]

    def _sparse(
        self, embedding: Float[Tensor, "b c g g"], prompts: Prompts
    ) -> Float[Tensor, "b 1 n c"]:
        """Tokens of boxes and points."""
        if prompts.boxes is None and prompts.points is None:
            return embedding.new_zeros(len(embedding), 1, 0, embedding.shape[1])
        # The prompt encoder adds half a pixel to move indices to centres; our edges are positions
        # already.
        scale = cast(int, self.prompt_encoder.input_image_size) / prompts.side
        points = None if prompts.points is None else (prompts.points * scale - 0.5)[:, None]
        labels = None if prompts.point_labels is None else prompts.point_labels[:, None]
        boxes = None if prompts.boxes is None else (prompts.boxes * scale - 0.5)[:, None]
        tokens: Float[Tensor, "b 1 n c"] = self.prompt_encoder(points, labels, boxes, None)[0]
        return tokens

    def _dense(self, masks: Float[Tensor, "b 1 m m"] | None) -> Float[Tensor, "b c g g"]:
        """The mask prompt on the embedding's grid; without one SAM's "no mask", of side 1."""
        if masks is None:
            no_mask = cast(nn.Embedding, self.prompt_encoder.no_mask_embed)
            return no_mask.weight[:, :, None, None]
        return cast(Tensor, cast(nn.Module, self.prompt_encoder.mask_embed)(masks))

    def positions(self, embedding: Tensor) -> Float[Tensor, "1 c g g"]:
        """Fourier features of the token centres (SAM's dense positional encoding)."""
        g = embedding.shape[-1]
        centres = (torch.arange(g, device=embedding.device, dtype=torch.float32) + 0.5) / g
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        embed = cast(nn.Module, self.prompt_encoder.shared_embedding)
        return cast(Tensor, embed(torch.stack([x, y], dim=-1))).permute(2, 0, 1)[None]
