"""Whole scans through a method whose answer is known: masks land on the scanner's grid, whatever
its orientation.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fewmask.core.batch import BatchSpec, Probabilities, Task
from fewmask.core.errors import BadConfig, NoRoom
from fewmask.core.recipe import Recipe
from fewmask.core.volume import Volume
from fewmask.io.nifti import read_labels
from fewmask.methods._method import Method
from fewmask.predict import Predictor
from fewmask.predict.windows import Windows
from fewmask.predict.work import write_prediction
from tests.narrow import required
from tests.prepare.test_intensity import OFFSET


class Bright(Method):
    """Says "structure" wherever the placed image is above one half, and prompts itself with the
    middle half of the image.
    """

    batch_spec = BatchSpec()

    def losses(self, batch, step):
        raise NotImplementedError

    def optimiser(self):
        raise NotImplementedError

    def predict(self, image):
        b, size = image.shape[0], image.shape[-1]
        box = torch.tensor([size / 4, size / 4, 3 * size / 4, 3 * size / 4])
        return self._answer(image, box.expand(b, 1, 4))

    def segment(self, image, boxes):
        return self._answer(image, boxes)

    def _answer(self, image, boxes):
        bright = (image[:, 0] > 0.5).float()
        grid = torch.arange(image.shape[-1]) + 0.5
        inside = (grid >= boxes[:, 0, 0, None]) & (grid < boxes[:, 0, 2, None])
        bright = bright * inside[:, None, :]
        b = image.shape[0]
        return Probabilities(
            torch.stack([1 - bright, bright], 1),
            present=torch.ones(b, 1),
            boxes=boxes,
            heat=torch.zeros(b, 1, 2, 2),
            no_prompt=torch.zeros(b, 1, dtype=torch.long),
        )


UPRIGHT = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Rows and columns of the file are those of the patient."""
SHAPE = (5, 12, 16)
RECIPE = Recipe("ct", "ct", window_hu=(0.0, 100.0), spacing_mm=1.0, size=16)


def predictor(recipe: Recipe = RECIPE) -> Predictor:
    return Predictor(
        Bright(), recipe, Task(("organ",), 16), torch.device("cpu"), bf16=False, batch=2
    )


def scan(axes: tuple[int, int, int], flips: tuple[int, int, int]) -> tuple[Volume, np.ndarray]:
    """The same patient stored in another file order; also the world positions of its
    bright voxels.
    """
    patient = np.zeros(SHAPE, np.int16)  # (S, P, L)
    patient[1:3, 4:7, 5:9] = 100
    to_world = np.array([[0, 0, -1, 40.0], [0, -1, 0, 30.0], [2.5, 0, 0, -7.0], [0, 0, 0, 1]])
    array = patient.transpose(axes)
    affine = np.eye(4)
    affine[:, 3] = to_world[:, 3]
    for new, old in enumerate(axes):
        affine[:3, new] = to_world[:3, old]
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
            array = np.flip(array, axis)
    return Volume.from_file_order(np.ascontiguousarray(array), affine), array


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_mask_is_the_same_patient_in_all_48_file_orders(axes) -> None:
    for flips in itertools.product((0, 1), (0, 1), (0, 1)):
        volume, array = scan(axes, flips)
        prediction = predictor().volume(volume)
        stored = volume.grid.orientation.undo(prediction.label_map.voxels)
        assert np.array_equal(stored, (array > 50).astype(np.uint8))


FILES = given(
    st.permutations(range(3)),
    st.tuples(*[st.integers(0, 1)] * 3),
    st.tuples(*[st.floats(-0.3, 0.3)] * 3),
    st.floats(0.5, 8),
    st.integers(0, 2**32 - 1),
)


@settings(max_examples=40, deadline=None)
@FILES
def test_turning_the_file_turns_the_mask_and_nothing_else(axes, flips, angles, mm, seed) -> None:
    check_turned(axes, flips, angles, mm, seed)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@FILES
def test_turning_200_files_turns_the_mask_and_nothing_else(axes, flips, angles, mm, seed) -> None:
    check_turned(axes, flips, angles, mm, seed)


def check_turned(axes, flips, angles, mm, seed) -> None:
    """Of any scan, tilted and wherever it lies, in any of 48 file orders: the same mask, to the
    voxel, as of the file as it was.
    """
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 101, SHAPE[::-1]).astype(np.int16)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles).as_matrix() @ np.diag([-1, -1, mm])
    affine[:3, 3] = rng.uniform(-400, 400, 3)
    upright = predictor().volume(Volume.from_file_order(array, affine)).label_map.to_file_order()
    assert 0 < upright.sum() < upright.size
    turn = np.eye(4)[[*axes, 3]].T  # turned index -> index
    for axis, flip in enumerate(flips):
        if flip:
            turn[:3, 3] += turn[:3, axis] * (array.shape[axes[axis]] - 1)
            turn[:3, axis] *= -1
    flipped = tuple(axis for axis, flip in enumerate(flips) if flip)
    turned = np.flip(array.transpose(axes), flipped).copy()
    mask = predictor().volume(Volume.from_file_order(turned, affine @ turn)).label_map
    assert np.array_equal(mask.to_file_order(), np.flip(upright.transpose(axes), flipped))


