"""How a file is damaged: blindly, or where its format keeps its numbers."""

import gzip
import re
import struct
from collections.abc import Callable

import numpy as np

Damage = Callable[[bytes, np.random.Generator], bytes]

_WORDS = (
    *b"-1 0 1 2147483648 18446744073709551616 -9999999999999999999 1e308 1e999 nan -inf".split(),
    *b'0x10 1_0 true null None [ ] { } , ; = " case_00 ../../x /etc/passwd'.split(),
    *(b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xc3\xa9", b"\xe2\x80\xae"),
    *(b"\r", b"\n", b" ", b"\t", b"9" * 5000, b"[" * 200),
)
_NUMBERS = (0, 1, -1, 2, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**63 - 1)
_FLOATS = (float("nan"), float("inf"), -float("inf"), 1e38, -1e-38, 0.0, -1.0, 0.5)
_WORD = re.compile(rb"[A-Za-z0-9_.+-]+|[^A-Za-z0-9_.+-]")


def blind(whole: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, cut out, doubled, or the end lost."""
    data = bytearray(whole)
    for _ in range(int(rng.integers(1, 4))):
        data = data or bytearray(b"x")
        at = int(rng.integers(0, len(data)))
        kind = rng.integers(0, 4)
        if kind == 0:
            data[at] = int(rng.integers(0, 256))
        elif kind == 1:
            del data[at : at + int(rng.integers(1, 30))]
        elif kind == 2:
            data[at:at] = data[at : at + int(rng.integers(1, 30))]
        else:
            data = data[: max(1, at)]
    return bytes(data or b"x")


def fields(first: int, last: int) -> Damage:
    """Whole fields between two bytes of the file become numbers that are easily got wrong."""

    def damage(whole: bytes, rng: np.random.Generator) -> bytes:
        if rng.random() < 0.2:
            return blind(whole, rng)
        data = bytearray(whole)
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(first, min(last, len(data) - 8)))
            value = _field(rng)
            at -= at % len(value) if rng.random() < 0.8 else 0
            data[at : at + len(value)] = value
        return bytes(data)

    return damage


def words(whole: bytes, rng: np.random.Generator) -> bytes:
    """A word or a mark of a text is replaced, doubled or lost."""
    if rng.random() < 0.3:
        return blind(whole, rng)
    found = _WORD.findall(whole)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, len(found)))
        kind = int(rng.integers(0, 4))
        found[at] = (
            b"" if kind == 0 else found[at] * 2 if kind == 1 else _WORDS[rng.integers(len(_WORDS))]
        )
    return b"".join(found)


def packed(inner: Damage) -> Damage:
    """Of a compressed file either the stream, or what is in it and packed again."""

    def damage(whole: bytes, rng: np.random.Generator) -> bytes:
        if rng.random() < 0.6:
            return blind(whole, rng)
        return gzip.compress(inner(gzip.decompress(whole), rng), compresslevel=1, mtime=0)

    return damage


def after_length(whole: bytes, rng: np.random.Generator) -> bytes:
    """Of a safetensors file the words of its header, with its length mended most of the time."""
    if rng.random() < 0.2:
        return blind(whole, rng)
    end = 8 + int.from_bytes(whole[:8], "little")
    header = words(whole[8:end], rng)
    length = whole[:8] if rng.random() < 0.2 else struct.pack("<Q", len(header))
    return length + header + whole[end:]


def _field(rng: np.random.Generator) -> bytes:
    if rng.random() < 0.3:
        return struct.pack("<f", _FLOATS[rng.integers(len(_FLOATS))])
    size = (1, 2, 4, 8)[rng.integers(4)]
    number = _NUMBERS[rng.integers(len(_NUMBERS))] % 256**size
    return int(number).to_bytes(size, "little")
