"""Guards of HDF5 files: rows H01, H03, H04."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from fewmask.core.errors import BadDataset
from fewmask.io.hdf5 import open_guarded


def _intermediate(file):
    file.create_group("a/b").create_dataset("x", data=[1])
    file["c"] = h5py.SoftLink("/a")


def _virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
    file.create_virtual_dataset("v", layout)


def _many(file):
    for n in range(300):
        file.attrs[f"a{n}"] = n


def _twice(file):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((100,))
    plist.set_deflate(9)
    plist.set_deflate(9)
    space = h5py.h5s.create_simple((1000,))
    h5py.h5d.create(file.id, b"x", h5py.h5t.STD_I16LE, space, plist)


REFUSED = [
    ("H03", "/c", _intermediate),
    ("H03", "/x", lambda f: f.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/"))),
    (
        "H03",
        "/deep/er/x",
        lambda f: f.create_group("deep/er").__setitem__("x", h5py.ExternalLink("o.h5", "/")),
    ),
    (
        "H03",
        "another file",
        lambda f: f.create_dataset("x", (10,), "u1", external=[("/etc/passwd", 0, 10)]),
    ),
    ("H03", "virtual", _virtual),
    (
        "H04",
        "declares 4,000,000,000,000 bytes",
        lambda f: f.create_dataset("x", (10**6, 10**6), "f4", chunks=(100, 100)),
    ),
    (
        "H04",
        "only numbers",
        lambda f: f.create_dataset("x", data=["a", "b"], dtype=h5py.string_dtype()),
    ),
    ("H04", "only numbers", lambda f: f.create_dataset("x", (2,), h5py.vlen_dtype(np.int32))),
    ("H04", "only numbers", lambda f: f.create_dataset("x", (2,), h5py.ref_dtype)),
    ("H04", "attribute", lambda f: f.attrs.__setitem__("r", f.ref)),
    ("H04", "attributes", _many),
    ("H04", "neither a group nor a dataset", lambda f: f.__setitem__("t", np.dtype("f4"))),
    ("H04", "8 deep", lambda f: f.create_group("/".join("abcdefghijk"))),
    (
        "H04",
        "filters",
        lambda f: f.create_dataset("x", (100, 100), "i4", chunks=(10, 10), scaleoffset=4),
    ),
    ("H04", "each once", _twice),
]


@pytest.mark.parametrize(("row", "word", "make"), REFUSED)
def test_refused_before_any_read(tmp_path, row, word, make):
    path = tmp_path / "case_7.h5"
    with h5py.File(path, "w") as file:
        make(file)
    with pytest.raises(BadDataset) as caught:
        open_guarded(path)
    assert caught.value.code == row
    assert word in str(caught.value)
    assert "case_7.h5" in str(caught.value)


def test_what_we_write_opens(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", track_order=True) as file:
        file.create_dataset(
            "z/image",
            data=np.arange(12, dtype="i2").reshape(3, 2, 2),
            chunks=(1, 2, 2),
            fletcher32=True,
        )
        file.create_dataset(
            "a", (600, 512, 512), "u1", chunks=(1, 512, 512), compression="gzip"
        )  # empty mask: packs beyond 1000 x
        file["z"]["again"] = file["z"]  # a circle of hard links
        file.attrs["grid"], file.attrs["slope"], file.attrs["bounds"] = (
            '{"shape": [1]}',
            1.5,
            [0.0, 1.0],
        )
    with open_guarded(path) as file:
        assert list(file) == ["z", "a"]
        assert file["z/image"][2, 1, 1] == 11
        with pytest.raises((OSError, ValueError)):
            file.create_group("new")


def test_too_many_objects(tmp_path, monkeypatch):
    monkeypatch.setattr("fewmask.io.hdf5.MAX_OBJECTS", 10)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for n in range(11):
            file.create_group(f"g{n}")
    with pytest.raises(BadDataset, match="more than 10 objects"):
        open_guarded(path)


def damage(path: Path, how: str) -> None:
    whole = path.read_bytes()
    path.write_bytes(
        {
            "truncated": whole[: len(whole) // 2],
            "empty": b"",
            "page": b"<!DOCTYPE html>" * 99,
            "middle": whole[:100] + bytes(700) + whole[800:],
        }[how]
    )


@pytest.mark.parametrize("how", ["truncated", "empty", "page", "middle"])
def test_damaged_files(tmp_path, how):  # H01
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("g/x", data=np.arange(5000))
    damage(path, how)
    with pytest.raises(BadDataset) as caught:
        open_guarded(path)
    assert caught.value.code == "H01"
    assert "a.h5" in str(caught.value)


def test_pipe_folder_and_missing_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    for name in ("pipe.h5", ".", "absent.h5"):
        with pytest.raises(BadDataset):
            open_guarded(tmp_path / name)


def test_flipped_bit_is_found_by_the_checksum(tmp_path):  # H02
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "x", data=np.full((64, 64), 7, "i2"), chunks=(64, 64), fletcher32=True
        )
        offset = data.id.get_chunk_info(0).byte_offset
    raw = bytearray(path.read_bytes())
    raw[offset + 100] ^= 1
    path.write_bytes(raw)
    with open_guarded(path) as file, pytest.raises(OSError):
        file["x"][:]


@pytest.mark.parametrize("value", [0, 4, 10**6])
def test_a_chunk_of_another_size_never_reaches_the_checksum(tmp_path, value):  # ended the process
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "x", data=np.full((6, 8), 7, "f2"), chunks=(6, 8), fletcher32=True
        )
        size = data.id.get_chunk_info(0).size
        assert size == 100
    whole = path.read_bytes()
    at = whole.index(b"TREE") + 24  # its key: size, mask, offsets
    at = whole.index(b"TREE", at) + 24 if whole[at : at + 4] != b"\x64\0\0\0" else at
    assert whole[at : at + 4] == b"\x64\0\0\0"
    path.write_bytes(whole[:at] + value.to_bytes(4, "little") + whole[at + 4 :])
    with pytest.raises(BadDataset, match="impossible size"):
        open_guarded(path)


def test_a_name_that_is_no_text(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_group("Slice0")
    path.write_bytes(path.read_bytes().replace(b"Slice0", b"Slice\xff"))
    with pytest.raises(BadDataset, match="a name is no text"):
        open_guarded(path)


def test_chunks_that_were_left_unpacked_are_read(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (4, 4), np.uint8)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=noise, chunks=(4, 4), compression="lzf", fletcher32=True)
        assert file["x"].id.get_chunk_info(0).filter_mask
    with open_guarded(path) as file:
        assert np.array_equal(file["x"][:], noise)


@pytest.mark.parametrize("size", [0, 2**64 - 16, 2**64 - 8, 5000])
def test_a_heap_of_texts_without_an_end_is_not_walked(tmp_path, size):  # never came back
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["grid"] = "a text of variable length"
    with open_guarded(path) as file:
        assert file.attrs["grid"] == "a text of variable length"
    whole = path.read_bytes()
    free = whole.index(b"GCOL") + 16 + 16 + 32  # its head, that of the text, and the text
    assert whole[free : free + 2] == bytes(2)
    at = free + 8
    path.write_bytes(whole[:at] + size.to_bytes(8, "little") + whole[at + 8 :])
    with pytest.raises(BadDataset, match="without an end"):
        open_guarded(path)


def test_voxels_that_look_like_a_heap_are_voxels(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.frombuffer(b"GCOL\x02" + bytes(8000) + b"GCOL\x01" + bytes(8000), np.uint8)
        file.attrs["grid"] = "text"
    with open_guarded(path) as file:
        assert file["x"].shape == (16010,)


def test_lengths_of_another_size_are_refused(tmp_path):
    made = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    made.set_sizes(4, 4)
    h5py.h5f.create(bytes(tmp_path / "a.h5"), fcpl=made).close()
    with pytest.raises(BadDataset, match="addresses and lengths"):
        open_guarded(tmp_path / "a.h5")
