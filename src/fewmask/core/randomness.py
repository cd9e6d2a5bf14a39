"""Randomness as a function of names, never of history: the same names give the same numbers, in any
order, on any worker.
"""

import hashlib

import numpy as np


def seed_of(seed: int, stream: str, *names: str | int) -> int:
    """A 64-bit seed from a run seed, the name of a stream and any further names (epoch, step, case
    id).
    """
    text = "\x1f".join([str(int(seed)), stream, *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def rng(seed: int, stream: str, *names: str | int) -> np.random.Generator:
    """A fresh counter-based generator for these names (docs/decisions.md, "Randomness")."""
    return np.random.Generator(np.random.Philox(seed_of(seed, stream, *names)))


def permutation(n: int, seed: int, stream: str, *names: str | int) -> list[int]:
    """The order of n items under these names."""
    return [int(i) for i in rng(seed, stream, *names).permutation(n)]
