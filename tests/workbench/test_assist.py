"""SAM's help: where a slice lies on its square, what is answered and when."""

import time

import numpy as np
import pytest
import torch

from fewmask.workbench.assist import NEAR, SIDE, Assist, Frame, NotReady

SPACING = (1.0, 1.0)


class Scans:
    """One scan of a bright disc in a grey body in air."""

    def __init__(self, depth=9, side=96) -> None:
        y, x = np.mgrid[:side, :side] + 0.5
        slice_ = np.zeros((side, side), np.float32)
        slice_[(y - side / 2) ** 2 + (x - side / 2) ** 2 < (0.42 * side) ** 2] = 0.4
        self.disc = (y - 40) ** 2 + (x - 52) ** 2 < 14**2
        slice_[self.disc] = 0.9
        self.slices = np.repeat(slice_[None], depth, 0)

    def grey(self, case, d):
        return self.slices[d]

    def depth(self, case):
        return len(self.slices)

    def pixel_mm(self, case):
        return SPACING

    def order(self):
        return []


@pytest.fixture(scope="module")
def scans():
    return Scans()


@pytest.fixture(scope="module")
def assist(scans, tmp_path_factory):
    one = Assist(scans, tmp_path_factory.mktemp("sam"))
    one.start()
    with pytest.raises(NotReady):
        one.answer("a", 4, [(38.0, 26.0, 66.0, 54.0)], [])
    for _ in range(600):
        if one.ready("a") >= 2 * NEAR + 1:
            break
        time.sleep(0.05)
    yield one
    one.close()


def dice(mask, truth) -> float:
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


def test_a_frame_cuts_air_away_and_keeps_the_shape_of_pixels() -> None:
    image = np.zeros((60, 100), np.float32)
    image[20:40, 30:70] = 1
    frame = Frame.of(image, (2.0, 1.0))  # 28 rows of 2 mm and 48 columns of 1 mm, margins too
    assert (frame.top, frame.left, frame.height, frame.width) == (16, 26, 28, 48)
    assert frame.rows == SIDE and frame.columns == round(48 * SIDE / 56)
    corner = frame.to_sam(torch.tensor([[26.0, 16.0], [74.0, 44.0]]))
    assert corner.tolist() == [[0, 0], [frame.columns, frame.rows]]
    placed = frame.place(image)
    assert placed.shape == (1, 1, SIDE, SIDE) and not placed[..., frame.columns :].any()


def test_a_slice_of_air_is_seen_whole() -> None:
    frame = Frame.of(np.zeros((10, 20), np.float32), SPACING)
    assert (frame.height, frame.width) == (10, 20)


def test_a_mask_comes_back_where_it_was() -> None:
    image = np.zeros((60, 100), np.float32)
    image[20:40, 30:70] = 1
    frame = Frame.of(image, SPACING)
    logits = frame.place(image)[0, 0] - 0.5
    assert dice(frame.restore(logits, image.shape), image > 0) > 0.97


def test_a_box_and_a_click_are_answered(assist, scans) -> None:
    boxed = assist.answer("a", 4, [(38.0, 26.0, 66.0, 54.0)], [])
    assert boxed.mask.dtype == np.uint8 and dice(boxed.mask > 0, scans.disc) > 0.9
    clicked = assist.answer("a", 4, [], [(52.0, 40.0, 1)])
    assert dice(clicked.mask > 0, scans.disc) > 0.8
    both = assist.answer("a", 4, [(38.0, 26.0, 66.0, 54.0), (2.0, 2.0, 6.0, 6.0)], [])
    assert (both.mask >= boxed.mask).all()  # each box on its own, all together


def test_neighbours_are_read_ahead_and_others_are_not(assist) -> None:
    assert assist.ready("a") == 2 * NEAR + 1  # of nine
    assert assist.answer("a", 4 + NEAR, [(38.0, 26.0, 66.0, 54.0)], []).mask.any()


def test_a_copied_outline_moves_a_little(assist, scans) -> None:
    moved = np.roll(scans.disc, 3, axis=1)
    fitted = assist.fit("a", 4, moved).mask > 0
    assert dice(fitted, scans.disc) > dice(moved, scans.disc)
    assert not assist.fit("a", 4, np.zeros_like(moved)).mask.any()


def test_embeddings_are_found_again(assist, scans, tmp_path) -> None:
    again = Assist(scans, assist._folder.parent)
    box = (38.0, 26.0, 66.0, 54.0)
    assert np.array_equal(
        again.answer("a", 4, [box], []).mask, assist.answer("a", 4, [box], []).mask
    )
    full = Assist(scans, tmp_path, limit_bytes=0)
    full.start()
    full.look("a", 0)
    for _ in range(200):
        if full._recall("a", 0) is not None:
            break
        time.sleep(0.05)
    full.close()
    assert full.ready("a") == 0 and full._recall("a", 0) is not None  # in memory alone
