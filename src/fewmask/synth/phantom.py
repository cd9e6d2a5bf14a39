"""Abdominal phantoms with known truth: a demo and a test bed that need no patient and no download.

Each phantom is one "patient": an elliptic body with fat, muscle and spine, a liver-like organ with
soft, irregular borders, lesions and vessels, and distractors that share its grey levels (spleen,
stomach, kidneys, muscle). The scan is blurred, biased and noisy, its grid anisotropic and oblique,
its axes in directions that differ from case to case, as in hospitals.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped, UInt8
from scipy import ndimage

from fewmask.core.randomness import rng
from fewmask.core.volume import LabelMap, Volume
from fewmask.io.atomic import make_folder
from fewmask.io.nifti import write_labels, write_volume

LABELS = {"liver": 1, "spleen": 2, "kidneys": 3, "stomach": 4}
"""Values in a phantom's label map. Lesions and vessels inside the liver belong to the liver."""

_SHAPE = (28, 96, 96)
_SPACING_MM = (6.0, 3.6, 3.6)
# Directions of the file's axes against R, A, S: RAS, LPS, LAS, RPI.
_FLIPS = ((1, 1, 1), (-1, -1, 1), (-1, 1, 1), (1, -1, -1))


@dataclass(frozen=True)
class _Organ:
    """An ellipsoid with a warped surface; centre and radii in units of the body's half axes, order
    (d, h, w).
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    hu: float
    rough: float = 0.12


_ORGANS = {
    "liver": _Organ((0.18, -0.10, -0.36), (0.62, 0.62, 0.50), 96.0, 0.22),
    "spleen": _Organ((0.22, 0.35, 0.62), (0.34, 0.34, 0.20), 104.0, 0.15),
    "stomach": _Organ((0.20, -0.28, 0.38), (0.40, 0.34, 0.28), 72.0, 0.25),
    "right kidney": _Organ((-0.45, 0.38, -0.42), (0.42, 0.20, 0.18), 128.0, 0.10),
    "left kidney": _Organ((-0.38, 0.38, 0.42), (0.42, 0.20, 0.18), 128.0, 0.10),
    "bowel": _Organ((-0.62, -0.25, 0.05), (0.45, 0.40, 0.55), 66.0, 0.45),
}


def make_phantom(seed: int, index: int) -> tuple[Volume, LabelMap]:
    """Phantom number `index`: a CT-like scan in HU (int16) and its label map (`LABELS`), the same
    for equal arguments.
    """
    draw = rng(seed, "phantom", index)
    points = _body_frame(draw)
    hu, labels = _paint(points, draw)
    hu = _scan(hu, draw)
    affine, flips = _oblique_grid(draw)
    voxels = np.round(hu).astype(np.int16)
    return (
        Volume.from_file_order(_to_file_order(voxels, flips), affine),
        LabelMap.from_file_order(_to_file_order(labels, flips), affine),
    )


def write_phantoms(folder: Path, count: int, seed: int = 0) -> list[str]:
    """Write `images/phantom_XX.nii.gz` and `labels/phantom_XX.nii.gz`; returns the case ids."""
    cases = [f"phantom_{index:02d}" for index in range(count)]
    for name in ("images", "labels"):
        make_folder(folder / name)
    for index, case in enumerate(cases):
        volume, labels = make_phantom(seed, index)
        write_volume(folder / "images" / f"{case}.nii.gz", volume)
        write_labels(folder / "labels" / f"{case}.nii.gz", labels)
    return cases


def _body_frame(draw: np.random.Generator) -> Float[np.ndarray, "3 d h w"]:
    """Coordinates in units of the body's half axes; |(h, w)| < 1 is inside the body. Patients
    differ in size, place and tilt.
    """
    axes = [np.linspace(-1, 1, n) for n in _SHAPE]
    d, h, w = np.meshgrid(*axes, indexing="ij")
    body = draw.uniform((0.56, 0.74), (0.70, 0.90))
    shift = draw.uniform(-0.06, 0.06, 2)
    turn = np.deg2rad(draw.uniform(-9, 9))
    h, w = h - shift[0], w - shift[1]
    h, w = np.cos(turn) * h - np.sin(turn) * w, np.sin(turn) * h + np.cos(turn) * w
    return np.stack(
        [d * draw.uniform(0.9, 1.1) + draw.uniform(-0.12, 0.12), h / body[0], w / body[1]]
    )


def _paint(
    points: Float[np.ndarray, "3 d h w"], draw: np.random.Generator
) -> tuple[Float[np.ndarray, "d h w"], UInt8[np.ndarray, "d h w"]]:
    """HU without noise, and labels."""
    radius = np.hypot(points[1], points[2])
    hu = np.full(_SHAPE, -1000.0)
    hu[radius < 1] = draw.normal(-95, 8)
    wall = 0.86 + 0.05 * _smooth_noise(draw, 6.0)
    hu[radius < wall] = draw.normal(58, 6)
    hu[radius < wall - 0.14] = draw.normal(-88, 8)
    spine = np.hypot(points[1] - 0.62, points[2] * 1.2) < 0.17
    hu[np.hypot(points[1] - 0.60, points[2] * 0.75) < 0.30] = draw.normal(58, 6)
    hu[spine] = draw.normal(190, 25)
    inside = radius < wall - 0.12
    diaphragm = 0.62 - 0.5 * (points[1] ** 2 + points[2] ** 2) + 0.1 * draw.normal()
    lungs = (points[0] > diaphragm) & inside
    labels = np.zeros(_SHAPE, np.uint8)
    for name in ("bowel", "stomach", "left kidney", "right kidney", "spleen", "liver"):
        organ = _ORGANS[name]
        where = _shape_of(organ, points, draw) & inside & ~spine
        hu[where] = draw.normal(organ.hu, 11)
        labels[where] = LABELS.get(name.split()[-1].replace("kidney", "kidneys"), 0)
    _paint_inside(hu, labels == LABELS["liver"], draw)
    hu[lungs & ~spine] = draw.normal(-820, 30)
    labels[lungs | spine] = 0
    labels[(labels == LABELS["liver"]) & ~_largest(labels == LABELS["liver"])] = 0
    return hu, labels


def _largest(mask: Bool[np.ndarray, "d h w"]) -> Bool[np.ndarray, "d h w"]:
    pieces, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(pieces.ravel())[1:]
    result: Bool[np.ndarray, "d h w"] = pieces == 1 + int(np.argmax(sizes))
    return result


def _shape_of(
    organ: _Organ, points: Float[np.ndarray, "3 d h w"], draw: np.random.Generator
) -> Bool[np.ndarray, "d h w"]:
    centre = np.array(organ.centre) + draw.normal(0, 0.05, 3)
    radii = np.array(organ.radii) * draw.uniform(0.82, 1.16, 3)
    offset = (points - centre[:, None, None, None]) / radii[:, None, None, None]
    warp = organ.rough * (_smooth_noise(draw, 9.0) + 0.6 * _smooth_noise(draw, 4.0))
    result: Bool[np.ndarray, "d h w"] = np.sqrt((offset**2).sum(0)) + warp < 1
    return result


def _paint_inside(
    hu: np.ndarray, liver: Bool[np.ndarray, "d h w"], draw: np.random.Generator
) -> None:
    """Vessels brighter, lesions darker than the liver around them; both are liver."""
    level = float(np.median(hu[liver])) if liver.any() else 0.0
    hu[liver & (_smooth_noise(draw, 3.0) > 1.6)] = level + draw.uniform(20, 45)
    for _ in range(int(draw.integers(0, 4))):
        at = np.argwhere(liver)
        if len(at) == 0:
            return
        centre, radius = at[draw.integers(len(at))], draw.uniform(6, 16)
        grid = np.indices(_SHAPE) - centre[:, None, None, None]
        distance = np.sqrt(((grid * np.array(_SPACING_MM)[:, None, None, None]) ** 2).sum(0))
        hu[liver & (distance < radius)] = level - draw.uniform(25, 60)


def _scan(hu: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Partial volume, shading and correlated noise."""
    hu = ndimage.gaussian_filter(hu, (0.4, 0.8, 0.8))
    tissue = hu > -300
    shading = draw.uniform(6, 14) * _smooth_noise(draw, 24.0)
    noise = draw.normal(0, 1, _SHAPE)
    noise = ndimage.gaussian_filter(noise, (0, 0.6, 0.6))
    noise *= draw.uniform(15, 24) / noise.std()
    result: np.ndarray = np.clip(hu + shading * tissue + noise, -1024, 3071)
    return result


