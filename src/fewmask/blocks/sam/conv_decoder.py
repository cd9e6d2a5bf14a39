"""The compact SAM's own parts: an encoder that keeps fine detail, and a convolutional decoder that
sees prompts as pictures.

SAM's decoder reads boxes from two tokens and compares pixels with what the tokens gathered. From
random weights that takes hundreds of thousands of prompts; by then it had not learned more than the
box itself (docs/results/history.md). Here prompts are drawn and convolved with the image's
embedding, and a box's ellipse is the answer that training starts from.
"""

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from fewmask.blocks.prompts import rasterise_boxes, rasterise_points
from fewmask.blocks.sam.decoder import Prompts

_PICTURES = 3
"""Of prompts: boxes, points, masks."""


@dataclass(frozen=True)
class Encoded:
    """What encoders of `transformers` return, as far as it is used."""

    last_hidden_state: Tensor


class DetailEncoder(nn.Module):
    """A SAM encoder whose stem also hands its finest features, folded into channels, straight to
    the embedding.
    """

    def __init__(
        self, early: nn.Module, early_channels: int, body: nn.Module, patch: int, channels: int
    ) -> None:
        """`early` halves the side once; `body` turns its output into (b, channels, g, g)."""
        super().__init__()
        fold = patch // 2
        self.early = early
        self.body = body
        self.detail = nn.Sequential(
            nn.Conv2d(early_channels, 8, 3, padding=1),
            nn.PixelUnshuffle(fold),
            nn.Conv2d(8 * fold**2, channels, 1),
        )

    @property
    def layers(self) -> nn.ModuleList:
        """The attention layers."""
        return cast(nn.ModuleList, self.body.layers)

    def forward(self, pixel_values: Float[Tensor, "b 3 h w"]) -> Encoded:
        """Embedding (b, channels, g, g)."""
        early = self.early(pixel_values)
        return Encoded(self.body(early).last_hidden_state + self.detail(early))


class ConvNeXtBlock(nn.Module):
    """Depth-wise 7 x 7, then two point-wise layers, added to the input (Liu et al.
    2022, ConvNeXt).
    """

    def __init__(self, channels: int) -> None:
        """Any number of channels."""
        super().__init__()
        self.across = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.GroupNorm(1, channels)
        self.mix = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 1), nn.GELU(), nn.Conv2d(2 * channels, channels, 1)
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The same shape."""
        result: Float[Tensor, "b c h w"] = x + self.mix(self.norm(self.across(x)))
        return result


class PreActBlock(nn.Module):
    """Two 3 x 3 convolutions, added to the input (He et al. 2016, pre-activation)."""

    def __init__(self, channels: int) -> None:
        """`channels` in fours."""
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.GroupNorm(4, channels), nn.GELU(), nn.Conv2d(channels, channels, 3, padding=1)),
            *(nn.GroupNorm(4, channels), nn.GELU(), nn.Conv2d(channels, channels, 3, padding=1)),
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The same shape."""
        result: Float[Tensor, "b c h w"] = x + self.layers(x)
        return result


