"""Random images with known regions (domain randomisation, after SynthSeg, Billot et al. 2023, and
AnyStar, Dey et al. 2024).

A scene is a body with a wall and a cavity, two dozen smooth shapes painted from large to small
(round, square, bent, rough), or a field of organic cells. Grey levels, texture, shading, blur,
noise, streaks, resolution and contrast are drawn at random, far wider than any scanner's.
Everything is torch on one device, a pure function of the generator's state.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

_SHAPES = 22
_FIRST = 3
"""Regions: 0 outside, 1 body wall, 2 cavity, then the shapes."""
REGIONS = _FIRST + _SHAPES


@dataclass(frozen=True)
class Scenes:
    """A batch of images and what is in them."""

    image: Float[Tensor, "b 1 s s"]
    """In [0, 1]."""
    regions: Int[Tensor, "b s s"]
    """Number of the region seen at each pixel, 0 = outside."""
    parents: Int[Tensor, "b r"]
    """For each region number the one it lies in (0 = none): an organ's lesion is part of the organ.
    """


def draw_scenes(count: int, side: int, rng: torch.Generator, tiles: int = 1) -> Scenes:
    """`count` scenes of `side` pixels; with `tiles` > 1 each is a montage of tiles x tiles small
    scenes side by side.
    """
    if tiles > 1:
        return _montage(draw_scenes(count * tiles**2, side // tiles, rng), tiles)
    regions, parents = _draw_regions(count, side, rng)
    image = _paint(regions, rng)
    return Scenes(_scan(image, rng)[:, None], regions, parents)


def smooth_noise(
    count: int, channels: int, side: int, cells: float | int, rng: torch.Generator
) -> Float[Tensor, "b c s s"]:
    """Gaussian noise with about `cells` bumps along a side, deviation about 1."""
    coarse = max(2, round(cells)) + 1
    small = torch.randn(count, channels, coarse, coarse, generator=rng, device=rng.device)
    # Interpolation averages the noise; 1.4 brings the deviation back to about 1.
    return 1.4 * functional.interpolate(small, (side, side), mode="bicubic", align_corners=True)


def _uniform(rng: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=rng, device=rng.device)


def _log_uniform(rng: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    log_low, log_high = torch.tensor(low).log().item(), torch.tensor(high).log().item()
    return torch.exp(_uniform(rng, log_low, log_high, *shape))


def _chance(rng: torch.Generator, share: float, *shape: int) -> Bool[Tensor, " ..."]:
    return torch.rand(*shape, generator=rng, device=rng.device) < share


def _draw_regions(
    count: int, side: int, rng: torch.Generator
) -> tuple[Int[Tensor, "b s s"], Int[Tensor, "b r"]]:
    y, x = _warped_grid(count, side, rng)
    body = _uniform(rng, 0.55, 0.95, count, 2, 1, 1)
    radius = torch.sqrt((y / body[:, 0]) ** 2 + (x / body[:, 1]) ** 2)
    wall = _uniform(rng, 0.75, 0.97, count, 1, 1)
    everywhere = _chance(rng, 0.3, count, 1, 1)  # a close view: no outside
    base = torch.where(everywhere, 2, (radius < 1).long() + (radius < wall).long())
    inside, centres = _draw_shapes(y, x, body, rng)
    # Shapes are ordered from large to small, so where several overlap the highest number is the one
    # painted last, on top.
    numbers = torch.arange(_FIRST, REGIONS, device=rng.device, dtype=torch.uint8)[:, None, None]
    painted = (inside * numbers).amax(1).long()
    # Some images are a field of cells instead: each pixel belongs to the strongest of ten noises.
    organic = torch.nonzero(_chance(rng, 0.15, count))[:, 0]
    if len(organic):
        painted[organic] = _FIRST + smooth_noise(len(organic), 10, side, 5, rng).argmax(1)
    regions = torch.where((base == 2) & (painted > 0), painted, base)
    return regions, _parents(inside, centres, side)


def _warped_grid(
    count: int, side: int, rng: torch.Generator
) -> tuple[Float[Tensor, "b s s"], Float[Tensor, "b s s"]]:
    """Coordinates in [-1, 1], bent smoothly, so that no border is a perfect curve."""
    line = (torch.arange(side, device=rng.device) + 0.5) * 2 / side - 1
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij"))
    bend = _uniform(rng, 0.0, 0.08, count, 1, 1, 1) * smooth_noise(count, 2, side, 4, rng)
    bend = bend + _uniform(rng, 0.0, 0.025, count, 1, 1, 1) * smooth_noise(count, 2, side, 14, rng)
    y, x = (grid + bend).unbind(1)
    return y, x


def _draw_shapes(
    y: Float[Tensor, "b s s"],
    x: Float[Tensor, "b s s"],
    body: Float[Tensor, "b 2 1 1"],
    rng: torch.Generator,
) -> tuple[Bool[Tensor, "b n s s"], Float[Tensor, "b n 2"]]:
    """Where each shape is, and its centre (y, x); larger ones come first and are painted over by
    smaller ones.

    Shapes are level sets of smooth functions, computed on every second pixel and interpolated: a
    quarter of the work.
    """
    count, full, n = len(y), y.shape[-1], _SHAPES
    y, x = (functional.avg_pool2d(a[:, None], 2)[:, 0] for a in (y, x))
    side = y.shape[-1]
    u, v, centres = _shape_coordinates(y, x, body, rng)
    # The level of a shape is below 1 inside it: bent along one axis, a circle or a square in its
    # own coordinates, and roughened by noise.
    bend = torch.randn(count, n, generator=rng, device=rng.device) * 0.35
    v = v + (bend * _chance(rng, 0.5, count, n))[..., None, None] * (u**2 - 0.4)
    square = _chance(rng, 0.15, count, n)[..., None, None]
    form = torch.where(square, torch.sqrt(u**4 + v**4), u**2 + v**2)
    rough = _uniform(rng, 0.0, 0.45, count, n) * _chance(rng, 0.6, count, n)
    # Each image uses every shape, or every second or third: some are crowded, some sparse.
    every = _uniform(rng, 1.0, 4.0, count, 1).long().clamp_min(1)
    used = torch.arange(n, device=rng.device) % every == 0
    fields = torch.cat([smooth_noise(count, 3, side, cells, rng) for cells in (4, 8, 16)], 1)
    field = fields[:, torch.randint(fields.shape[1], (n,), generator=rng, device=rng.device)]
    level = form + rough[..., None, None] * field
    level = functional.interpolate(level, (full, full), mode="bilinear")
    return (level < 1) & used[..., None, None], centres


def _shape_coordinates(
    y: Float[Tensor, "b s s"],
    x: Float[Tensor, "b s s"],
    body: Float[Tensor, "b 2 1 1"],
    rng: torch.Generator,
) -> tuple[Float[Tensor, "b n s s"], Float[Tensor, "b n s s"], Float[Tensor, "b n 2"]]:
    """Coordinates (u, v) of each pixel in the axes of each shape, in units of its half axes; and
    the shapes' centres (y, x). Larger shapes come first.
    """
    count, n = len(y), _SHAPES
    size = _log_uniform(rng, 0.03, 0.55, count, n).sort(1, descending=True).values
    aspect = _log_uniform(rng, 0.5, 2.0, count, n)
    angle = _uniform(rng, 0.0, 3.1416, count, n)
    away = torch.sqrt(_uniform(rng, 0.0, 0.8, count, n))
    around = _uniform(rng, 0.0, 6.2832, count, n)
    in_body = torch.stack([away * torch.sin(around), away * torch.cos(around)], -1)
    centres = in_body * body[:, None, :, 0, 0]
    centre_y, centre_x = centres[..., None, None].unbind(2)
    dy, dx = y[:, None] - centre_y, x[:, None] - centre_x
    cos, sin = torch.cos(angle)[..., None, None], torch.sin(angle)[..., None, None]
    u = (cos * dx + sin * dy) / (size * aspect)[..., None, None]
    v = (cos * dy - sin * dx) / (size / aspect)[..., None, None]
    return u, v, centres


def _parents(
    inside: Bool[Tensor, "b n s s"], centres: Float[Tensor, "b n 2"], side: int
) -> Int[Tensor, "b r"]:
    """The smallest earlier shape that covers a shape's centre."""
    count, n = inside.shape[:2]
    at = ((centres + 1) * side / 2).long().clamp(0, side - 1)
    flat = (at[..., 0] * side + at[..., 1])[:, None, :].expand(count, n, n)
    # [b, i, j]: shape i covers the centre of shape j. Only earlier shapes, which are larger, count
    # (i < j), and of these the last, which is the smallest, has the highest number.
    covers = inside.flatten(2).gather(2, flat)
    earlier = torch.triu(torch.ones(n, n, dtype=torch.bool, device=inside.device), 1)
    numbers = torch.arange(_FIRST, REGIONS, device=inside.device)[:, None]
    found = torch.where(covers & earlier, numbers, 0).amax(1)
    return functional.pad(found, (_FIRST, 0))


