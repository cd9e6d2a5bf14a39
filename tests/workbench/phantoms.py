"""Made-up scans for the stand-in server, and what SAM and the 3D view would say of them."""

from functools import cache

import numpy as np

PRESETS = [
    {"name": "soft", "low": -160, "high": 240},
    {"name": "lung", "low": -1350, "high": 150},
    {"name": "bone", "low": -450, "high": 1050},
]


@cache
def organs(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Where the made-up liver (1) and kidneys (2) are."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij", sparse=True)
    shift = 0.05 * np.sin(seed)
    liver = ((x + 0.34 + shift) / 0.36) ** 2 + ((y + 0.05) / 0.42) ** 2 + (z - 0.2) ** 2 / 0.2
    wavy = 1 + 0.12 * np.sin(5 * y + seed) + 0.08 * np.cos(7 * x)
    mask = np.zeros(shape, np.uint8)
    mask[liver < wavy] = 1
    for side in (-0.33, 0.33):
        kidney = ((x - side) / 0.13) ** 2 + ((y - 0.42) / 0.15) ** 2 + ((z + 0.3) / 0.35) ** 2
        mask[kidney < 1] = 2
    return mask


@cache
def grey_levels(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Grey levels of the made-up scan, as of CT."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij", sparse=True)
    grey = np.full(shape, -1000.0, np.float32)
    reach = (x / 0.88) ** 2 + (y / 0.72) ** 2 + 0 * z
    grey[reach < 1] = -90
    grey[reach < 0.84] = 40
    grey[(reach > 0.78) & (reach < 0.84) & (np.sin(9 * np.arctan2(y, x) + 6 * z) > 0.5)] = 500
    grey[(x / 0.12) ** 2 + ((y - 0.45) / 0.12) ** 2 + 0 * z < 1] = 380
    grey[organs(shape, seed) == 1] = 115
    grey[organs(shape, seed) == 2] = 170
    grey[((x - 0.3) / 0.2) ** 2 + ((y + 0.25) / 0.17) ** 2 + 0 * z < 0.6] = -300
    noise = np.random.default_rng(seed).normal(0, 18, shape)
    return (grey + noise).clip(-1024, 2000).astype("<i2")


def cut(volume: np.ndarray, axis: int, index: int) -> np.ndarray:
    """One slice as the page wants it: the further planes have the head at the top."""
    chosen = volume if axis == 0 else volume[::-1]
    found: np.ndarray = np.take(chosen, index, axis)
    return found


def sam_mask(truth: np.ndarray, sent: dict[str, list[list[float]]]) -> np.ndarray:
    """The structure most of which lies in the box, or that lies under the first point."""
    rows, columns = np.indices(truth.shape) + 0.5
    inside = np.zeros(truth.shape, bool)
    for x0, y0, x1, y1 in sent["boxes"]:
        inside |= (columns > x0) & (columns < x1) & (rows > y0) & (rows < y1)
    for x, y, keep in sent["points"]:
        near = (columns - x) ** 2 + (rows - y) ** 2 < 144
        inside = inside | near if keep else inside & ~near
    held = truth[inside & (truth > 0)]
    value = np.bincount(held).argmax() if held.size else 255
    return np.where((truth == value) & inside, 1, 0).astype(np.uint8)


def surface(mask: np.ndarray, spacing: tuple[float, float, float]) -> tuple[bytes, int]:
    """Border voxels with normals from the gradient of the mask."""
    solid = np.pad(mask.astype(np.float32), 1)
    gradient = np.stack([*np.gradient(solid, *spacing)])[:, 1:-1, 1:-1, 1:-1]
    where = np.argwhere((mask > 0) & (np.abs(gradient).sum(0) > 0))[:60000]
    middle = (np.array(mask.shape) - 1) / 2
    points = ((where - middle) * spacing)[:, ::-1]
    normals = -gradient[:, where[:, 0], where[:, 1], where[:, 2]].T[:, ::-1]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-6
    body = (points * 4).astype("<i2").tobytes() + (normals * 127).astype(np.int8).tobytes()
    return body, len(where)
