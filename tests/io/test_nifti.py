import errno
import gzip
import itertools
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fewmask.core.errors import BadConfig, BadScan, FewmaskError, NoRoom
from fewmask.core.volume import LabelMap, Volume
from fewmask.io import memory, stream
from fewmask.io.image import case_id_of, is_image
from fewmask.io.nifti import (
    ReadOptions,
    is_prediction,
    read_grid,
    read_labels,
    read_volume,
    write_labels,
    write_volume,
)
from fewmask.io.same_grid import check_same_grid
from fewmask.io.stream import sha256
from fewmask.version import __version__

from ..faults.corpus import AFFINE, LABELS, SHAPE, VOXELS, nifti_bytes, pack

TURNS = [
    np.eye(3)[list(p)] * signs
    for p in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def _write(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE, **fields: object) -> Path:
    path.write_bytes(nifti_bytes(array, affine, fields=fields))
    return path


def _oblique(degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    turn = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.7, -0.7, 5.0])
    affine[:3, 3] = 171.25, 140.5, -412.125
    return affine


def test_voxels_scaling_and_frame(tmp_path: Path) -> None:
    volume = read_volume(_write(tmp_path / "a.nii", VOXELS, scl_slope=0.5, scl_inter=-1024))
    assert volume.voxels.dtype == np.int16
    assert (volume.slope, volume.inter) == (0.5, -1024.0)
    # File axes run left, front, top: w runs left as i does, h runs to the back against j, d upwards
    # as k.
    assert volume.shape == (4, 5, 6)
    assert volume.spacing_mm == (3.0, 1.5, 1.5)
    assert volume.voxels[1, 0, 2] == VOXELS[2, 4, 1]
    assert volume.intensities()[1, 0, 2] == VOXELS[2, 4, 1] * 0.5 - 1024
    np.testing.assert_array_equal(volume.grid.affine, AFFINE)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "f4"])
@pytest.mark.parametrize("big", [False, True])
def test_stored_types_come_as_they_are(tmp_path: Path, dtype: str, big: bool) -> None:
    high = np.iinfo(dtype).max if dtype != "f4" else 1e-6
    array = np.zeros(SHAPE, dtype)
    array[1, 2, 3] = high
    (tmp_path / "a.nii.gz").write_bytes(pack(nifti_bytes(array, big=big)))
    volume = read_volume(tmp_path / "a.nii.gz")
    assert volume.voxels.dtype == np.dtype(dtype)
    assert volume.voxels.dtype.isnative
    np.testing.assert_array_equal(volume.grid.orientation.undo(volume.voxels), array)


@pytest.mark.parametrize(
    ("dtype", "high", "becomes"),
    [
        ("f8", 0.1, "f4"),
        ("i8", 40000, "i4"),
        ("i8", -(2**31), "i4"),
        ("u8", 2**32 - 1, "u4"),
        ("i8", 2**31, "u4"),
    ],
)
def test_64_bits_become_32_where_they_fit(
    tmp_path: Path, dtype: str, high: float, becomes: str
) -> None:
    array = np.zeros(SHAPE, dtype)
    array[1, 2, 3] = high
    voxels = read_volume(_write(tmp_path / "a.nii", array)).voxels
    assert voxels.dtype == np.dtype(becomes)
    assert voxels.sum() == np.dtype(becomes).type(high)


@pytest.mark.parametrize("high", [2**32, 2**63])
def test_64_bits_that_do_not_fit_are_refused(tmp_path: Path, high: int) -> None:
    array = np.zeros(SHAPE, np.uint64)
    array[0, 0, 0] = high
    with pytest.raises(BadScan, match="32 bits"):
        read_volume(_write(tmp_path / "a.nii", array))


