"""The mark of a mask that a model drew: it holds as long as nobody has changed a voxel."""

import hashlib

import numpy as np
from jaxtyping import Shaped

MAKER = "fewmask "
"""What every file of ours begins its description with."""
PREDICTED = MAKER + "mask "
"""Before the digest of a mask that a model drew."""


def mark_of(array: Shaped[np.ndarray, "i j k"]) -> str:
    """Says that a model drew these voxels, in file order."""
    digest = hashlib.sha256(f"{array.shape}{array.dtype.str[1:]}".encode())
    for k in range(array.shape[2]):
        digest.update(array[:, :, k].tobytes())
    return f"{PREDICTED}{digest.hexdigest()[:40]} "


def is_mark(text: str, array: Shaped[np.ndarray, "i j k"]) -> bool:
    """Was this text written for these voxels?"""
    return text.startswith(PREDICTED) and f"{text.strip()} ".startswith(mark_of(array))
