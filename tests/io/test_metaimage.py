"""MetaImage in: every number of the header has its meaning, and nothing outside is read."""

import zlib
from pathlib import Path

import numpy as np
import pytest

from fewmask.core.errors import BadScan
from fewmask.io.header import ReadOptions
from fewmask.io.image import files_of, read_grid, read_labels, read_volume

FIELDS = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "-40 -30 -100",
    "ElementSpacing": "2 3 5",
    "DimSize": "2 3 4",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}
ARRAY = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
RAW = ARRAY.tobytes(order="F")
AFFINE = [[-2, 0, 0, 40], [0, -3, 0, 30], [0, 0, 5, -100], [0, 0, 0, 1]]


def write(path: Path, body: bytes = RAW, drop=(), **changes) -> Path:
    """A file as ITK writes it."""
    fields = {name: text for name, text in (FIELDS | changes).items() if name not in drop}
    fields["ElementDataFile"] = fields.pop("ElementDataFile")
    text = "".join(f"{name} = {value}\n" for name, value in fields.items())
    path.write_bytes(text.encode() + body)
    return path


def test_voxels_and_place(tmp_path):
    path = write(tmp_path / "a.mha")
    volume = read_volume(path)
    assert np.array_equal(volume.to_file_order(), ARRAY)
    assert volume.grid.affine.tolist() == AFFINE
    assert read_grid(path).affine.tolist() == AFFINE


def test_a_row_of_the_matrix_is_the_direction_of_an_axis(tmp_path):
    volume = read_volume(write(tmp_path / "a.mha", TransformMatrix="0 1 0 0 0 1 1 0 0"))
    # Axis i runs along y of LPS (to the back: -3 for nothing but i, 2 mm), j along z, k along x.
    assert volume.grid.affine[:3, :3].tolist() == [[0, 0, -5], [-2, 0, 0], [0, 3, 0]]


def test_packed_big_end_first(tmp_path):
    body = zlib.compress(ARRAY.astype(">i2").tobytes(order="F"))
    path = write(tmp_path / "a.mha", body, CompressedData="True", BinaryDataByteOrderMSB="True")
    assert np.array_equal(read_volume(path).to_file_order(), ARRAY)


def test_data_beside(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"head" + RAW)
    for skip in ("4", "-1"):
        path = write(tmp_path / "a.mhd", b"", ElementDataFile="a.raw", HeaderSize=skip)
        assert np.array_equal(read_volume(path).to_file_order(), ARRAY)
    assert files_of(path) == [path, tmp_path / "a.raw"]


@pytest.mark.parametrize(
    "name", ["../out.raw", "/etc/hosts", "LIST", "x%03d.raw 0 3 1", "link.raw"]
)
def test_data_outside_the_folder_is_not_read(tmp_path, name):
    inner = tmp_path / "in"
    inner.mkdir()
    (tmp_path / "out.raw").write_bytes(RAW)
    (inner / "link.raw").symlink_to(tmp_path / "out.raw")
    path = write(inner / "a.mhd", b"", ElementDataFile=name)
    with pytest.raises(BadScan) as caught:
        read_volume(path)
    assert caught.value.code == "N46"
    assert caught.value.fix


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("N02", {"DimSize": "2 3 5"}),
        ("N07", {"DimSize": "2 3 3"}),
        ("N11", {"DimSize": "90000 90000 90000"}),
        ("N12", {"DimSize": "2 3 4.5"}),
        ("N12", {"DimSize": "2 -3 4"}),
        ("N12", {"NDims": "2"}),
        ("N13", {"ElementType": "MET_OTHER"}),
        ("N13", {"BinaryData": "False"}),
        ("N15", {"ObjectType": "Mesh"}),
        ("N16", {"ElementSpacing": "0 1 1"}),
        ("N16", {"ElementSpacing": "1 1"}),
        ("N17", {"ElementSpacing": "900 1 1"}),
        ("N19", {"TransformMatrix": "1 0 0 1 0 0 0 0 1"}),
        ("N20", {"TransformMatrix": "2 0 0 0 1 0 0 0 1"}),
        ("N27", {"ElementNumberOfChannels": "3"}),
        ("N35", {"ElementDataFile": "absent.raw"}),
        ("N05", {"CompressedData": "True"}),
    ],
)
def test_refused_with_its_name_and_a_fix(tmp_path, code, changes):
    path = write(tmp_path / "a.mha", **changes)
    with pytest.raises(BadScan) as caught:
        read_volume(path)
    assert caught.value.code == code
    assert caught.value.fix
    assert caught.value.where[0] == f"file  {path}"


@pytest.mark.parametrize(
    ("code", "content"), [("N04", b""), ("N10", b"<html>"), ("N15", b"NDims = 3\n")]
)
def test_what_is_no_metaimage(tmp_path, code, content):
    (tmp_path / "a.mha").write_bytes(content)
    with pytest.raises(BadScan) as caught:
        read_volume(tmp_path / "a.mha")
    assert caught.value.code == code


def test_without_orientation_a_person_decides(tmp_path):
    path = write(tmp_path / "a.mha", drop=("TransformMatrix",))
    with pytest.raises(BadScan, match="left and right"):
        read_volume(path)
    volume = read_volume(path, ReadOptions(assume_ras=True))
    assert np.diag(volume.grid.affine).tolist() == [2, 3, 5, 1]


def test_one_volume_per_structure(tmp_path):
    """A mask of several 0/1 volumes: volume 0 is the background only where they share nothing."""
    first, second = np.zeros((2, 3, 4), np.int16), np.zeros((2, 3, 4), np.int16)
    first[0, 0, :3] = 1
    second[1, 2, :2] = 1
    changes = {
        "NDims": "4",
        "Offset": "0 0 0 0",
        "ElementSpacing": "1 1 1 1",
        "TransformMatrix": " ".join(map(str, np.eye(4, dtype=int).ravel())),
    }

    def counts(*volumes, **more):
        body = b"".join(volume.tobytes(order="F") for volume in volumes)
        path = write(tmp_path / "a.mha", body, DimSize=f"2 3 4 {len(volumes)}", **changes)
        return np.bincount(read_labels(path, **more).voxels.ravel()).tolist()

    assert counts(first, second) == [19, 3, 2]
    assert counts(1 - first - second, first, second) == [19, 3, 2]
    both = first | second
    with pytest.raises(BadScan, match="'value 1' and 'value 2' share 3 voxels"):
        counts(first, both)
    assert counts(first, both, wanted={1: "lesion"}) == [19, 3, 2]
    with pytest.raises(BadScan, match="hold other numbers than 0 and 1"):
        counts(first, 2 * second)