def test_written_mask_has_the_scans_grid(tmp_path) -> None:
    volume, array = scan((2, 1, 0), (1, 0, 1))
    write_prediction(tmp_path, "case", predictor().volume(volume))
    back = read_labels(tmp_path / "case.nii.gz")
    assert np.allclose(back.grid.affine, volume.grid.affine, atol=1e-5)
    assert np.array_equal(back.grid.orientation.undo(back.voxels), (array > 50).astype(np.uint8))
    assert (tmp_path / "case.prompts.json").exists()


def test_prompts_are_reported_on_the_scans_pixels() -> None:
    """12 x 16 pixels sit centred in 16 x 16, so rows shift by 2 and the box (4, 4, 12, 12) becomes
    (4, 2, 12, 10).
    """
    volume, _ = scan((0, 1, 2), (0, 0, 0))
    prompts = required(predictor().volume(volume).prompts)
    assert [line["d"] for line in prompts["slices"]] == [0, 1, 2, 3, 4]
    assert prompts["slices"][0]["boxes_raw"] == [[4.0, 2.0, 12.0, 10.0]]
    for flipped, slices in ((0, [0, 1, 2, 3, 4]), (1, [4, 3, 2, 1, 0])):
        volume, _ = scan((0, 1, 2), (flipped, 0, 0))
        prompts = required(predictor().volume(volume).prompts)
        assert [line["slice"] for line in prompts["slices"]] == slices, "as the file counts"


def test_oracle_boxes_arrive_in_the_networks_frame() -> None:
    volume, _ = scan((0, 1, 2), (0, 0, 0))
    boxes = np.full((5, 1, 4), np.nan)
    boxes[1] = (6.0, 0.0, 8.0, 12.0)
    mask = predictor().volume_with_boxes(volume, boxes).label_map.voxels
    assert [int(s) for s in mask.sum((1, 2))] == [0, 3 * 2, 0, 0, 0]


def test_coarser_network_grid_keeps_the_place() -> None:
    recipe = Recipe("ct", "ct", window_hu=(0.0, 100.0), spacing_mm=2.0, size=16)
    volume, _ = scan((2, 1, 0), (0, 0, 0))
    mask = predictor(recipe).volume(volume).label_map.voxels
    centre = np.argwhere(mask).mean(0)
    assert np.allclose(centre, (1.5, 5.0, 6.5), atol=0.6)


class Levels(Method):
    """Says the class whose grey level, a thirteenth more per class, is nearest; by slices or by
    patches.
    """

    def __init__(self, patch):
        super().__init__()
        self.batch_spec = BatchSpec(patch=patch)

    def losses(self, batch, step):
        raise NotImplementedError

    def optimiser(self):
        raise NotImplementedError

    def predict(self, image):
        levels = torch.arange(14).view(1, -1, *[1] * (image.ndim - 2)) / 13
        return Probabilities(torch.softmax(-1000 * (image - levels) ** 2, 1))


@pytest.mark.parametrize("patch", [None, (16, 16, 16)])
def test_thirteen_organs_keep_their_numbers(patch, tmp_path) -> None:
    """Organ k is a bar of its own in rows 2k and 2k + 1, and stays organ k on a scan that is stored
    upside down.
    """
    organs = np.zeros((10, 28, 20), np.uint8)
    organs[2:8, :, 3:15] = np.repeat(np.arange(14), 2)[None, :, None]
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    upside_down = np.ascontiguousarray(np.flip(organs, 0).transpose(2, 1, 0))
    affine[:3, 2] *= -1
    volume = Volume.from_file_order(np.round(upside_down * (100 / 13)).astype(np.int16), affine)
    task = Task(tuple(f"organ {number}" for number in range(1, 14)), 32)
    recipe = Recipe("ct", "ct", window_hu=(0.0, 100.0), spacing_mm=1.0, size=32)
    prediction = Predictor(
        Levels(patch), recipe, task, torch.device("cpu"), bf16=False, batch=2
    ).volume(volume)
    write_prediction(tmp_path, "case", prediction)
    back = read_labels(tmp_path / "case.nii.gz")
    assert np.array_equal(back.voxels, organs)
    assert np.array_equal(back.grid.orientation.undo(back.voxels), upside_down)