def test_chosen_volume_of_a_4d_image(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.nii", np.stack([VOXELS, VOXELS + 1, VOXELS * 2], -1))
    volume = read_volume(path, ReadOptions(volume=2))
    np.testing.assert_array_equal(volume.grid.orientation.undo(volume.voxels), VOXELS * 2)


def test_2d_image_is_one_slice(tmp_path: Path) -> None:
    volume = read_volume(_write(tmp_path / "a.nii", VOXELS[:, :, 0]))
    assert volume.shape == (1, 5, 6)


def test_pair_and_nifti2_equal_the_single_file(tmp_path: Path) -> None:
    data = nifti_bytes(VOXELS, fields={"magic": b"ni1", "vox_offset": 0})
    (tmp_path / "p.hdr").write_bytes(data[:348])
    (tmp_path / "p.img.gz").write_bytes(gzip.compress(data[352:]))
    (tmp_path / "two.nii").write_bytes(nifti_bytes(VOXELS, two=True))
    one = read_volume(_write(tmp_path / "one.nii", VOXELS))
    for path in (tmp_path / "p.hdr", tmp_path / "p.img.gz", tmp_path / "two.nii"):
        other = read_volume(path)
        np.testing.assert_array_equal(other.voxels, one.voxels)
        np.testing.assert_array_equal(other.grid.affine, one.grid.affine)
        assert read_grid(path).shape == SHAPE


def test_trust_spacing_units_and_assumption(tmp_path: Path) -> None:
    moved = AFFINE.copy()
    moved[0, 3] += 30
    both = _write(tmp_path / "both.nii", VOXELS, srow_x=moved[0])
    np.testing.assert_allclose(read_grid(both, ReadOptions(trust="sform")).affine, moved)
    np.testing.assert_allclose(
        read_grid(both, ReadOptions(trust="qform")).affine, AFFINE, atol=1e-6
    )
    flat = _write(tmp_path / "flat.nii", VOXELS, pixdim=[-1, 0, 0, 0, 0, 0, 0, 0])
    assert read_grid(flat, ReadOptions(spacing_mm=(2.0, 2.0, 4.0))).spacing_mm == pytest.approx(
        (2, 2, 4)
    )
    metres = _write(tmp_path / "m.nii", VOXELS, np.diag([0.002, 0.002, 0.005, 1]), xyzt_units=1)
    assert read_grid(metres).spacing_mm == pytest.approx((2, 2, 5))
    bare = _write(tmp_path / "bare.nii", VOXELS, sform_code=0, qform_code=0)
    np.testing.assert_array_equal(
        read_grid(bare, ReadOptions(assume_ras=True)).affine, np.diag([1.5, 1.5, 3, 1])
    )


def test_few_nonfinite_voxels_become_the_smallest(tmp_path: Path) -> None:
    array = np.arange(4000, dtype=np.float32).reshape(20, 20, 10) + 5
    array[3, 3, 3] = np.inf
    volume = read_volume(_write(tmp_path / "a.nii", array), ReadOptions(fix_nonfinite=True))
    assert volume.grid.orientation.undo(volume.voxels)[3, 3, 3] == 5


@pytest.mark.parametrize("turn", range(48))
def test_masks_go_back_onto_any_orientation(tmp_path: Path, turn: int) -> None:
    affine = np.eye(4)
    affine[:3, :3] = _oblique(7.0)[:3, :3] @ TURNS[turn]
    affine[:3, 3] = 12.5, -80.25, 400.75
    scan = read_volume(_write(tmp_path / "scan.nii", VOXELS, affine))
    mask = LabelMap((scan.voxels % 5 == 0).astype(np.uint8), scan.grid)
    write_labels(tmp_path / "mask.nii.gz", mask)
    other = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(other.dataobj), VOXELS % 5 == 0)
    np.testing.assert_allclose(
        other.affine, nib.load(tmp_path / "scan.nii").affine, rtol=0, atol=1e-6
    )
    back = read_labels(tmp_path / "mask.nii.gz")
    assert (
        check_same_grid(scan.grid, back.grid, tmp_path / "scan.nii", tmp_path / "mask.nii.gz") == ()
    )
    assert back.notes == ()


