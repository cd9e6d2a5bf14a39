import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.core.errors import BadScan
from fewmask.core.volume import Grid, LabelMap, Orientation, Volume, scale_voxels

TURNS = [
    np.eye(3)[list(p)] * signs
    for p in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def _affine(
    turn: int, angles: list[float], spacing: list[float], origin: list[float]
) -> np.ndarray:
    """One of the 48 axis orders, tilted by small angles about x, y and z."""
    tilt = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [n for n in range(3) if n != axis]
        step = np.eye(3)
        step[[a, b, a, b], [a, b, b, a]] = (
            np.cos(angle),
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
        )
        tilt = tilt @ step
    affine = np.eye(4)
    affine[:3, :3] = tilt @ TURNS[turn] @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


AFFINES = st.builds(
    _affine,
    st.integers(0, 47),
    st.lists(st.floats(-0.3, 0.3), min_size=3, max_size=3),
    st.lists(st.floats(0.3, 8), min_size=3, max_size=3),
    st.lists(st.floats(-500, 500), min_size=3, max_size=3),
)


@settings(max_examples=200, deadline=None)
@given(AFFINES, st.tuples(*[st.integers(1, 5)] * 3))
def test_any_orientation_is_undone_exactly_and_keeps_world_positions(
    affine: np.ndarray, shape: tuple[int, int, int]
) -> None:
    array = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    volume = Volume.from_file_order(array, affine)
    np.testing.assert_array_equal(volume.grid.orientation.undo(volume.voxels), array)
    for value in (0, array.size // 2, array.size - 1):
        file_index = np.argwhere(array == value)[0]
        index = np.argwhere(volume.voxels == value)[0]
        np.testing.assert_allclose(
            volume.affine @ [*index, 1], affine @ [*file_index, 1], atol=1e-9
        )
    # d towards the head, h to the back, w to the left: each canonical axis follows its world axis
    # (tilts are below 45 degrees).
    directions = volume.affine[:3, :3] / volume.spacing_mm
    assert directions[2, 0] > 0.5
    assert directions[1, 1] < -0.5
    assert directions[0, 2] < -0.5
    np.testing.assert_allclose(np.linalg.norm(volume.affine[:3, :3], axis=0), volume.spacing_mm)


@pytest.mark.parametrize("turn", range(48))
def test_all_48_orientations_give_the_same_canonical_voxels(turn: int) -> None:
    canonical = np.arange(24).reshape(2, 3, 4)
    orientation = Orientation.of(_affine(turn, [0.1, -0.2, 0.05], [1, 2, 3], [0, 0, 0]))
    stored = orientation.undo(canonical)
    np.testing.assert_array_equal(orientation.apply(stored), canonical)
    file_axis = orientation.axes[0]
    for number in range(2):
        d = orientation.slice_index(number, 2)
        assert orientation.slice_index(d, 2) == number
        np.testing.assert_array_equal(
            np.sort(stored.take(number, file_axis).ravel()), np.sort(canonical[d].ravel())
        )


def test_the_48_orientations_are_different() -> None:
    found = {Orientation.of(_affine(turn, [0, 0, 0], [1, 1, 1], [0, 0, 0])) for turn in range(48)}
    assert len(found) == 48


def test_left_posterior_superior_files_keep_their_order() -> None:
    assert Orientation.of(np.diag([-1.0, -1.0, 2.0, 1.0])) == Orientation(
        (2, 1, 0), (False, False, False)
    )
    assert Orientation.of(np.diag([1.0, 1.0, 2.0, 1.0])) == Orientation(
        (2, 1, 0), (False, True, True)
    )


def test_slice_axis_is_the_one_nearest_superior() -> None:
    sagittal = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
    assert Orientation.of(sagittal).axes[0] == 1
    assert Orientation.of(sagittal).flips[0] is True


def test_spacing_corners_and_volume_by_hand() -> None:
    grid = Grid(
        (3, 2, 5), np.array([[0, 2.0, 0, 10], [1.0, 0, 0, 20], [0, 0, 4.0, 30], [0, 0, 0, 1]])
    )
    assert grid.spacing_mm == (1, 2, 4)
    np.testing.assert_array_equal(grid.corners_mm[0], [10, 20, 30])
    np.testing.assert_array_equal(grid.corners_mm[-1], [12, 22, 46])
    assert LabelMap.from_file_order(
        np.zeros((3, 2, 5), np.uint8), grid.affine
    ).voxel_ml == pytest.approx(0.008)
    moved = grid.affine.copy()
    moved[2, 3] += 3
    assert grid.distance_voxels(Grid(grid.shape, moved)) == 3


@given(AFFINES)
def test_grid_as_plain_data(affine: np.ndarray) -> None:
    grid = Grid((4, 5, 6), affine)
    back = Grid.from_dict(grid.as_dict())
    assert back.shape == grid.shape
    np.testing.assert_array_equal(back.affine, grid.affine)


@pytest.mark.parametrize(
    ("shape", "affine", "row"),
    [
        ((3, 0, 2), np.eye(4), "N12"),
        ((3, 1, 2), np.diag([1, 1, 0, 1.0]), "N19"),
        ((3, 1, 2), np.diag([1, 1, np.nan, 1.0]), "N19"),
        ((3, 1, 2), np.diag([1, 1, 1, 2.0]), "N19"),
    ],
)
def test_impossible_grids(shape: tuple[int, int, int], affine: np.ndarray, row: str) -> None:
    with pytest.raises(BadScan) as caught:
        Grid(shape, affine)
    assert caught.value.code == row


def test_voxels_must_be_the_grids() -> None:
    grid = Grid((3, 4, 5), np.eye(4))
    assert Volume(np.zeros((5, 4, 3), np.int16), grid).shape == (5, 4, 3)
    with pytest.raises(BadScan, match="the grid gives"):
        Volume(np.zeros((3, 4, 5), np.int16), grid)


@pytest.mark.parametrize("scaling", [(0.0, 0.0), (np.inf, 0.0), (1.0, np.nan)])
def test_scaling_that_cannot_be_applied(scaling: tuple[float, float]) -> None:
    with pytest.raises(BadScan):
        Volume(np.zeros((1, 1, 1), np.int16), Grid((1, 1, 1), np.eye(4)), *scaling)


def test_intensities() -> None:
    volume = Volume.from_file_order(
        np.arange(8, dtype=np.uint8).reshape(2, 2, 2), np.diag([-1.0, -1, 1, 1]), 2.0, -1000.0
    )
    np.testing.assert_array_equal(volume.intensities([1]), [[[-998, -990], [-994, -986]]])
    assert volume.intensities().dtype == np.float32
    stored = np.array([3, 5], np.int16)
    assert scale_voxels(stored, 1.0, 0.0).dtype == np.float32
    np.testing.assert_array_equal(stored, [3, 5])


def test_labels() -> None:
    voxels = np.zeros((4, 2, 2), np.uint8)
    voxels[1, 0, 0] = voxels[3, 1, 1] = 7
    grid = Grid((2, 2, 4), np.eye(4))
    label_map = LabelMap(grid.orientation.apply(grid.orientation.undo(voxels)), grid)
    assert label_map.outlined_slices() == [1, 3]
    with pytest.raises(BadScan, match="negative label -2"):
        LabelMap(voxels.astype(np.int8) - 2, grid)


def test_leading_axes_stay_in_front() -> None:
    orientation = Orientation((2, 0, 1), (True, False, True))
    array = np.arange(2 * 24).reshape(2, 2, 3, 4)
    turned = orientation.apply(array)
    assert turned.shape == (2, 4, 2, 3)
    np.testing.assert_array_equal(turned[1], orientation.apply(array[1]))
    np.testing.assert_array_equal(orientation.undo(turned), array)


@pytest.mark.parametrize(
    ("diagonal", "codes"), [((1.0, 1, 1), "RAS"), ((-1.0, -1, 1), "LPS"), ((-1.0, 1, -1), "LAI")]
)
def test_axis_codes(diagonal: tuple[float, float, float], codes: str) -> None:
    assert Grid((2, 3, 4), np.diag([*diagonal, 1.0])).axis_codes == codes


@pytest.mark.parametrize("turn", range(48))
def test_codes_and_file_order_are_nibabels(turn: int) -> None:
    affine = _affine(turn, [0.1, -0.2, 0.05], [1, 2, 3], [4, 5, 6])
    array = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    label_map = LabelMap.from_file_order(array, affine)
    assert label_map.grid.axis_codes == "".join(nib.aff2axcodes(affine))
    np.testing.assert_array_equal(label_map.to_file_order(), array)
    image = label_map.to_nibabel()
    np.testing.assert_array_equal(np.asarray(image.dataobj), array)
    np.testing.assert_allclose(image.affine, affine)
    assert image.get_data_dtype() == np.uint8 and image.header.get_xyzt_units()[0] == "mm"


def test_large_labels_keep_their_value_in_an_image() -> None:
    label_map = LabelMap.from_file_order(np.array([[[0, 300]]], np.int64), np.eye(4))
    assert np.asarray(label_map.to_nibabel().dataobj).tolist() == [[[0, 300]]]


def test_reprs_tell_what_it_is_without_voxels() -> None:
    affine = np.diag([-1.0, -2, 3, 1])
    labels = LabelMap.from_file_order(np.arange(24, dtype=np.uint8).reshape(2, 3, 4) % 3, affine)
    assert repr(labels) == (
        "LabelMap(shape: (4, 3, 2) (d, h, w); spacing: (3.00, 2.00, 1.00) mm; "
        "file: (2, 3, 4) LPS; voxels per label: 1: 8, 2: 8)"
    )
    assert repr(LabelMap(np.zeros((4, 3, 2), np.uint8), labels.grid)).endswith("LPS; empty)")
    volume = Volume(np.zeros((4, 3, 2), np.int16), labels.grid, 2.0, -1000.0)
    assert repr(volume) == (
        "Volume(shape: (4, 3, 2) (d, h, w); spacing: (3.00, 2.00, 1.00) mm; "
        "file: (2, 3, 4) LPS; dtype: int16; x 2 + -1000)"
    )
