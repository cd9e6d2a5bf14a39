"""Small pictures of scans for the queue."""

import io

import numpy as np
from PIL import Image

from fewmask.core.colours import rgb_of
from fewmask.workbench.bench import Bench

_SIDE = 160


def draw_thumb(bench: Bench, case: str) -> bytes:
    """PNG of at most 160 x 160 pixels: the slice with most outline, with it, else the middle one.

    Raises `FewmaskError` for a scan that cannot be read.
    """
    info = bench.voxels.info(case)
    drawn = {
        d: bench.outlines.read(case, d).mask
        for d, state in bench.outlines.outlined(case).items()
        if state == "outlined"
    }
    d = max(drawn, key=lambda d: int(np.count_nonzero(drawn[d])), default=info.shape[0] // 2)
    low, _, high = (-160.0, 0.0, 240.0) if info.ct else info.percentiles
    values = bench.voxels.slice(case, 0, d) * info.scale + info.offset
    grey = np.clip((values - low) / max(high - low, 1e-20), 0, 1)
    picture = np.repeat((grey * 255).astype(np.uint8)[:, :, None], 3, 2)
    for number in range(1, len(bench.classes) + 1) if d in drawn else ():
        inside = drawn[d] == number
        picture[inside] = picture[inside] // 2 + np.array(rgb_of(number), np.uint8) // 2
    image = Image.fromarray(picture).resize(_size(info.shape[1:], info.spacing_mm[1:]))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _size(shape: tuple[int, int], spacing_mm: tuple[float, float]) -> tuple[int, int]:
    """(width, height) with true proportions."""
    height, width = shape[0] * spacing_mm[0], shape[1] * spacing_mm[1]
    scale = _SIDE / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))
