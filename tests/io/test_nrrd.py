"""NRRD in and out: every number of the header has its meaning, and nothing outside is read."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewmask.core.errors import BadScan, FewmaskError
from fewmask.core.volume import LabelMap
from fewmask.io.header import ReadOptions
from fewmask.io.image import (
    files_of,
    is_prediction,
    read_grid,
    read_labels,
    read_volume,
    write_labels,
)
from fewmask.io.segments import Segment

LINES = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "2 3 4",
    "space directions": "(2,0,0) (0,3,0) (0,0,5)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "gzip",
    "space origin": "(-40,-30,-100)",
}
ARRAY = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
AFFINE = [[-2, 0, 0, 40], [0, -3, 0, 30], [0, 0, 5, -100], [0, 0, 0, 1]]


def write(
    path: Path, array=ARRAY, body: bytes | None = None, drop=(), more="", **changes: Any
) -> Path:
    """A file as teem writes it; `changes` name fields with `_` for blanks."""
    fields = LINES | {name.replace("_", " "): text for name, text in changes.items()}
    text = "".join(f"{name}: {value}\n" for name, value in fields.items() if name not in drop)
    if body is None:
        body = array.tobytes(order="F")
        body = gzip.compress(body, mtime=0) if fields["encoding"] == "gzip" else body
    path.write_bytes(f"NRRD0004\n# a comment\n{text}{more}\n".encode() + body)
    return path


def test_voxels_and_place(tmp_path):
    volume = read_volume(write(tmp_path / "a.nrrd"))
    assert np.array_equal(volume.to_file_order(), ARRAY)
    assert volume.grid.affine.tolist() == AFFINE
    assert read_grid(tmp_path / "a.nrrd").affine.tolist() == AFFINE


@pytest.mark.parametrize(
    "raw", [ARRAY.tobytes(order="F"), b"\x1f\x8b" + bytes(46)], ids=["plain", "as gzip begins"]
)
def test_raw_voxels_are_never_taken_for_gzip(tmp_path, raw):
    volume = read_volume(write(tmp_path / "a.nrrd", body=raw, encoding="raw"))
    assert volume.to_file_order().tobytes(order="F") == raw


@pytest.mark.parametrize(
    ("space", "columns"),
    [("RAS", [2, 3, 5]), ("left-anterior-superior", [-2, 3, 5]), ("LPS", [-2, -3, 5])],
)
def test_worlds(tmp_path, space, columns):
    affine = read_volume(write(tmp_path / "a.nrrd", space=space)).grid.affine
    assert np.diag(affine)[:3].tolist() == columns


def test_big_end_first_and_units(tmp_path):
    path = write(
        tmp_path / "a.nrrd",
        ARRAY.astype(">i2"),
        endian="big",
        space_units='"cm" "cm" "cm"',
        space_directions="(.2,0,0) (0,.3,0) (0,0,.5)",
        space_origin="(-4,-3,-10)",
    )
    volume = read_volume(path)
    assert np.array_equal(volume.to_file_order(), ARRAY)
    assert np.allclose(volume.grid.affine, AFFINE)


def test_header_with_its_data_beside(tmp_path):
    (tmp_path / "a.raw.gz").write_bytes(gzip.compress(ARRAY.tobytes(order="F")))
    path = write(tmp_path / "a.nhdr", body=b"", data_file="a.raw.gz")
    assert np.array_equal(read_volume(path).to_file_order(), ARRAY)
    assert files_of(path) == [path, tmp_path / "a.raw.gz"]
    (tmp_path / "b.raw").write_bytes(b"abc" + ARRAY.tobytes(order="F"))
    for skip in ("3", "-1"):
        path = write(
            tmp_path / "b.nhdr", body=b"", data_file="b.raw", encoding="raw", byte_skip=skip
        )
        assert np.array_equal(read_volume(path).to_file_order(), ARRAY)


@pytest.mark.parametrize(
    "name", ["../out.raw", "/etc/hosts", "LIST", "x%03d.raw 0 3 1", "..", "sub\\x.raw", "link.raw"]
)
def test_data_outside_the_folder_is_not_read(tmp_path, name):
    inner = tmp_path / "in"
    inner.mkdir()
    (tmp_path / "out.raw").write_bytes(ARRAY.tobytes(order="F"))
    (inner / "link.raw").symlink_to(tmp_path / "out.raw")
    path = write(inner / "a.nhdr", body=b"", data_file=name, encoding="raw")
    with pytest.raises(BadScan) as caught:
        read_volume(path)
    assert caught.value.code in ("N46", "N35")
    assert caught.value.fix
    assert str(path) in caught.value.where[0]


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("N12", {"sizes": "2 3"}),
        ("N12", {"sizes": "2 3 0"}),
        ("N12", {"dimension": "4"}),
        ("N11", {"sizes": "200000 300000 400000"}),
        ("N02", {"sizes": "2 3 5", "encoding": "raw"}),
        ("N02", {"sizes": "2 3 5"}),
        ("N07", {"sizes": "2 3 3"}),
        ("N13", {"type": "block"}),
        ("N13", {"endian": "middle"}),
        ("N13", {"encoding": "bzip2"}),
        ("N14", {"line_skip": "1"}),
        ("N14", {"byte_skip": "-7"}),
        ("N17", {"space_directions": "(2000,0,0) (0,3,0) (0,0,5)"}),
        ("N17", {"space_units": '"furlong" "mm" "mm"'}),
        ("N19", {"space_directions": "(2,0,0) (2,0,0) (0,0,5)"}),
        ("N19", {"space_directions": "(nan,0,0) (0,3,0) (0,0,5)"}),
        ("N19", {"space_directions": "(2,0) (0,3) (0,5)"}),
        ("N19", {"space_origin": "(1e99,0,0)"}),
        ("N19", {"space": "upside-down"}),
        ("N21", {"space": "scanner-xyz"}),
        ("N26", {"kinds": "domain domain time"}),
        ("N15", {"endian": "little\nendian: big"}),
        ("N15", {"kinds": "x\nno field at all"}),
    ],
)
def test_refused_with_its_name_and_a_fix(tmp_path, code, changes):
    path = write(tmp_path / "a.nrrd", **changes)
    with pytest.raises(BadScan) as caught:
        read_volume(path)
    assert caught.value.code == code
    assert caught.value.fix
    assert caught.value.where[0] == f"file  {path}"


@pytest.mark.parametrize(
    ("code", "body"),
    [
        ("N01", lambda b: b[:-9]),
        ("N05", lambda b: b[:-8] + b"abcd" + b[-4:]),
        ("N07", lambda b: b + b"xyz"),
    ],
)
def test_damaged_data(tmp_path, code, body):
    whole = gzip.compress(ARRAY.tobytes(order="F"), mtime=0)
    path = write(tmp_path / "a.nrrd", body=body(whole))
    with pytest.raises(BadScan) as caught:
        read_volume(path)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("code", "content"),
    [("N04", b""), ("N10", b"<html>"), ("N15", b"nothing"), ("N15", b"NRRD0004\n" + b"#" * 2**21)],
)
def test_what_is_no_nrrd(tmp_path, code, content):
    (tmp_path / "a.nrrd").write_bytes(content)
    with pytest.raises(BadScan) as caught:
        read_volume(tmp_path / "a.nrrd")
    assert caught.value.code == code


def test_without_orientation_a_person_decides(tmp_path):
    path = write(tmp_path / "a.nrrd", drop=("space", "space directions"), spacings="2 3 5")
    with pytest.raises(BadScan, match="left and right"):
        read_volume(path)
    volume = read_volume(path, ReadOptions(assume_ras=True))
    assert np.diag(volume.grid.affine).tolist() == [2, 3, 5, 1]
    assert volume.notes


def test_spacing_of_a_person(tmp_path):
    volume = read_volume(write(tmp_path / "a.nrrd"), ReadOptions(spacing_mm=(1.0, 1.0, 2.0)))
    assert np.diag(volume.grid.affine)[:3].tolist() == [-1, -1, 2]


@pytest.mark.parametrize("first", [True, False])
def test_several_volumes(tmp_path, first):
    volumes = np.stack([ARRAY, ARRAY + 100])
    names: dict[str, Any] = {
        "dimension": "4",
        "sizes": "2 2 3 4" if first else "2 3 4 2",
        "kinds": "list domain domain domain" if first else "domain domain domain list",
        "space_directions": "none (2,0,0) (0,3,0) (0,0,5)"
        if first
        else "(2,0,0) (0,3,0) (0,0,5) none",
    }
    stored = volumes if first else volumes.transpose(1, 2, 3, 0)
    path = write(tmp_path / "a.nrrd", stored, **names)
    with pytest.raises(BadScan, match="4D image of 2 volumes"):
        read_volume(path)
    second = read_volume(path, ReadOptions(volume=1))
    assert np.array_equal(second.to_file_order(), ARRAY + 100)
    with pytest.raises(BadScan, match="volume 2 asked for"):
        read_volume(path, ReadOptions(volume=2))


# --- masks ---


def segmentation(path, layers, segments, **changes):
    """As Slicer writes it; `segments` are (name, layer, value)."""
    more = "".join(
        f"Segment{n}_Name:={name}\nSegment{n}_Layer:={layer}\nSegment{n}_LabelValue:={value}\n"
        f"Segment{n}_Color:=1 0.5 0\n"
        for n, (name, layer, value) in enumerate(segments)
    )
    names = {
        "type": "unsigned char",
        "dimension": "4",
        "sizes": f"{len(layers)} 2 3 4",
        "kinds": "list domain domain domain",
        "space_directions": "none (2,0,0) (0,3,0) (0,0,5)",
    }
    return write(path, np.stack(layers).astype(np.uint8), more=more, **(names | changes))


def test_layers_become_one_number_per_voxel(tmp_path):
    one, other = np.zeros((2, 3, 4)), np.zeros((2, 3, 4))
    one[0, 0] = 1  # liver, 4 voxels
    other[0, 0, 0] = 1  # lesion, inside the liver
    other[1, 0, 0] = 2  # spleen
    names = [("liver", 0, 1), ("lesion", 1, 1), ("spleen", 1, 2)]
    path = segmentation(tmp_path / "a.seg.nrrd", [one, other], names)
    assert read_grid(path).shape == (2, 3, 4)
    with pytest.raises(BadScan, match="'liver' and 'lesion' share 1 voxel") as caught:
        read_labels(path)
    assert caught.value.code == "M17"

    def counts(wanted):
        return np.bincount(read_labels(path, wanted=wanted).voxels.ravel())[1:].tolist()

    assert counts({1: "liver"}) == [4, 0, 1]  # the lesion's voxel counts as liver
    assert counts({2: "lesion"}) == [3, 1, 1]
    assert counts({1: "liver", 2: "liver"}) == [3, 1, 1]  # one class: nothing is lost
    with pytest.raises(BadScan, match="share"):
        counts({1: "liver", 2: "lesion"})


def test_a_value_that_no_segment_has(tmp_path):
    layers = [np.full((2, 3, 4), 7), np.zeros((2, 3, 4))]
    path = segmentation(tmp_path / "a.seg.nrrd", layers, [("liver", 0, 1), ("lesion", 1, 1)])
    with pytest.raises(BadScan, match="layer 0 holds 7"):
        read_labels(path)


def test_a_segmentation_is_no_scan(tmp_path):
    path = segmentation(tmp_path / "a.nrrd", [ARRAY], [("liver", 0, 1)])
    with pytest.raises(BadScan, match="not a scan"):
        read_volume(path)


# --- out, read by others ---

SEGMENTS = [Segment("liver", 1, (255, 0, 51)), Segment("left kidney", 2, (0, 102, 255))]


def made(turned: bool = True) -> LabelMap:
    """A label map whose axes are neither straight nor in the order of the world."""
    turn = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1.0]]) if turned else np.eye(3)
    affine = np.eye(4)
    affine[:3, :3] = turn[:, [1, 2, 0]] * [0.7, -0.9, 2.5]
    affine[:3, 3] = 11.25, -7.5, 1 / 3
    array = np.zeros((3, 4, 5), np.uint8)
    array[1, 1:3, 2] = 1
    array[2, 3, 4] = 2
    return LabelMap.from_file_order(array, affine)


@pytest.mark.parametrize("name", ["m.nrrd", "m.seg.nrrd", "m.mha"])
def test_written_masks_come_back_and_know_their_maker(tmp_path, name):
    mask, path = made(), tmp_path / name
    write_labels(path, mask, predicted=True, segments=SEGMENTS)
    back = read_labels(path)
    assert np.array_equal(back.voxels, mask.voxels)
    assert np.allclose(back.grid.affine, mask.grid.affine, rtol=0, atol=1e-12)
    assert is_prediction(path)
    mask.voxels[0, 0, 0] = 2
    write_labels(path, mask)
    assert not is_prediction(path)
    assert not is_prediction(tmp_path / "absent.nrrd")


@pytest.mark.parametrize("name", ["m.nrrd", "m.seg.nrrd", "m.mha", "m.nii.gz"])
def test_itk_reads_the_same_voxels_at_the_same_places(tmp_path, name):
    itk = pytest.importorskip("SimpleITK", reason="SimpleITK (extra `test`) is not installed")
    mask = made()
    write_labels(tmp_path / name, mask, segments=SEGMENTS)
    image = itk.ReadImage(str(tmp_path / name))
    assert np.array_equal(itk.GetArrayFromImage(image).T, mask.to_file_order())
    for voxel in ((0, 0, 0), (2, 3, 4)):
        x, y, z = image.TransformIndexToPhysicalPoint(voxel)
        assert np.allclose([-x, -y, z], (mask.grid.affine @ [*voxel, 1])[:3], atol=1e-5)


def test_pynrrd_reads_names_and_colours(tmp_path):
    nrrd = pytest.importorskip("nrrd", reason="pynrrd (extra `test`) is not installed")
    mask = made()
    write_labels(tmp_path / "m.seg.nrrd", mask, segments=SEGMENTS)
    array, header = nrrd.read(str(tmp_path / "m.seg.nrrd"))
    assert np.array_equal(array, mask.to_file_order())
    assert [header["Segment0_Name"], header["Segment1_Name"]] == ["liver", "left kidney"]
    assert header["Segment1_LabelValue"] == "2"
    assert header["Segment0_Extent"] == "1 1 1 2 2 2"
    assert header["Segment0_Color"] == "1.000000 0.000000 0.200000"


@pytest.mark.parametrize("ending", ["nrrd", "nhdr", "mha", "mhd"])
@pytest.mark.parametrize("kind", ["int16", "uint8", "float32"])
def test_what_itk_writes_is_read(tmp_path, ending, kind):
    itk = pytest.importorskip("SimpleITK", reason="SimpleITK (extra `test`) is not installed")
    array = np.arange(60).reshape(3, 4, 5).astype(kind)
    image = itk.GetImageFromArray(array.T.copy())
    image.SetSpacing((0.7, 0.9, 2.5))
    image.SetOrigin((11.25, -7.5, 0.25))
    image.SetDirection((0.6, -0.8, 0, 0.8, 0.6, 0, 0, 0, 1))
    for packed in (False, True):
        path = tmp_path / f"{packed}.{ending}"
        itk.WriteImage(image, str(path), packed)
        volume = read_volume(path)
        assert np.array_equal(volume.to_file_order(), array)
        place = image.TransformIndexToPhysicalPoint((2, 3, 4))
        got = volume.grid.affine @ [2, 3, 4, 1]
        assert np.allclose(got[:3], [-place[0], -place[1], place[2]], atol=1e-6)


def test_another_ending(tmp_path):
    with pytest.raises(FewmaskError) as caught:
        write_labels(tmp_path / "m.mhd", made())
    assert caught.value.code == "N45"
    assert not list(tmp_path.iterdir())


def test_evaluate_reads_every_format(tmp_path):
    from fewmask.benchmark.score import score_folders

    for folder in ("masks", "truth"):
        (tmp_path / folder).mkdir()
    write_labels(tmp_path / "masks/a.mha", made())
    write_labels(tmp_path / "truth/a.seg.nrrd", made(), segments=SEGMENTS)
    summary = score_folders(
        tmp_path / "masks",
        tmp_path / "truth",
        {"liver": ("liver",), "kidney": (2,)},
        masks="complete",  # so small, it looks like single coronal slices
    )
    assert {score.label: score.dice for score in summary.scores} == {"liver": 1, "kidney": 1}
