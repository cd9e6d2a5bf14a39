"""Packed files are unpacked, and damage seen, alike with `isal` and without it."""

import gzip
import zlib

import numpy as np
import pytest
from isal import isal_zlib

from fewmask.core.errors import BadScan
from fewmask.io import stream
from fewmask.io.stream import opened

DATA = np.random.default_rng(0).integers(0, 9, 700_000, np.uint8).tobytes()
WHOLE = gzip.compress(DATA, 6)
UNPACKERS = {"zlib": zlib.decompressobj, "isal": isal_zlib.decompressobj}


@pytest.fixture(params=UNPACKERS)
def unpacker(request, monkeypatch):
    monkeypatch.setattr(stream, "_unpacker", UNPACKERS[request.param])


def read(path, packed: bytes) -> bytes:
    path.write_bytes(packed)
    buffer = bytearray(2 * len(DATA))
    with opened(path) as source:
        found = source.read_into(memoryview(buffer))
    return bytes(buffer[:found])


def test_isal_is_used_where_it_is() -> None:
    assert stream._unpacker is isal_zlib.decompressobj


@pytest.mark.usefixtures("unpacker")
def test_one_member_and_two(tmp_path) -> None:
    assert read(tmp_path / "a.gz", WHOLE) == DATA
    assert read(tmp_path / "a.gz", WHOLE + WHOLE) == DATA + DATA


@pytest.mark.usefixtures("unpacker")
@pytest.mark.parametrize(
    ("packed", "code"),
    [
        pytest.param(WHOLE[:-9], "N01", id="cut"),
        pytest.param(WHOLE[:-4], "N01", id="no length"),
        pytest.param(WHOLE[:-8] + bytes(4) + WHOLE[-4:], "N05", id="checksum"),
        pytest.param(WHOLE[:-4] + bytes(4), "N05", id="length"),
        pytest.param(WHOLE[:5000] + b"\xff" * 40 + WHOLE[5040:], "N05", id="codes"),
        pytest.param(WHOLE + b"more", "N07", id="extra"),
    ],
)
def test_damage_has_the_same_code(tmp_path, packed, code) -> None:
    with pytest.raises(BadScan) as found:
        read(tmp_path / "a.gz", packed)
    assert found.value.code == code