def _paint(regions: Int[Tensor, "b s s"], rng: torch.Generator) -> Float[Tensor, "b s s"]:
    """Grey levels: a few tissues per image, so that neighbours are often alike; texture, spots and
    vessels within regions.
    """
    count, side = len(regions), regions.shape[-1]
    tissues = _uniform(rng, 0.05, 0.95, count, 7)
    chosen = torch.randint(7, (count, REGIONS), generator=rng, device=rng.device)
    own = torch.randn(count, REGIONS, generator=rng, device=rng.device)
    level = tissues.gather(1, chosen) + 0.04 * own
    level[:, 0] = torch.where(_chance(rng, 0.7, count), 0.0, level[:, 0])
    rough = (0.05 * torch.randn(count, REGIONS, generator=rng, device=rng.device)).abs()
    rough[:, 0] *= 0.2
    spots = 0.12 * torch.randn(count, REGIONS, generator=rng, device=rng.device)
    spots = spots * _chance(rng, 0.35, count, REGIONS)
    spots[:, 0] = 0
    texture = smooth_noise(count, 1, side, side / 4, rng)[:, 0]
    patches = smooth_noise(count, 1, side, 10, rng)[:, 0]
    vessels = (smooth_noise(count, 1, side, 24, rng)[:, 0] > 1.5).float()

    def spread(values: Float[Tensor, "b r"]) -> Float[Tensor, "b s s"]:
        return values.gather(1, regions.flatten(1)).view_as(regions)

    return spread(level) + spread(rough) * (texture + patches) + spread(spots) * vessels