@pytest.mark.parametrize("degrees", [0, 1e-3, 0.01, 0.05, 0.3, 3, 30, 89.99, 179.97, 180])
def test_geometry_near_half_turns_is_written_so_that_it_reads_back(
    tmp_path: Path, degrees: float
) -> None:
    grid = Volume.from_file_order(
        np.broadcast_to(np.array([[[1, 2]]], np.int16), (512, 512, 2)), _oblique(degrees)
    ).grid
    mask = LabelMap(np.zeros((2, 512, 512), np.uint8), grid) if degrees in (0, 1e-3) else None
    mask = mask or LabelMap.from_file_order(np.zeros((512, 512, 2), np.uint8), grid.affine)
    write_labels(tmp_path / "m.nii.gz", mask)
    image = nib.load(tmp_path / "m.nii.gz")
    assert read_grid(tmp_path / "m.nii.gz").distance_voxels(grid) < 1e-3
    if int(image.header["qform_code"]):
        corners = (
            np.array([[511, 511, 1, 1.0]]) @ (image.header.get_qform() - image.header.get_sform()).T
        )
        assert np.abs(corners).max() < 0.1


def test_qform_of_others_near_half_turns_is_not_called_a_contradiction(tmp_path: Path) -> None:
    for degrees in (179.95, 179.99, 180.02):
        path = _write(
            tmp_path / "a.nii",
            np.broadcast_to(np.array([[[1, 2]]], np.int16), (512, 512, 2)),
            _oblique(degrees),
        )
        read_grid(path)


def test_output_header_holds_nothing_else(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "scan.nii",
        VOXELS,
        descrip=b"DOE^JANE",
        db_name=b"1234567",
        aux_file=b"secret",
        intent_name=b"doe",
    )
    write_labels(tmp_path / "mask.nii", LabelMap.from_file_order(LABELS, read_grid(path).affine))
    header = nib.load(tmp_path / "mask.nii").header
    assert header["descrip"].item() == f"fewmask {__version__}".encode()
    for name in ("db_name", "aux_file", "intent_name", "data_type"):
        assert header[name].item() == b""
    assert header.get_data_dtype() == np.uint8
    assert header.get_xyzt_units() == ("mm", "unknown")
    assert not header.extensions


def test_same_mask_same_bytes(tmp_path: Path) -> None:
    mask = LabelMap.from_file_order(LABELS, AFFINE)
    write_labels(tmp_path / "a.nii.gz", mask)
    write_labels(tmp_path / "b.nii.gz", mask)
    assert sha256(tmp_path / "a.nii.gz") == sha256(tmp_path / "b.nii.gz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz"]


@pytest.mark.parametrize(
    ("high", "dtype"), [(0, "u1"), (255, "u1"), (256, "u2"), (65535, "u2"), (65536, "u4")]
)
def test_labels_survive_in_the_smallest_type(tmp_path: Path, high: int, dtype: str) -> None:
    array = np.zeros(SHAPE, np.int64)
    array[1, 2, 3] = high
    write_labels(tmp_path / "a.nii", LabelMap.from_file_order(array, AFFINE))
    back = read_labels(tmp_path / "a.nii")
    assert back.voxels.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(back.grid.orientation.undo(back.voxels), array)


def test_scan_round_trip_keeps_type_and_scaling(tmp_path: Path) -> None:
    volume = Volume.from_file_order(VOXELS, _oblique(12), slope=0.25, inter=-1024.0)
    write_volume(tmp_path / "a.nii.gz", volume)
    back = read_volume(tmp_path / "a.nii.gz")
    assert back.voxels.dtype == np.int16 and (back.slope, back.inter) == (0.25, -1024.0)
    np.testing.assert_array_equal(back.voxels, volume.voxels)


