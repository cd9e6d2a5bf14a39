"""SAM on a batch of images, each with its own prompt set, in one call."""

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from fewmask.blocks.prompts import rasterise_boxes, rasterise_points
from fewmask.blocks.sam.conv_decoder import ConvDecoder, box_prior

OFFICIAL_MEAN, OFFICIAL_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's RGB in [0, 1] (SAM's pixel_mean and pixel_std over 255)."""


Encode = Callable[[Tensor], Tensor]
Recall = Callable[[Float[Tensor, "b 1 s s"], Encode], Float[Tensor, "b c g g"]]
"""Gives embeddings of images it knows, and asks the function for the others."""


class Sam(nn.Module):
    """Image encoder, prompt encoder and mask decoder; images come in [0, 1] at any square size and
    are brought to SAM's own.
    """

    def __init__(
        self,
        image_encoder: nn.Module,
        prompt_encoder: nn.Module | None,
        mask_decoder: nn.Module,
        image_size: int,
        patch: int,
        channels: int,
        *,
        official: bool = False,
    ) -> None:
        """`image_size`: side of SAM's input, may be changed later to any multiple of `patch`
        (positions are interpolated).

        `prompt_encoder` is None with a `ConvDecoder`. `channels` of the embedding. `official`:
        normalise as the official weights expect; otherwise to [-1, 1].
        """
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.image_size = image_size
        self.patch = patch
        self.official = official
        self.channels = channels
        self.recall: Recall | None = None
        """Set by whoever knows that the encoder is frozen and images come again."""
        mean, std = (OFFICIAL_MEAN, OFFICIAL_STD) if official else ((0.5,) * 3, (0.5,) * 3)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    @property
    def grid(self) -> int:
        """Side of the embedding."""
        return self.image_size // self.patch

    @property
    def mask_side(self) -> int:
        """Side of the mask logits and of the dense mask prompt."""
        return 4 * self.grid

    @property
    def class_head(self) -> tuple[str, ...]:
        """Beginnings of the names of weights whose shape depends on the number of masks."""
        if isinstance(self.mask_decoder, ConvDecoder):
            return ("mask_decoder.masks.",)
        return tuple(
            f"mask_decoder.{part}."
            for part in ("mask_tokens", "output_hypernetworks_mlps", "iou_prediction_head")
        )

    def encode(self, image: Float[Tensor, "b 1 s s"]) -> Float[Tensor, "b c g g"]:
        """Embeddings of grey slices in [0, 1]: resized to SAM's side if need be, copied to three
        channels, normalised.
        """
        if image.shape[-1] != self.image_size:
            image = functional.interpolate(
                image, (self.image_size, self.image_size), mode="bilinear", antialias=True
            )
        return self._encode(image) if self.recall is None else self.recall(image, self._encode)

    def _encode(self, image: Float[Tensor, "b 1 s s"]) -> Float[Tensor, "b c g g"]:
        mean, std = cast(Tensor, self.mean), cast(Tensor, self.std)
        result: Float[Tensor, "b c g g"] = self.image_encoder(
            (image.expand(-1, 3, -1, -1) - mean) / std
        ).last_hidden_state
        return result

    def decode(
        self,
        embedding: Float[Tensor, "b c g g"],
        boxes: Float[Tensor, "b 4"] | None,
        side: int,
        masks: Float[Tensor, "b 1 m m"] | None = None,
        points: Float[Tensor, "b n 2"] | None = None,
        point_labels: Int[Tensor, "b n"] | None = None,
    ) -> tuple[Float[Tensor, "b k m m"], Float[Tensor, "b k"]]:
        """Mask logits and their predicted IoU per image: three, or as many as the class head has.

        `boxes` are (x0, y0, x1, y1) in pixel edges of an image of side `side`; `points` are (x, y)
        on the same scale with labels 1 (inside) or 0 (outside); `masks` is the dense prompt at
        `mask_side`, None for SAM's "no mask" embedding. Images never see each other: one prompt set
        per image, all in one call.
        """
        b, _, g, _ = embedding.shape
        if b == 0:  # folding an empty picture gives a wrong shape
            return embedding.new_zeros(0, 3, 4 * g, 4 * g), embedding.new_zeros(0, 3)
        if isinstance(self.mask_decoder, ConvDecoder):
            scale = 4 * g / side
            placed = None if boxes is None else boxes * scale
            drawn = self._drawn(
                4 * g,
                embedding,
                placed,
                None if points is None else points * scale,
                point_labels,
                masks,
            )
            result: tuple[Float[Tensor, "b k m m"], Float[Tensor, "b k"]] = self.mask_decoder(
                embedding, drawn, None if placed is None else box_prior(placed, 4 * g)
            )
            return result
        none = boxes is None and points is None
        sparse = (
            embedding.new_zeros(b, 1, 0, self.channels)
            if none
            else self._sparse(boxes, points, point_labels, side)
        )
        dense = self._dense(masks)
        logits, scores = self.mask_decoder(
            image_embeddings=embedding,
            image_positional_embeddings=self._positions(embedding).expand(b, -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense.expand(b, -1, g, g),
            multimask_output=True,
        )[:2]
        return logits[:, 0], scores[:, 0]

    @property
    def _tokens(self) -> nn.Module:
        return cast(nn.Module, self.prompt_encoder)

    def _sparse(
        self, boxes: Tensor | None, points: Tensor | None, labels: Tensor | None, side: int
    ) -> Float[Tensor, "b 1 n c"]:
        # The prompt encoder adds half a pixel to move indices to centres; our edges are positions
        # already.
        scale = cast(int, self._tokens.input_image_size) / side
        placed = None if points is None else (points * scale - 0.5)[:, None]
        given = None if labels is None else labels[:, None]
        frame = None if boxes is None else (boxes * scale - 0.5)[:, None]
        result: Float[Tensor, "b 1 n c"] = self._tokens(placed, given, frame, None)[0]
        return result

    def _drawn(
        self,
        side: int,
        like: Tensor,
        boxes: Float[Tensor, "b 4"] | None,
        points: Float[Tensor, "b n 2"] | None,
        labels: Int[Tensor, "b n"] | None,
        masks: Float[Tensor, "b 1 m m"] | None,
    ) -> Float[Tensor, "b 3 m m"]:
        """Boxes, points and masks as three pictures of `side` pixels, on whose scale boxes and
        points are given.
        """
        nothing = like.new_zeros(len(like), 1, side, side)
        box = nothing if boxes is None else rasterise_boxes(boxes, side)
        point = (
            nothing if points is None or labels is None else rasterise_points(points, labels, side)
        )
        return torch.cat(
            [box.to(nothing), point.to(nothing), nothing if masks is None else masks.to(nothing)], 1
        )

    def _dense(self, masks: Float[Tensor, "b 1 m m"] | None) -> Float[Tensor, "b c g g"]:
        if masks is None:
            return cast(nn.Embedding, self._tokens.no_mask_embed).weight[:, :, None, None]
        return cast(Tensor, cast(nn.Module, self._tokens.mask_embed)(masks))

    def _positions(self, embedding: Tensor) -> Float[Tensor, "1 c g g"]:
        """Fourier features of the token centres (SAM's dense positional encoding)."""
        g = embedding.shape[-1]
        centres = (torch.arange(g, device=embedding.device, dtype=torch.float32) + 0.5) / g
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        embed = cast(nn.Module, self._tokens.shared_embedding)
        return cast(Tensor, embed(torch.stack([x, y], dim=-1))).permute(2, 0, 1)[None]