def _scan(image: Float[Tensor, "b s s"], rng: torch.Generator) -> Float[Tensor, "b s s"]:
    """What a scanner and a viewer do: shading, blur, lost resolution, noise, streaks, contrast.
    Ends in [0, 1].
    """
    count, side = len(image), image.shape[-1]
    strength = _uniform(rng, 0.0, 0.25, count, 1, 1)
    image = image * torch.exp(strength * smooth_noise(count, 1, side, 2, rng)[:, 0])
    image = _blur(image, _uniform(rng, 0.05, 1.3, count) * side / 224)
    image = torch.where(_chance(rng, 0.25, count, 1, 1), _lose_resolution(image, rng), image)
    white = torch.randn(image.shape, generator=rng, device=rng.device)
    grainy = 2 * _blur(white, _uniform(rng, 0.4, 1.0, count))
    noise = torch.where(_chance(rng, 0.5, count, 1, 1), grainy, white)
    image = image + _log_uniform(rng, 0.004, 0.1, count, 1, 1) * noise
    image = image + 0.08 * _chance(rng, 0.15, count, 1, 1) * _streaks(count, side, rng)
    low, high = _uniform(rng, -0.1, 0.2, count, 1, 1), _uniform(rng, 0.75, 1.1, count, 1, 1)
    image = ((image - low) / (high - low)).clamp(0, 1) ** _log_uniform(rng, 0.6, 1.6, count, 1, 1)
    return torch.where(_chance(rng, 0.2, count, 1, 1), 1 - image, image)


def _blur(image: Float[Tensor, "b s s"], sigma: Float[Tensor, " b"]) -> Float[Tensor, "b s s"]:
    """Gaussian of its own width for each image."""
    offsets = torch.arange(-4, 5, device=image.device)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp_min(0.05)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True))[:, None]
    padded = functional.pad(image[None], (4, 4, 4, 4), mode="replicate")
    along_x = functional.conv2d(padded, kernel[:, :, None, :], groups=len(image))
    return functional.conv2d(along_x, kernel[:, :, :, None], groups=len(image))[0]


def _lose_resolution(image: Float[Tensor, "b s s"], rng: torch.Generator) -> Float[Tensor, "b s s"]:
    """Down and up again, differently along the two axes."""
    side = image.shape[-1]
    h, w = (max(8, round(side * float(_uniform(rng, 0.35, 0.95, 1)))) for _ in range(2))
    small = functional.interpolate(image[:, None], (h, w), mode="bilinear", antialias=True)
    return functional.interpolate(small, (side, side), mode="bilinear")[:, 0]


def _streaks(count: int, side: int, rng: torch.Generator) -> Float[Tensor, "b s s"]:
    """Rays from one point, as from metal."""
    line = torch.linspace(-1, 1, side, device=rng.device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    at = _uniform(rng, -0.8, 0.8, count, 2, 1, 1)
    angle = torch.atan2(y - at[:, 0], x - at[:, 1])
    table = torch.randn(count, 180, generator=rng, device=rng.device)
    index = ((angle + 3.1416) / 6.2833 * 180).long().clamp(0, 179)
    return table.gather(1, index.flatten(1)).view(count, side, side)


def _montage(scenes: Scenes, tiles: int) -> Scenes:
    """Tiles side by side; region numbers are made distinct."""
    count, side = len(scenes.image) // tiles**2, scenes.image.shape[-1]
    shift = torch.arange(tiles**2, device=scenes.regions.device).repeat(count)[:, None] * REGIONS

    def tile(x: Tensor) -> Tensor:
        grid = x.view(count, tiles, tiles, side, side).permute(0, 1, 3, 2, 4)
        return grid.reshape(count, tiles * side, tiles * side)

    moved = torch.where(scenes.regions > 0, scenes.regions + shift[:, :, None], 0)
    parents = torch.where(scenes.parents > 0, scenes.parents + shift, 0)
    return Scenes(tile(scenes.image[:, 0])[:, None], tile(moved), parents.view(count, -1))
