"""Pictures: outlines are where the masks are, proportions those of the patient."""

import itertools

import numpy as np

from fewmask.core.colours import COLOURS, colour_of, rgb_of
from fewmask.report.outlines import path_of
from fewmask.report.pictures import BOX, PERSON, draw_box, outline, scale_to, show_slice

BLACK = np.zeros((20, 20, 3), np.uint8)


def test_outline_follows_the_mask() -> None:
    """A 10 x 10 square in a picture of the same size: its border, two pixels wide, and nothing
    else, is coloured.
    """
    picture, mask = BLACK.copy(), np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    outline(picture, mask, PERSON, "solid")
    coloured = (picture == PERSON).all(-1)
    wanted = mask.copy()
    wanted[7:13, 7:13] = False
    assert np.array_equal(coloured, wanted)
    outline(picture, mask, rgb_of(1), "dashed")
    dashes = (picture == rgb_of(1)).all(-1)
    assert 0 < dashes.sum() < wanted.sum() and not (dashes & ~wanted).any()


def test_an_empty_mask_draws_nothing() -> None:
    picture = BLACK.copy()
    outline(picture, np.zeros((20, 20), bool), PERSON, "solid")
    assert not picture.any()


def test_a_box_is_drawn_at_its_edges_and_clipped_to_the_picture() -> None:
    picture = BLACK.copy()
    draw_box(picture, (4.0, 6.0, 30.0, 12.0), BOX)
    assert (
        (picture[6, 4:20] == BOX).all()
        and (picture[12, 4:20] == BOX).all()
        and (picture[6:13, 4] == BOX).all()
    )
    assert not picture[8:11, 6:18].any()


def test_proportions_are_those_of_the_patient() -> None:
    assert scale_to(360, (100, 50), (1.0, 2.0)) == (360, 360)
    assert scale_to(360, (50, 100), (1.0, 1.0)) == (360, 180)
    assert show_slice(np.zeros((4, 8), np.float32), (16, 8)).shape == (8, 16, 3)


def _filled(path: str, shape: tuple[int, int]) -> np.ndarray:
    """Pixels inside a path by the even-odd rule: a line to the left crosses it an odd number of
    times.
    """
    inside = np.zeros(shape, bool)
    for loop in path.split("M")[1:]:
        start, *steps = loop.replace("z", "").replace("v", " v").replace("h", " h").split(" ")
        x, y = int(start), int(steps[0])
        for step in steps[1:]:
            if step[0] == "h":
                x += int(step[1:])
                continue
            low, high = sorted((y, y + int(step[1:])))
            inside[low:high, x:] ^= True
            y += int(step[1:])
        # The last corner goes straight back to the first.
        first = int(steps[0])
        low, high = sorted((y, first))
        inside[low:high, x:] ^= True
    return inside


def test_a_path_by_hand() -> None:
    mask = np.zeros((4, 5), bool)
    mask[1:3, 2:4] = True
    assert path_of(mask).count("M") == 1 and path_of(mask).count("z") == 1
    assert np.array_equal(_filled(path_of(mask), mask.shape), mask)
    assert path_of(np.zeros((4, 5), bool)) == ""


def test_paths_fill_the_very_mask() -> None:
    """With holes, parts that touch in a corner, and parts at the rim."""
    rng = np.random.default_rng(0)
    for share in (0.2, 0.5, 0.8):
        mask = rng.random((13, 17)) < share
        assert np.array_equal(_filled(path_of(mask), mask.shape), mask)


SIGHTS = {
    "normal": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                 [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
"""Machado, Oliveira and Fernandes 2009, on linear RGB."""


def _lab(colour: str, sight: str) -> np.ndarray:
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(SIGHTS[sight]) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(to_xyz) @ seen / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_colours_are_apart_for_every_eye() -> None:
    """20 in Lab is plain to see, 10 beside each other; a colour of its own is lighter than the
    black of a scan.
    """
    for sight in SIGHTS:
        seen = [_lab(colour, sight) for colour in COLOURS]
        apart = {
            pair: float(np.linalg.norm(seen[pair[0]] - seen[pair[1]]))
            for pair in itertools.combinations(range(len(seen)), 2)
        }
        assert min(apart.values()) > 12, (sight, min(apart, key=lambda pair: apart[pair]))
        assert min(far for pair, far in apart.items() if max(pair) < 8) > 20, sight
        assert min(lab[0] for lab in seen) > 25, sight
    assert colour_of(1) == colour_of(17) and rgb_of(1) == (255, 165, 30)
