"""SAM on a batch of images, each with its own prompt set, in one call."""

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from fewmask.blocks.sam.decoder import MaskDecoder, Prompts

OFFICIAL_MEAN, OFFICIAL_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's RGB in [0, 1] (SAM's pixel_mean and pixel_std over 255)."""


Encode = Callable[[Tensor], Tensor]
Recall = Callable[[Float[Tensor, "b 1 s s"], Encode], Float[Tensor, "b c g g"]]
"""Gives embeddings of images it knows, and asks the function for the others."""


class Sam(nn.Module):
    """Image encoder and mask decoder; images come in [0, 1] at any square size and are brought to
    SAM's own.
    """

    def __init__(
        self,
        image_encoder: nn.Module,
        decoder: MaskDecoder,
        image_size: int,
        patch: int,
        channels: int,
        *,
        official: bool = False,
    ) -> None:
        """`image_size`: side of SAM's input, may be changed later to any multiple of `patch`
        (positions are interpolated).

        `channels` of the embedding. `official`: normalise as the official weights expect;
        otherwise to [-1, 1].
        """
        super().__init__()
        self.image_encoder = image_encoder
        self._decoder = decoder
        for name, part in decoder.parts.items():
            self.add_module(name, part)
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
        return self._decoder.class_head

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
        normalised = (image.expand(-1, 3, -1, -1) - mean) / std
        result: Float[Tensor, "b c g g"] = self.image_encoder(normalised).last_hidden_state
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
        return self._decoder.decode(embedding, Prompts(side, boxes, points, point_labels, masks))
