"""Small pictures of slices with outlines, as data URIs."""

import base64
import io
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, features
from scipy import ndimage

PERSON, BOX = (255, 255, 255), (250, 204, 21)
"""A person's outline is white and dashed, the box yellow; masks have their structures' colours."""
TRUTH, PREDICTION = (45, 212, 191), (251, 146, 60)
"""Teal and orange, for pictures of one structure (the notebook's)."""
Style = Literal["solid", "dashed"]
FORMAT: Literal["webp", "jpeg"] = "webp" if features.check("webp") else "jpeg"
"""WebP is smaller; some builds of Pillow lack it."""


def scale_to(
    width: int, shape: tuple[int, int], spacing_mm: tuple[float, float]
) -> tuple[int, int]:
    """(width, height) of a picture of a slice (h, w) with true proportions."""
    h, w = shape
    return width, max(1, round(width * (h * spacing_mm[0]) / (w * spacing_mm[1])))


def show_slice(
    image: Float[np.ndarray, "h w"], size: tuple[int, int]
) -> UInt8[np.ndarray, "y x 3"]:
    """A slice in [0, 1] as an RGB picture of `size` (width, height)."""
    return np.repeat(grey_slice(image, size)[:, :, None], 3, axis=2).copy()


def grey_slice(image: Float[np.ndarray, "h w"], size: tuple[int, int]) -> UInt8[np.ndarray, "y x"]:
    """A slice in [0, 1] as a grey picture of `size` (width, height)."""
    grey = Image.fromarray((np.clip(image, 0, 1) * 255).astype(np.uint8))
    smooth = Image.Resampling.BICUBIC if size[0] >= image.shape[1] else Image.Resampling.BOX
    return np.asarray(grey.resize(size, smooth))


def outline(
    picture: UInt8[np.ndarray, "y x 3"],
    mask: Bool[np.ndarray, "h w"],
    colour: tuple[int, int, int],
    style: Style,
) -> None:
    """Draw the border of a mask into a picture, two pixels wide, in place."""
    if not mask.any():
        return
    size = (picture.shape[1], picture.shape[0])
    grey = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    large = np.asarray(grey) > 127
    edge = large & ~ndimage.binary_erosion(large, iterations=2)
    if style == "dashed":
        y, x = np.indices(edge.shape)
        edge &= ((x + y) // 6) % 2 == 0
    picture[edge] = colour


def overlay_heat(
    picture: UInt8[np.ndarray, "y x 3"],
    heat: Float[np.ndarray, "gh gw"],
    window: tuple[float, float, float, float],
) -> None:
    """Blend a heat map in [0, 1] over the part of the picture it covers: `window` = (x0, y0, x1,
    y1) in picture pixels.
    """
    x0, y0, x1, y1 = (round(v) for v in window)
    size = (max(1, x1 - x0), max(1, y1 - y0))
    grid = Image.fromarray((np.clip(heat, 0, 1) * 255).astype(np.uint8))
    full = Image.new("L", (picture.shape[1], picture.shape[0]), 0)
    full.paste(grid.resize(size, Image.Resampling.BILINEAR), (x0, y0))
    level = np.asarray(full, float)[:, :, None] / 255
    red, blue = 255 * np.ones_like(level), 30 * np.ones_like(level)
    warm = np.concatenate([red, 210 * (1 - level) + 40, blue], axis=2)
    picture[:] = (picture * (1 - 0.65 * level) + warm * 0.65 * level).astype(np.uint8)


def draw_box(
    picture: UInt8[np.ndarray, "y x 3"],
    box: tuple[float, float, float, float],
    colour: tuple[int, int, int],
) -> None:
    """Draw a box given in picture pixels, two pixels wide, in place."""
    height, width = picture.shape[:2]
    x0, x1 = (int(np.clip(round(v), 0, width - 1)) for v in (box[0], box[2]))
    y0, y1 = (int(np.clip(round(v), 0, height - 1)) for v in (box[1], box[3]))
    for y in (y0, y1):
        picture[max(0, y - 1) : y + 1, x0 : x1 + 1] = colour
    for x in (x0, x1):
        picture[y0 : y1 + 1, max(0, x - 1) : x + 1] = colour


def data_uri(picture: UInt8[np.ndarray, "y x *rgb"], quality: int = 80) -> str:
    """A picture, grey or in colours, as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, FORMAT, quality=quality)
    return f"data:image/{FORMAT};base64," + base64.b64encode(buffer.getvalue()).decode()
