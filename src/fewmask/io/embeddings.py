"""Embeddings of a frozen encoder, computed once per slice: in memory, or in a folder that later
runs share.

Content-addressed: a file's name is the hash of the weights and settings that made it and of the
pixels it was made from, so a stale one cannot be found. Half precision, one slice at a time, with
or without a folder: the numbers are the same.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewmask.core.errors import NoRoom
from fewmask.io.atomic import make_folder, writing


class EmbeddingStore:
    """Remembers what `compute` gave for an image."""

    def __init__(self, key: str, folder: Path | None, limit_bytes: int) -> None:
        """`key` names weights and settings; nothing beyond `limit_bytes` is kept (it is computed
        again, to the same numbers).
        """
        self._folder = None if folder is None else folder / key[:32]
        self._limit = limit_bytes
        self._kept: dict[str, NDArray[np.float16]] = {}
        self._bytes = 0
        if self._folder is not None:
            make_folder(self._folder)
            self._bytes = sum(path.stat().st_size for path in self._folder.glob("*.npy"))

    def recall(
        self, image: NDArray[np.float32], compute: Callable[[], NDArray[np.float32]]
    ) -> NDArray[np.float16]:
        """The embedding of one image, rounded to half precision; `compute` is called when it is not
        there.
        """
        name = hashlib.blake2b(image.tobytes(), digest_size=20).hexdigest()
        found = self._find(name)
        if found is None:
            # One order in memory, so that what is computed and what is read give the same bits
            # further on.
            found = np.ascontiguousarray(compute(), np.float16)
            self._keep(name, found)
        return found

    def _find(self, name: str) -> NDArray[np.float16] | None:
        if self._folder is None:
            return self._kept.get(name)
        path = self._folder / f"{name}.npy"
        return np.load(path, allow_pickle=False) if path.exists() else None

    def _keep(self, name: str, embedding: NDArray[np.float16]) -> None:
        if self._bytes + embedding.nbytes > self._limit:
            return
        self._bytes += embedding.nbytes
        if self._folder is None:
            self._kept[name] = embedding
            return
        with (
            writing(self._folder / f"{name}.npy", needed=embedding.nbytes) as part,
            part.open("wb") as file,
        ):
            np.save(file, embedding, allow_pickle=False)


def weights_key(arrays: Mapping[str, NDArray[np.generic]], *settings: object) -> str:
    """Hash of weights by name and value, and of the settings that change what comes out."""
    digest = hashlib.sha256(repr(settings).encode())
    for name, array in sorted(arrays.items()):
        digest.update(name.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def check_size(slices: int, bytes_each: int, limit_bytes: int) -> str:
    """One line that says how much will be kept. Raises `NoRoom` beyond the limit."""
    needed = slices * bytes_each
    line = f"{slices} embeddings of {bytes_each / 2**20:.1f} MiB: {needed / 2**30:.2f} GiB"
    if needed > limit_bytes:
        raise NoRoom(
            f"the embeddings need {needed / 2**30:.2f} GiB, the limit is "
            f"{limit_bytes / 2**30:.2f} GiB",
            where=line,
            did="nothing was started",
            fix=(
                f"`embeddings_gib={int(needed / 2**30) + 1}`, a smaller image_size, or no "
                "`embeddings`"
            ),
            code="F09",
        )
    return line