class ConvDecoder(nn.Module):
    """Masks and their scores from an embedding and pictures of the prompts, at four times the
    embedding's side.
    """

    def __init__(
        self, channels: int, masks: int = 3, width: int = 16, wide: int = 3, fine: int = 2
    ) -> None:
        """`channels` of the embedding; `width` of the features at the masks' side."""
        super().__init__()
        self.prompt_coarse = nn.Conv2d(16 * _PICTURES, channels, 1)
        self.coarse = nn.Sequential(*(ConvNeXtBlock(channels) for _ in range(wide)))
        self.up = nn.Conv2d(channels, 16 * width, 1)
        self.prompt_fine = nn.Conv2d(_PICTURES, width, 3, padding=1)
        self.fine = nn.Sequential(*(PreActBlock(width) for _ in range(fine)))
        self.masks = nn.Conv2d(width, masks, 3, padding=1)
        self.scores = nn.Sequential(
            nn.Linear(2 * channels + 2 + 2 * _PICTURES, 128), nn.GELU(), nn.Linear(128, 1)
        )
        # Training starts from the prior; masks differ a little, so that each can become its own.
        nn.init.normal_(self.masks.weight, std=1e-3)

    def forward(
        self,
        embedding: Float[Tensor, "b c g g"],
        pictures: Float[Tensor, "b 3 m m"],
        prior: Float[Tensor, "b 1 m m"] | None,
    ) -> tuple[Float[Tensor, "b k m m"], Float[Tensor, "b k"]]:
        """Logits, to which `prior` is added, and predicted IoUs."""
        x = self.coarse(embedding + self.prompt_coarse(functional.pixel_unshuffle(pictures, 4)))
        logits = self.masks(
            self.fine(functional.pixel_shuffle(self.up(x), 4) + self.prompt_fine(pictures))
        )
        logits = logits if prior is None else logits + prior
        return logits, self._scores(x.float(), logits.detach().float(), pictures.float())

    def _scores(
        self,
        x: Float[Tensor, "b c g g"],
        logits: Float[Tensor, "b k m m"],
        pictures: Float[Tensor, "b 3 m m"],
    ) -> Float[Tensor, "b k"]:
        """From the features under each mask and everywhere, its size, its doubt, and how it and the
        prompts cover each other.
        """
        probs = torch.sigmoid(logits)
        size = probs.mean((2, 3))
        unsure = (probs * (1 - probs)).mean((2, 3)) / (size + 1e-3)
        both = torch.einsum("bkhw,bphw->bkp", probs, pictures)
        area = probs.sum((2, 3))[..., None]
        shared = torch.cat(
            [both / (area + 1), both / (pictures.abs().sum((2, 3))[:, None] + 1)], -1
        )
        share = functional.avg_pool2d(probs, 4)
        under = torch.einsum("bkhw,bchw->bkc", share / (share.sum((2, 3), keepdim=True) + 1e-3), x)
        everywhere = x.mean((2, 3))[:, None].expand_as(under)
        result: Float[Tensor, "b k"] = self.scores(
            torch.cat([under, everywhere, size[..., None], unsure[..., None], shared], -1)
        )[..., 0]
        return result


@dataclass(frozen=True)
class RasterDecoder:
    """A `ConvDecoder` as a `MaskDecoder`: prompts reach it as pictures, so there is no prompt
    encoder with weights.
    """

    mask_decoder: ConvDecoder

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The network."""
        return {"mask_decoder": self.mask_decoder}

    @property
    def class_head(self) -> tuple[str, ...]:
        """The last layer of the masks; scores are computed for any number of them."""
        return ("mask_decoder.masks.",)

    def decode(
        self, embedding: Float[Tensor, "b c g g"], prompts: Prompts
    ) -> tuple[Float[Tensor, "b k m m"], Float[Tensor, "b k"]]:
        """See `MaskDecoder`; logits start from an ellipse in the box."""
        side = 4 * embedding.shape[-1]
        pictures = rasterise_prompts(embedding, prompts)
        prior = None
        if prompts.boxes is not None:
            prior = box_prior(prompts.boxes * (side / prompts.side), side)
        result: tuple[Tensor, Tensor] = self.mask_decoder(embedding, pictures, prior)
        return result


def rasterise_prompts(
    embedding: Float[Tensor, "b c g g"], prompts: Prompts
) -> Float[Tensor, "b 3 m m"]:
    """Boxes, points and masks as three pictures at the masks' side, m = 4 g; 0 for what is not
    given.
    """
    side = 4 * embedding.shape[-1]
    scale = side / prompts.side
    boxes = points = masks = embedding.new_zeros(len(embedding), 1, side, side)
    if prompts.boxes is not None:
        boxes = rasterise_boxes(prompts.boxes * scale, side).to(boxes)
    if prompts.points is not None and prompts.point_labels is not None:
        points = rasterise_points(prompts.points * scale, prompts.point_labels, side).to(points)
    if prompts.masks is not None:
        masks = prompts.masks.to(masks)
    return torch.cat([boxes, points, masks], 1)


def box_prior(boxes: Float[Tensor, "b 4"], side: int) -> Float[Tensor, "b 1 side side"]:
    """Logits of a rounded ellipse in each box (pixel edges): 3 in its middle, 0 on its border, -5
    far away; NaN boxes give -5.
    """
    centre = torch.arange(side, device=boxes.device) + 0.5
    x0, y0, x1, y1 = (edge[:, None] for edge in boxes.unbind(1))
    u = (2 * centre - x0 - x1).abs() / (x1 - x0 + 1)
    v = (2 * centre - y0 - y1).abs() / (y1 - y0 + 1)
    away = v[:, :, None] ** 2.5 + u[:, None, :] ** 2.5
    return torch.nan_to_num((3 * (1 - away)).clamp(-5, 3), nan=-5.0)[:, None]