@pytest.mark.parametrize("shape", [(10, 28, 20), (3, 40, 28), (2, 17, 33), (1, 16, 16)])
def test_a_scan_wider_than_the_grid_is_segmented_whole(shape) -> None:
    """Thirteen levels in random pixels, windows of 16: no pixel is left out, and none is moved."""
    levels = np.random.default_rng(0).integers(0, 14, shape).astype(np.uint8)
    grey = np.round(levels * (100 / 13)).astype(np.int16)
    volume = Volume.from_file_order(grey.transpose(2, 1, 0), UPRIGHT)
    task = Task(tuple(f"organ {number}" for number in range(1, 14)), 16)
    found = Predictor(Levels(None), RECIPE, task, torch.device("cpu"), bf16=False).volume(volume)
    if 17 in shape:  # one row more than the grid: no window for it, it takes its neighbour's answer
        levels[:, 16] = levels[:, 15]
    assert np.array_equal(found.label_map.voxels, levels)
    count = {(28, 20): 4, (40, 28): 6, (17, 33): 3, (16, 16): 1}[shape[1:]]
    said = [note for note in found.notes if "windows" in note]
    assert said == [] if count == 1 else f" {count} overlapping windows" in said[0]


@pytest.mark.parametrize("patch", [None, (4, 16, 16)])
def test_a_ct_run_tells_of_numbers_that_are_no_hounsfield_units(patch) -> None:
    """In 2D and 3D, and of an MR run nothing."""
    task = Task(tuple(f"organ {number}" for number in range(1, 14)), 16)
    for recipe, said in ((RECIPE, ["`intensity=offset`"]), (replace(RECIPE, modality="mr"), [])):
        network = Predictor(Levels(patch), recipe, task, torch.device("cpu"), bf16=False)
        notes = network.volume(Volume.from_file_order(OFFSET, UPRIGHT)).notes
        assert [words in note for words, note in zip(said, notes, strict=True)] == [True] * len(
            said
        )


def test_a_3d_method_leaves_no_part_of_a_wide_long_fine_scan_out() -> None:
    """Patches of 8 on a scan of 2 mm pixels before a recipe of 1 mm: 50 x 66 of the network's, all
    of one level.
    """
    volume = Volume.from_file_order(
        np.full((33, 25, 19), 100, np.int16), np.diag([-2.0, -2.0, 1.0, 1.0])
    )
    task = Task(tuple(f"organ {number}" for number in range(1, 14)), 16)
    levels = Predictor(Levels((8, 8, 8)), RECIPE, task, torch.device("cpu"), bf16=False)
    assert (levels.volume(volume).label_map.voxels == 13).all()


def test_oracle_boxes_are_cut_by_windows() -> None:
    """Columns 10 to 20 are asked for, of 28 under windows at 0 and 12: whatever each sees of them
    comes, and the box is told whole.
    """
    grey = np.full((1, 16, 28), 100, np.int16)
    boxes = np.array([[[10.0, 0, 20, 16]]])
    found = predictor().volume_with_boxes(
        Volume.from_file_order(grey.transpose(2, 1, 0), UPRIGHT), boxes
    )
    columns = np.flatnonzero(found.label_map.voxels[0].all(0))
    line = required(found.prompts)["slices"][0]
    assert columns.tolist() == list(range(10, 20))
    assert (line["boxes_raw"], line["windows"]) == ([[10.0, 0.0, 20.0, 16.0]], 2)


class Doubtful(Bright):
    """Answers for the whole slice if it judges it present: the slice's mean grey level is its
    P(present).
    """

    neighbours = 2.0
    asked: int = 0

    def predict(self, image):
        return self.predict_present(image, image.mean((2, 3)) >= 0.5)

    def predict_present(self, image, present):
        self.asked += len(image)
        b, size = len(image), image.shape[-1]
        box = torch.where(present[..., None], torch.tensor([0.0, 0, size, size]), torch.nan)
        there = present[:, 0, None, None].float().expand(b, size, size)
        probs = torch.stack([1 - there, there], 1)
        return Probabilities(
            probs,
            image.mean((2, 3)),
            box,
            torch.zeros(b, 1, 2, 2),
            torch.zeros(b, 1, dtype=torch.long),
        )


