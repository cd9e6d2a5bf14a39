"""Slices of a patch <-> square canvases, an exact inverse for any patch (R3)."""

import math
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional

from fewmask.core.errors import BadConfig


@dataclass(frozen=True)
class Montage:
    """Where the d slices of a patch (d, h, w) lie: row by row in slice order, on as many canvases
    as they need.

    Tiles are spread evenly over the canvas; nothing is resized, no slice is dropped. Gutters are a
    pixel or two where tiles fill the canvas, wide where they do not: 16 slices of 32 px on 448 px
    lie 80 px apart. The release reaches 1026 px with its 114 px tiles and cuts the border away;
    here 9 tiles of 112 px fit 1024 by themselves.
    """

    patch: tuple[int, int, int]
    canvas: int
    """Side of a canvas in pixels."""

    def __post_init__(self) -> None:
        """Refuse slices that are larger than the canvas."""
        if max(self.patch[1:]) > self.canvas or min(self.patch) < 1:
            raise BadConfig(
                f"slices of {self.patch[1]} x {self.patch[2]} px do not fit a canvas of "
                f"{self.canvas} px",
                fix="use a smaller patch or a larger canvas",
                code="C02",
            )

    @property
    def per_row(self) -> int:
        """Tiles per row and column."""
        return min(self.canvas // max(self.patch[1:]), math.ceil(math.sqrt(self.patch[0])))

    @property
    def canvases(self) -> int:
        """Canvases per patch."""
        return math.ceil(self.patch[0] / self.per_row**2)

    def corner(self, index: int) -> tuple[int, int, int]:
        """Canvas, first row and first column of slice `index`."""
        n = self.per_row
        which, place = divmod(index, n * n)
        row, column = divmod(place, n)
        _, h, w = self.patch
        # A tile sits in the middle of its n-th part of the canvas.
        y = ((2 * row + 1) * self.canvas // n - h) // 2
        x = ((2 * column + 1) * self.canvas // n - w) // 2
        return which, y, x

    def stitch(
        self, patches: Shaped[Tensor, "b d h w"], fill: float = 0.0
    ) -> Shaped[Tensor, "bm s s"]:
        """The canvases of each patch, one after the other; `fill` between and after the tiles.

        Raises `ValueError` for patches of another shape: no slice is left out.
        """
        if patches.shape[1:] != self.patch:
            raise ValueError(f"patches of {tuple(patches.shape[1:])} on a montage for {self.patch}")
        out = patches.new_full((len(patches), self.canvases * self.canvas**2), fill)
        out[:, _places(self, patches.device)] = patches.flatten(1)
        return out.reshape(-1, self.canvas, self.canvas)

    def unstitch(self, canvases: Float[Tensor, "bm c s s"]) -> Float[Tensor, "b c d h w"]:
        """The slices of each patch; canvases of another side (mask logits) are interpolated to this
        one first.
        """
        if canvases.shape[-1] != self.canvas:
            canvases = functional.interpolate(
                canvases, (self.canvas, self.canvas), mode="bilinear", align_corners=False
            )
        channels = canvases.shape[1]
        whole = canvases.reshape(-1, self.canvases, channels, self.canvas**2)
        flat = whole.movedim(2, 1).flatten(2)
        slices = flat.index_select(2, _places(self, canvases.device))
        return slices.reshape(-1, channels, *self.patch)


@cache
def _places(montage: Montage, device: torch.device) -> Int[Tensor, " dhw"]:
    """Of every voxel of a patch, where it lies in its canvases: one look-up instead of a copy per
    slice.
    """
    d, h, w = montage.patch
    which, y, x = torch.tensor([montage.corner(index) for index in range(d)]).T[..., None, None]
    rows, columns = torch.arange(h)[:, None], torch.arange(w)
    side = montage.canvas
    places: Tensor = which * side**2 + (y + rows) * side + x + columns
    return places.flatten().to(device)
