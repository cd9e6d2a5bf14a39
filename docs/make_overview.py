"""The picture at the top of the README: few outlined slices in, a mask for every scan out.

    python docs/make_overview.py                 # runs `fewmask demo` first: some minutes
    python docs/make_overview.py --demo FOLDER   # of a demo that is there

Every scan in it is a phantom; no picture shows a person.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from scipy.ndimage import binary_erosion

from fewmask.io.image import read_labels, read_volume
from fewmask.io.run import RunFolder
from fewmask.synth.phantom import LABELS

PICTURE = Path(__file__).parent / "figures" / "overview.png"
SIDE = 92
GAP = 4
OUTLINED, DRAWN = 5, (5, 8)
"""Outlined slices shown; rows and columns of masks."""
YELLOW, BLUE = (255, 196, 0), (80, 170, 255)
WORDS = (110, 118, 129)
"""Read on a light and on a dark page."""
WINDOW_HU = (-160.0, 240.0)


def tile(
    grey: Float[np.ndarray, "h w"], mask: UInt8[np.ndarray, "h w"], colour: tuple[int, int, int]
) -> Image.Image:
    """A slice with the mask's border, and its inside a little coloured."""
    low, high = WINDOW_HU
    shown = np.clip((grey - low) / (high - low), 0, 1)[..., None] * [255.0, 255, 255]
    inside = mask > 0
    border = inside & ~binary_erosion(inside, iterations=2)
    shown[inside] = 0.75 * shown[inside] + 0.25 * np.array(colour)
    shown[border] = colour
    # The front of the patient is up, as in every viewer: h runs from front to back already.
    return Image.fromarray(shown.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def outlined(demo: Path) -> list[Image.Image]:
    """Slices of the run's budget."""
    slices = RunFolder.open(demo / "run").read_budget().slices[:OUTLINED]
    return [
        tile(
            read_volume(demo / "scans/images" / f"{case}.nii.gz").voxels[d].astype(float),
            (
                read_labels(demo / "scans/labels" / f"{case}.nii.gz").voxels[d] == LABELS["liver"]
            ).astype(np.uint8),
            YELLOW,
        )
        for case, d in slices
    ]


def drawn(demo: Path) -> list[Image.Image]:
    """Slices of predicted masks: of each scan at another height."""
    rows, columns = DRAWN
    paths = sorted((demo / "run/predictions").glob("*.nii.gz"))
    tiles = []
    for place in range(rows * columns):
        path = paths[place % len(paths)]
        mask = read_labels(path).voxels
        held = np.flatnonzero(mask.any((1, 2)))
        if not len(held):
            continue
        d = int(held[round((0.25 + 0.5 * (place * 0.618 % 1)) * (len(held) - 1))])
        grey = read_volume(demo / "scans/images" / path.name).voxels[d].astype(float)
        tiles.append(tile(grey, mask[d], BLUE))
    return tiles


def draw(demo: Path) -> Image.Image:
    """The whole picture, on no ground of its own."""
    rows, columns = DRAWN
    step, head = SIDE + GAP, 26
    left = step + 64
    canvas = Image.new("RGBA", (left + columns * step, head + rows * step), (0, 0, 0, 0))
    pen = ImageDraw.Draw(canvas)
    for row, picture in enumerate(outlined(demo)):
        canvas.paste(picture, (0, head + row * step))
    for place, picture in enumerate(drawn(demo)):
        row, column = divmod(place, columns)
        canvas.paste(picture, (left + column * step, head + row * step))
    middle = head + rows * step // 2
    pen.line((step + 8, middle, left - 16, middle), fill=WORDS, width=3)
    pen.polygon([(left - 16, middle - 7), (left - 16, middle + 7), (left - 6, middle)], fill=WORDS)
    pen.text((0, 4), "you outline", fill=WORDS, font_size=15)
    pen.text((left, 4), "fewmask draws, for every scan", fill=WORDS, font_size=15)
    return canvas


def main() -> None:
    """Run a demo unless one is named, then draw."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--demo", type=Path, help="folder of a `fewmask demo`")
    demo = asked.parse_args().demo
    with tempfile.TemporaryDirectory() as folder:
        if demo is None:
            demo = Path(folder) / "demo"
            subprocess.run([sys.executable, "-m", "fewmask", "demo", "--out", demo], check=True)  # noqa: S603 - our own
        draw(demo).quantize(128).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