def _smooth_noise(draw: np.random.Generator, voxels: float) -> np.ndarray:
    """Gaussian noise with this correlation length in plane, zero mean, unit deviation."""
    sigma = (voxels * _SPACING_MM[1] / _SPACING_MM[0], voxels, voxels)
    noise = ndimage.gaussian_filter(draw.normal(0, 1, _SHAPE), sigma, mode="wrap")
    result: np.ndarray = (noise - noise.mean()) / noise.std()
    return result


def _oblique_grid(
    draw: np.random.Generator,
) -> tuple[Float[np.ndarray, "4 4"], Integer[np.ndarray, "3"]]:
    """An oblique affine in mm, and the directions (1 or -1) of the file's axes against R, A, S;
    both drawn at random.
    """
    flips = np.array(_FLIPS[int(draw.integers(len(_FLIPS)))])
    tilt = np.deg2rad(draw.uniform(-8, 8, 3))
    (cx, cy, cz), (sx, sy, sz) = np.cos(tilt), np.sin(tilt)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    spacing = np.array(_SPACING_MM[::-1])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_y @ about_x @ np.diag(spacing * flips)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(_SHAPE[::-1]) - 1) / 2 + draw.uniform(-60, 60, 3)
    return affine, flips


def _to_file_order(
    array: Shaped[np.ndarray, "d h w"], flips: Integer[np.ndarray, "3"]
) -> Shaped[np.ndarray, "i j k"]:
    """(d, h, w), which run to S, P, L, along axes (x, y, z) that run to R, A, S; then in the file's
    own directions.
    """
    xyz = array.transpose(2, 1, 0)[::-1, ::-1, :]
    i, j, k = (slice(None, None, int(flip)) for flip in flips)
    return np.ascontiguousarray(xyz[i, j, k])