def test_sheared_grid_goes_back_exactly(tmp_path: Path) -> None:
    affine = AFFINE.copy()
    affine[1, 2] = 1.25
    write_labels(tmp_path / "a.nii", LabelMap.from_file_order(LABELS, affine))
    np.testing.assert_array_equal(read_grid(tmp_path / "a.nii").affine, affine)
    np.testing.assert_array_equal(np.asanyarray(nib.load(tmp_path / "a.nii").dataobj), LABELS)


def test_writing_elsewhere_than_nifti_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"\.nii"):
        write_labels(tmp_path / "a.png", LabelMap.from_file_order(LABELS, AFFINE))
    assert list(tmp_path.iterdir()) == []


def test_file_that_changes_while_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write(tmp_path / "a.nii", VOXELS)
    finish = stream.Stream.finish

    def grow(self: stream.Stream) -> int:
        found = finish(self)
        with path.open("ab") as file:
            file.write(b"x")
        return found

    monkeypatch.setattr(stream.Stream, "finish", grow)
    with pytest.raises(BadScan, match="changed during reading") as caught:
        read_volume(path)
    assert caught.value.code == "N48"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_unreadable_file_is_the_machines_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = _write(tmp_path / "a.nii", VOXELS)

    def fail(self: Path, *_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(NoRoom) as caught:
        read_volume(path)
    assert (caught.value.exit_code, caught.value.code) == (4, "N47")
    assert "a.nii" in str(caught.value)


def test_image_larger_than_memory_is_refused_with_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _write(tmp_path / "a.nii", VOXELS)
    monkeypatch.setattr(memory, "available_bytes", lambda: 100)
    with pytest.raises(NoRoom, match="GiB of memory"):
        read_volume(path)


@pytest.mark.parametrize(
    ("name", "case", "nifti"),
    [
        ("a.nii.gz", "a", True),
        ("A.NII", "A", True),
        ("liver_001_0000.nii.gz", "liver_001", True),
        ("a.b.nii", "a.b", True),
        ("_0000.nii", "_0000", True),
        ("a.hdr", "a", True),
        ("a.img", "a", False),
        ("a.png", "a.png", False),
        ("._a.nii.gz", "._a", False),
    ],
)
def test_names(name: str, case: str, nifti: bool) -> None:
    assert case_id_of(Path("x") / name) == case
    assert is_image(Path("x") / name) is nifti


def test_no_torch() -> None:
    code = (
        "import sys, fewmask.io.nifti, fewmask.io.lock, fewmask.io.tables; sys.exit('torch' in "
        "sys.modules)"
    )
    path = os.pathsep.join(
        filter(None, [str(Path(memory.__file__).parents[2]), os.environ.get("PYTHONPATH")])
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}
        ).returncode
        == 0
    )


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(["<", ">"]),
    st.sampled_from(
        [
            "dim",
            "pixdim",
            "datatype",
            "bitpix",
            "vox_offset",
            "scl_slope",
            "scl_inter",
            "xyzt_units",
            "magic",
        ]
    )
    | st.sampled_from(
        ["qform_code", "sform_code", "quatern_b", "quatern_d", "qoffset_x", "srow_x", "srow_z"]
    ),
    st.integers(0, 2**31),
)
def test_what_we_accept_nibabel_reads_the_same(
    tmp_path: Path, order: str, name: str, seed: int
) -> None:
    data = bytearray(nifti_bytes(VOXELS.astype(np.float32), big=order == ">"))
    dtype, offset = nib.nifti1.header_dtype.fields[name][:2]
    index = offset + seed % dtype.itemsize
    data[index] = (seed // 97) % 256
    path = tmp_path / "a.nii"
    path.write_bytes(bytes(data))
    try:
        volume = read_volume(path)
    except FewmaskError:
        return
    if any(note.startswith(("N17", "N29")) for note in volume.notes):
        return
    other = nib.load(path)
    np.testing.assert_allclose(volume.grid.affine, other.affine, rtol=1e-5, atol=1e-4)
    ours = volume.grid.orientation.undo(volume.intensities())
    np.testing.assert_allclose(
        ours, np.asanyarray(other.dataobj).reshape(ours.shape), rtol=1e-5, atol=1e-5
    )


def test_real_scans_and_masks_share_their_grids() -> None:
    if not os.environ.get("FEWMASK_DATA"):
        pytest.skip("FEWMASK_DATA is not set: the real scans are not here")
    folder = Path(os.environ["FEWMASK_DATA"])
    pairs = [
        (image, image.parents[1] / "labels" / image.name)
        for image in sorted(folder.glob("*/images/*.nii.gz"))
    ]
    assert len(pairs) == 210
    for image, mask in pairs:
        check_same_grid(read_grid(image), read_grid(mask), image, mask)
    volume, labels = read_volume(pairs[-1][0]), read_labels(pairs[-1][1])
    assert volume.notes == labels.notes == ()
    assert labels.outlined_slices()


def test_trust_chooses_where_there_is_a_choice_and_looks_at_nothing_else(tmp_path: Path) -> None:
    one = _write(tmp_path / "one.nii", VOXELS, qform_code=0)
    np.testing.assert_allclose(read_grid(one, ReadOptions(trust="qform")).affine, AFFINE)
    bad = _write(tmp_path / "bad.nii", VOXELS, srow_y=[np.nan] * 4)
    np.testing.assert_allclose(read_grid(bad, ReadOptions(trust="qform")).affine, AFFINE, atol=1e-6)
    with pytest.raises(BadScan, match="sform holds NaN"):
        read_grid(bad, ReadOptions(trust="sform"))


def test_a_mask_of_one_volume_belongs_to_every_volume_of_its_scan(tmp_path: Path) -> None:
    scans = np.stack([VOXELS, VOXELS + 1], axis=3)
    second = ReadOptions(volume=1)
    volume = read_volume(_write(tmp_path / "scan.nii", scans), second)
    mask = read_labels(_write(tmp_path / "mask.nii", LABELS), second)
    assert volume.shape == mask.shape and int(volume.voxels.min()) == int(VOXELS.min()) + 1
    masks = _write(tmp_path / "masks.nii", np.stack([LABELS * 0, LABELS], axis=3))
    np.testing.assert_array_equal(read_labels(masks, second).voxels, mask.voxels)
    with pytest.raises(BadScan, match="volume 1 asked for"):
        read_volume(tmp_path / "mask.nii", second)


def test_float_labels_are_read_without_copies_in_float64(tmp_path: Path) -> None:
    """32 MB as float32, 8 MB as labels; a copy in float64 would be 64 MB."""
    labels = np.zeros((256, 256, 128), np.float32)
    labels[9, 9, 9] = 3
    path = _write(tmp_path / "a.nii", labels)
    tracemalloc.start()
    try:
        assert int(read_labels(path).voxels.sum()) == 3
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()


def test_what_a_model_drew_is_known_until_somebody_changes_it(tmp_path: Path) -> None:
    grid = read_grid(_write(tmp_path / "other.nii", VOXELS))
    mask = LabelMap(np.zeros(grid.shape[::-1], np.uint8), grid)
    write_labels(tmp_path / "truth.nii.gz", mask)
    write_labels(tmp_path / "drawn.nii", mask, predicted=True)
    (tmp_path / "text.nii.gz").write_text("hello")
    assert [path.name for path in sorted(tmp_path.iterdir()) if is_prediction(path)] == [
        "drawn.nii"
    ]
    stored = bytearray((tmp_path / "drawn.nii").read_bytes())
    stored[-1] = 1  # one voxel, the header as it was
    (tmp_path / "drawn.nii").write_bytes(bytes(stored))
    assert not is_prediction(tmp_path / "drawn.nii")