@pytest.mark.parametrize(
    ("neighbours", "expected", "asked"),
    [(0.0, [0, 1, 0, 1, 1, 0, 1, 0, 0], 9), (2.0, [0, 1, 1, 1, 1, 0, 0, 0, 0], 11)],
)
def test_neighbours_overrule_a_slice_and_only_that_is_asked_again(
    neighbours, expected, asked
) -> None:
    """Log-odds of 0.9 are 2.2, of 0.3 -0.85, of 0.02 -3.9: the gap is filled, the lone slice of 0.7
    is not believed.
    """
    levels = [0.02, 0.9, 0.3, 0.9, 0.9, 0.02, 0.7, 0.02, 0.02]
    voxels = np.stack([np.full((16, 16), round(100 * level), np.int16) for level in levels])
    method = Doubtful()
    method.neighbours = neighbours
    recipe = Recipe("ct", "ct", window_hu=(0.0, 100.0), spacing_mm=1.0, size=16)
    asking = Predictor(
        method, recipe, Task(("organ",), 16), torch.device("cpu"), bf16=False, batch=2
    )
    found = asking.volume(Volume.from_file_order(voxels.transpose(2, 1, 0), np.eye(4)))
    masks = found.label_map.voxels
    assert (
        masks.any((1, 2)).astype(int).tolist() == expected == masks.all((1, 2)).astype(int).tolist()
    )
    assert method.asked == asked
    assert found.prompts is not None
    assert [line["boxes_raw"][0] is not None for line in found.prompts["slices"]] == [
        bool(n) for n in expected
    ]
    assert [line["d"] for line in found.prompts["slices"]] == list(range(9))


@pytest.mark.parametrize(("side", "columns"), [(90, 28), (0, 14)])
def test_a_slice_that_is_overruled_holds_it_in_its_surest_window(side, columns) -> None:
    """28 columns under windows at 0 and 12. Slice 1 is silent in both (0.40 and 0.30) between two
    that are not: its left window alone is made to answer, and has more weight than the right one in
    columns 12 and 13. Whatever its neighbours' right windows say (0.90, or 0) stays.
    """
    voxels = np.full((3, 16, 28), 90, np.int16)
    voxels[1, :, :16], voxels[1, :, 16:] = 40, 27
    voxels[[0, 2], :, 12:] = side
    recipe = Recipe("ct", "ct", window_hu=(0.0, 100.0), spacing_mm=1.0, size=16)
    method = Doubtful()
    asking = Predictor(
        method, recipe, Task(("organ",), 16), torch.device("cpu"), bf16=False, batch=2
    )
    found = asking.volume(Volume.from_file_order(voxels.transpose(2, 1, 0), UPRIGHT))
    shown = [np.flatnonzero(mask.all(0)).tolist() for mask in found.label_map.voxels]
    assert shown == [list(range(n)) for n in (columns, 14, columns)]
    assert method.asked == 2 * (3 + 1)


class Blocks(Bright):
    """The same in 3D, and how many windows it was asked for at a time."""

    batch_spec = BatchSpec(patch=(2, 8, 8))

    def __init__(self):
        super().__init__()
        self.asked = []

    def predict(self, image):
        self.asked.append(len(image))
        bright = (image[:, 0] > 0.5).float()
        return Probabilities(torch.stack([1 - bright, bright], 1))


@pytest.mark.parametrize(
    ("windows", "asked"), [(None, [2, 2, 2]), (1, [1] * 6), (4, [4, 2]), (9, [6])]
)
def test_windows_are_asked_for_as_many_at_a_time_as_is_said(windows, asked) -> None:
    """12 x 16 pixels under windows of 8, half a window apart: 2 x 3 of them per row of slices, 4
    rows of 2 slices.
    """
    volume, array = scan((0, 1, 2), (0, 0, 0))
    found = Predictor(Blocks(), RECIPE, Task(("organ",), 16), torch.device("cpu"), bf16=False)
    if windows is not None:
        found = found.with_windows(batch=windows)
    labels = found.volume(volume).label_map
    assert found.method.asked == asked * 4
    assert np.array_equal(
        volume.grid.orientation.undo(labels.voxels), (array > 50).astype(np.uint8)
    )


def test_other_windows_make_another_predictor() -> None:
    """The network is shared, what is not named stays, and the first predictor is as it was."""
    plain = Predictor(Blocks(), RECIPE, Task(("organ",), 16), torch.device("cpu"), bf16=False)
    strided = plain.with_windows(stride=(1, 4, 8), gaussian=True)
    both = strided.with_windows(batch=5)
    assert both.windows == Windows((2, 8, 8), (1, 4, 8), gaussian=True, batch=5)
    assert plain.windows == Windows((2, 8, 8)) and both.method is plain.method
    with pytest.raises(BadConfig, match="leaves gaps"):
        plain.with_windows(stride=(1, 9, 8))
    with pytest.raises(BadConfig, match="for 3D methods"):
        predictor().with_windows(batch=5)


@pytest.mark.parametrize(("patch", "fix"), [(None, ""), ((4, 8, 8), "make `windows` smaller")])
def test_f07_memory_that_does_not_suffice_is_told_in_words(monkeypatch, patch, fix) -> None:
    def full(image):
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = predictor()
    model.windows = patch and Windows(patch)
    monkeypatch.setattr(model.method, "predict", full)
    with pytest.raises(NoRoom, match="memory is full") as caught:
        model.volume(scan((0, 1, 2), (0, 0, 0))[0])
    assert (caught.value.code, caught.value.fix) == ("F07", fix)
