"""From the scanner's slices to the network's square grid and back.

Every axis is resampled on its own, so a placement is two small matrices: placed = rows @ slice @
columns.T. With equal spacing they only select and pad, and `restore(place(x))` is x to the bit.
When pixels grow, the matrices average (a triangle as wide as the new pixel), so nothing aliases.

A slice that is larger than the grid is placed whole, and a network sees it through several windows
of exactly the grid's size: position embeddings and prompts are made for that size and no other.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import EllipsisType

import numpy as np
from jaxtyping import Float, Integer
from scipy import sparse

from fewmask.core.errors import BadConfig
from fewmask.core.recipe import Recipe

_DIVIDES = 32
"""What the sides of a slice must be multiples of where the network takes any."""
_Move = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Axis:
    """One axis: source pixel u lies at network pixel (u - source_centre) / step + target_centre.

    With equal spacing the centres may lie half a pixel apart, so that pixels fall on pixels and
    nothing is interpolated.
    """

    source: int
    target: int
    step: float
    """Source pixels per network pixel."""

    @property
    def _source_centre(self) -> float:
        half = 0.5 if self.step == 1.0 and (self.source - self.target) % 2 else 0.0
        return (self.source - 1) / 2 - half

    def to_target(self, u: Float[np.ndarray, "*n"] | float) -> Float[np.ndarray, "*n"]:
        """Pixel-centre coordinate on the source grid -> on the network grid."""
        return np.asarray(
            (np.asarray(u, float) - self._source_centre) / self.step + (self.target - 1) / 2
        )

    def to_source(self, v: Float[np.ndarray, "*n"] | float) -> Float[np.ndarray, "*n"]:
        """Pixel-centre coordinate on the network grid -> on the source grid."""
        return np.asarray(
            (np.asarray(v, float) - (self.target - 1) / 2) * self.step + self._source_centre
        )

    @cached_property
    def forward(self) -> Float[np.ndarray, "target source"]:
        """Weights of source pixels in each network pixel; rows of pixels outside the source are
        zero.
        """
        return _weights(self.to_source(np.arange(self.target, dtype=float)), self.source, self.step)

    @cached_property
    def backward(self) -> Float[np.ndarray, "source target"]:
        """Weights of network pixels in each source pixel; a pixel beyond the last network pixel
        takes that one's answer.
        """
        at = self.to_target(np.arange(self.source, dtype=float))
        # Only an edge of half a network pixel, or one source pixel, can lie beyond (`_cover`).
        at = at.clip(-0.5 - 1e-9, self.target - 0.5 + 1e-9)
        return _weights(at, self.target, 1 / self.step)

    def nearest(self) -> tuple[Integer[np.ndarray, " target"], np.ndarray]:
        """For each network pixel the nearest source pixel, and whether it lies inside
        the source.
        """
        at = self.to_source(np.arange(self.target, dtype=float))
        index = np.floor(at + 0.5).astype(int)
        return index.clip(0, self.source - 1), (index >= 0) & (index < self.source)


@dataclass(frozen=True)
class Window:
    """A part of a placed slice, as a network sees it."""

    top: int
    left: int
    height: int
    width: int

    @property
    def part(self) -> tuple[EllipsisType, slice, slice]:
        """`placed[window.part]` is what the window shows of placed slices (..., a, b)."""
        bottom, right = self.top + self.height, self.left + self.width
        return ..., slice(self.top, bottom), slice(self.left, right)

    def clip_box(self, box: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 4"]:
        """Boxes (x0, y0, x1, y1) of the placed slice as the window sees them; NaN where nothing of
        a box lies in it.
        """
        corner = np.array([self.left, self.top, self.left, self.top])
        clipped = (box - corner).clip(0, [self.width, self.height, self.width, self.height])
        empty = (clipped[..., 2:] <= clipped[..., :2]).any(-1, keepdims=True)
        return np.where(empty, np.nan, clipped)


@dataclass(frozen=True)
class Placement:
    """Slices (h, w) of one scan <-> placed slices (a, b); one value per scan.

    (a, b) is the network's (size, size), or larger along an axis where the scan is: then the
    network sees the slice through several `windows`.
    """

    rows: Axis
    columns: Axis
    size: int
    whole: bool = False
    """The network takes slices of any size: one window, whatever the scan."""

    @classmethod
    def of(
        cls,
        shape: tuple[int, int, int],
        spacing_mm: tuple[float, float, float],
        recipe: Recipe,
        whole: bool = False,
    ) -> "Placement":
        """Placement of a scan of `shape` (d, h, w) and `spacing_mm` (d, h, w) under a resolved
        recipe; centres coincide. With `whole` the sides of a larger one are multiples of 32.
        """
        _, h, w = shape
        size = recipe.size
        if recipe.stretch:
            return cls(Axis(h, size, h / size), Axis(w, size, w / size), size)
        step_h, step_w = (_snap(recipe.spacing_mm / side) for side in spacing_mm[1:])
        sides = [_cover(extent, size) for extent in (h / step_h, w / step_w)]
        if whole:
            sides = [side if side == size else _DIVIDES * -(-side // _DIVIDES) for side in sides]
        return cls(Axis(h, sides[0], step_h), Axis(w, sides[1], step_w), size, whole)

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """What the network looks through: one window for a scan that fits; else, per axis, as few
        as cover it with overlaps of at least a quarter of `size`, evenly spread.
        """
        if self.whole:
            return (Window(0, 0, self.rows.target, self.columns.target),)
        tops, lefts = (_spread(axis.target, self.size) for axis in (self.rows, self.columns))
        return tuple(Window(top, left, self.size, self.size) for top in tops for left in lefts)

    @property
    def middle(self) -> Window:
        """The window whose centre is the slice's: the only one of a scan that fits."""
        top, left = ((axis.target - self.size) // 2 for axis in (self.rows, self.columns))
        return Window(top, left, self.size, self.size)

    def place(
        self, image: Float[np.ndarray, "n h w"], fill: float = 0.0
    ) -> Float[np.ndarray, "n a b"]:
        """Images onto the network's pixels; `fill` where the scan does not reach."""
        placed = _resample(self.rows.forward, image, self.columns.forward)
        if fill:
            reached = np.outer(self.rows.forward.sum(1), self.columns.forward.sum(1))
            placed += np.float32(fill) * (1 - reached)
        return placed

    def place_mask(self, mask: Integer[np.ndarray, "n h w"]) -> Integer[np.ndarray, "n a b"]:
        """Labels onto the network's pixels, nearest neighbour; 0 where the scan does not reach."""
        (y, inside_y), (x, inside_x) = self.rows.nearest(), self.columns.nearest()
        inside = inside_y[:, None] & inside_x[None, :]
        result: Integer[np.ndarray, "n a b"] = mask[:, y][:, :, x] * inside.astype(mask.dtype)
        return result

    def restore(self, probs: Float[np.ndarray, "n k a b"]) -> Float[np.ndarray, "n k h w"]:
        """Probabilities back to the scanner's slices."""
        back = _resample(self.rows.backward, probs, self.columns.backward)
        # Weights sum up to 1 but for rounding; what is left is background.
        back[:, 0] += 1 - np.outer(self.rows.backward.sum(1), self.columns.backward.sum(1))
        return back

    def box_to_source(self, box: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 4"]:
        """Boxes (x0, y0, x1, y1) in pixel edges (0 = left edge of the first pixel) -> the same on
        the scanner's slice.
        """
        return self._move_box(box, self.rows.to_source, self.columns.to_source)

    def box_to_target(self, box: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 4"]:
        """The inverse of `box_to_source`."""
        return self._move_box(box, self.rows.to_target, self.columns.to_target)

    @staticmethod
    def _move_box(
        box: Float[np.ndarray, "*n 4"], move_y: _Move, move_x: _Move
    ) -> Float[np.ndarray, "*n 4"]:
        edges = np.asarray(box, float) - 0.5
        x0, y0, x1, y1 = np.moveaxis(edges, -1, 0)
        moved = [move_x(x0), move_y(y0), move_x(x1), move_y(y1)]
        return np.stack(moved, axis=-1) + 0.5


@dataclass(frozen=True)
class VolumePlacement:
    """A whole scan (d, h, w) <-> the voxels of methods that work in 3D: each axis resampled,
    nothing cut.
    """

    axes: tuple[Axis, Axis, Axis]

    @classmethod
    def of(
        cls, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], recipe: Recipe
    ) -> "VolumePlacement":
        """Placement of a scan under a resolved recipe. Raises `BadConfig` for recipes that stretch
        slices.
        """
        if recipe.stretch:
            raise BadConfig(
                f"recipe {recipe.name!r} stretches slices, which leaves a volume without a spacing",
                fix="prepare with `recipe=ct` or `recipe=mr` for methods that work in 3D",
                code="C02",
            )
        wanted = (recipe.slice_mm or spacing_mm[0], recipe.spacing_mm, recipe.spacing_mm)
        steps = [_snap(new / old) for new, old in zip(wanted, spacing_mm, strict=True)]
        d, h, w = (
            Axis(n, math.ceil(n / step - 1e-6), step) for n, step in zip(shape, steps, strict=True)
        )
        return cls((d, h, w))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(d, h, w) after placing."""
        d, h, w = (axis.target for axis in self.axes)
        return d, h, w

    def place(self, image: Float[np.ndarray, "d h w"]) -> Float[np.ndarray, "a b c"]:
        """A scan in the network's voxels; linear, averaging where voxels grow."""
        d, h, w = (axis.forward for axis in self.axes)
        placed: Float[np.ndarray, "a b c"] = _mix(d, _resample(h, image, w)[None])[0]
        return placed

    def place_mask(self, mask: Integer[np.ndarray, "d h w"]) -> Integer[np.ndarray, "a b c"]:
        """Labels in the network's voxels, nearest neighbour."""
        d, h, w = (axis.nearest()[0] for axis in self.axes)
        result: Integer[np.ndarray, "a b c"] = mask[d][:, h][:, :, w]
        return result

    def row_of(self, d: int) -> int:
        """The network's slice in which slice d of the scan lies."""
        nearest = round(float(self.axes[0].to_target(float(d))))
        return int(np.clip(nearest, 0, self.axes[0].target - 1))

    def place_slices(
        self, mask: Integer[np.ndarray, "n h w"], slices: Sequence[int], unknown: int
    ) -> Integer[np.ndarray, "a b c"]:
        """Labels of single slices of the scan where they lie in the network's voxels, `unknown`
        everywhere else.
        """
        h, w = (axis.nearest()[0] for axis in self.axes[1:])
        placed = np.full(self.shape, unknown, mask.dtype)
        placed[[self.row_of(d) for d in slices]] = mask[:, h][:, :, w]
        return placed

    def rows_for(self, d: int) -> range:
        """The network's slices that slice d of the scan is made of."""
        used = np.flatnonzero(self.axes[0].backward[d])
        return range(int(used[0]), int(used[-1]) + 1)

    def restore(
        self, probs: Float[np.ndarray, "k n b c"], first: int, slices: range
    ) -> Float[np.ndarray, "k m h w"]:
        """Probabilities of these slices of the scan, from the network's slices `first` onwards that
        they are made of.
        """
        d, h, w = (axis.backward for axis in self.axes)
        rows = d[slices.start : slices.stop, first : first + probs.shape[1]]
        return _resample(h, _mix(rows, probs), w)


# Products with matrices of two or three weights a row. As dense ones they would be BLAS's, whose
# threads fight with torch's for the cores: beside other work they took forty times as long.


def _resample(
    rows: Float[np.ndarray, "a h"],
    image: Float[np.ndarray, "*n h w"],
    columns: Float[np.ndarray, "b w"],
) -> Float[np.ndarray, "*n a b"]:
    """rows @ image @ columns.T, float32."""
    *n, h, w = image.shape
    by_rows = image.reshape(-1, h, w).swapaxes(0, 1).astype(np.float32)
    resampled = (sparse.csr_array(rows) @ by_rows.reshape(h, -1)).reshape(-1, w).T
    both = sparse.csr_array(columns) @ np.ascontiguousarray(resampled)
    placed = np.ascontiguousarray(both.reshape(len(columns), len(rows), -1).T, np.float32)
    return placed.reshape(*n, len(rows), len(columns))


def _mix(
    weights: Float[np.ndarray, "m d"], volumes: Float[np.ndarray, "k d h w"]
) -> Float[np.ndarray, "k m h w"]:
    """Weighted sums of slices, float32."""
    k, d, h, w = volumes.shape
    sums = [sparse.csr_array(weights) @ one.reshape(d, -1).astype(np.float32) for one in volumes]
    return np.stack(sums).reshape(k, -1, h, w)


def _cover(extent: float, size: int) -> int:
    """Pixels of a placed axis for a scan of `extent` network pixels: `size` if it fits but for a
    pixel, else as many as cover it, rounded up so that they lie on the pixels of the middle window.
    """
    if extent <= size + 1 + 1e-6:
        return size
    needed = math.ceil(extent - 1e-6)
    return needed + (needed - size) % 2


def _spread(length: int, size: int) -> list[int]:
    """Where windows of `size` begin on `length` pixels: mirrored about the middle, in steps of
    three quarters of `size` or less.
    """
    spare = length - size
    gaps = math.ceil(spare / max(1, 2 * (3 * size // 8)))
    if not gaps:
        return [0]
    first = [math.floor(gap * spare / gaps + 0.5) for gap in range(gaps // 2 + 1)]
    return first + [spare - begin for begin in reversed(first[: (gaps + 1) // 2])]


def _snap(step: float) -> float:
    """A step that is 1 but for rounding in the header is 1, so that equal grids stay exact."""
    return 1.0 if abs(step - 1) < 1e-4 else step


def _weights(
    at: Float[np.ndarray, " target"], source: int, step: float
) -> Float[np.ndarray, "target source"]:
    """Weights of `source` pixels in new pixels centred at `at` (in source pixels) and `step` source
    pixels wide; every row sums up to 1, or is 0 for a centre outside.
    """
    # A triangle around each new pixel. One source pixel wide it is linear interpolation (and picks
    # single pixels where centres meet); as wide as the new pixel, where pixels grow, it averages
    # all that lies under it, so that nothing aliases.
    width = max(1.0, step)
    distance = np.abs(at[:, None] - np.arange(source)[None, :]) / width
    weight = np.maximum(0.0, 1 - distance)
    # Near the border the triangle hangs over the edge: renormalise there, but give nothing to
    # pixels whose centre is outside.
    total = weight.sum(1, keepdims=True)
    inside = ((at >= -0.5 - 1e-9) & (at <= source - 0.5 + 1e-9))[:, None]
    normalised = weight / np.where(total > 0, total, 1)
    return np.where(inside & (total > 0), normalised, 0).astype(np.float32)
