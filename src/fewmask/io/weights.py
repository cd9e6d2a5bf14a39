"""Tensors on disk: our own as safetensors; a foreign `.pth` is read in one place, as plain tensors
or not at all.
"""

import json
import math
import os
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fewmask.core.errors import BadCheckpoint
from fewmask.core.words import count
from fewmask.io.atomic import usual_mode, writing
from fewmask.io.stream import sha256

_MAX_HEADER = 16 * 2**20
_MAX_RATIO = 4
_UNREADABLE = (
    pickle.UnpicklingError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    ImportError,
    AssertionError,
    AttributeError,
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What the readers of a damaged archive or pickle raise."""


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> str:
    """Write tensors atomically (contiguous copies on the CPU) and return the file's SHA-256."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    needed = sum(tensor.nbytes for tensor in plain.values())
    with writing(path, needed=needed) as part:
        _write(plain, part, dict(metadata or {}))
    return sha256(path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file. Raises `BadCheckpoint` for a damaged file or a header beyond reason
    (W04).
    """
    if not path.is_file():
        raise BadCheckpoint(
            "no such file of weights", where=str(path), fix="check the path", code="W07"
        )
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > min(_MAX_HEADER, path.stat().st_size):
        raise _damaged(path, f"header declares {header} bytes, the file has {path.stat().st_size}")
    try:
        result: dict[str, Tensor] = load_file(path)
        return result
    except (SafetensorError, ValueError, OSError) as error:
        raise _damaged(path, str(error)) from error


def read_metadata(path: Path) -> dict[str, str]:
    """The text notes in a safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from error


def load_into(module: nn.Module, path: Path, prefix: str = "") -> None:
    """Load weights strictly: a missing, extra or ill-shaped name, or a NaN, raises `BadCheckpoint`
    naming the first five.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in load_tensors(path).items():
        if name.startswith(prefix):
            tensors[name.removeprefix(prefix)] = tensor
    fit_into(module, tensors, path)


def fit_into(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """As `load_into`, with tensors already read from `path`."""
    own = module.state_dict()
    kinds = [
        f"{name} is {tensor.dtype}, {own[name].dtype} is needed"
        for name, tensor in tensors.items()
        if name in own and own[name].is_floating_point() != tensor.is_floating_point()
    ]
    check_fit({name: tuple(tensor.shape) for name, tensor in own.items()}, tensors, path, kinds)
    module.load_state_dict(tensors)


def check_fit(
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Mapping[str, Tensor],
    path: Path,
    problems: Sequence[str] = (),
) -> None:
    """Raise `BadCheckpoint` unless `tensors` have exactly these names and shapes and are finite, or
    if `problems` are known.
    """
    problems = list(problems)
    problems += [f"missing {name}" for name in shapes if name not in tensors]
    problems += [f"unknown {name}" for name in tensors if name not in shapes]
    for name, tensor in tensors.items():
        if name in shapes and shapes[name] != tuple(tensor.shape):
            problems.append(f"{name} is {tuple(tensor.shape)}, {shapes[name]} is needed")
        elif tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            problems.append(f"{name} holds NaN or Inf")
    if problems:
        raise BadCheckpoint(
            f"weights do not fit ({count(len(problems), 'difference')})",
            where=[str(path), *problems[:5]],
            fix="use weights of this method and of this `encoder`",
            code="W04",
        )


def load_foreign(path: Path) -> dict[str, Tensor]:
    """Tensors of a PyTorch `.pth` file. Never runs code from it: what is not plain tensors is
    refused, without fallback.

    Raises `BadCheckpoint` for pickled objects (W01, W02), archives that unfold to more than four
    times their size or do not check out (W03), and files that hold no tensors.
    """
    _check_archive(path)
    return load_known(path)


def load_known(path: Path) -> dict[str, Tensor]:
    """As `load_foreign`, for a file whose SHA-256 was found to be its publisher's: it may be in the
    format from before 2020, which cannot be looked through first.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise BadCheckpoint(
            "the file is not plain tensors, so it was not loaded: loading it could run code",
            where=[str(path), reason],
            fix="ask its author for a safetensors file, or convert it in a throw-away container",
            code="W01",
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    is_table = isinstance(content, dict) and bool(content)
    if not is_table or not all(isinstance(value, Tensor) for value in content.values()):
        raise BadCheckpoint(
            "the file holds no table of tensors",
            where=str(path),
            fix="get the file again, or save its state_dict alone",
            code="W02",
        )
    return dict(content)


def flatten_optimiser(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's moments and counters as named tensors."""
    flat = {}
    for index, state in optimiser.state_dict()["state"].items():
        for key, value in state.items():
            flat[f"{index}.{key}"] = value if isinstance(value, Tensor) else torch.tensor(value)
    return flat


def restore_optimiser(optimiser: torch.optim.Optimizer, flat: Mapping[str, Tensor]) -> None:
    """The inverse of `flatten_optimiser`; parameter groups stay as they are (the loop sets learning
    rates each step).
    """
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in flat.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor.clone()  # the optimiser writes into it
    optimiser.load_state_dict(
        {"state": state, "param_groups": optimiser.state_dict()["param_groups"]}
    )


def _write(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """`save_file`, whose own error hides the number of the system's (a full disk must be seen as
    one) and whose files only their owner may read, whatever the umask.
    """
    try:
        save_file(tensors, path, metadata)
        if path.is_file():
            path.chmod(usual_mode())
            _sort_notes(path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _check_archive(path: Path) -> None:
    if not path.is_file():
        raise BadCheckpoint(
            "no such file of weights", where=str(path), fix="check the path", code="W07"
        )
    if not zipfile.is_zipfile(path):
        raise _damaged(path, "not a PyTorch archive (cut short, or from before 2020)", "W03")
    try:
        with zipfile.ZipFile(path) as archive:
            declared = sum(item.file_size for item in archive.infolist())
            if declared > _MAX_RATIO * path.stat().st_size:
                raise _damaged(
                    path, f"unfolds to {declared} bytes from {path.stat().st_size}", "W03"
                )
            if any(item.filename.endswith("constants.pkl") for item in archive.infolist()):
                raise _damaged(path, "TorchScript holds code; plain weights are needed", "W03")
            broken = archive.testzip()
            if broken is not None:
                raise _damaged(path, f"checksum of {broken} differs", "W03")
    except _UNREADABLE as error:
        raise _damaged(path, str(error) or type(error).__name__, "W03") from error


def _damaged(path: Path, why: str, code: str = "W04") -> BadCheckpoint:
    return BadCheckpoint(
        f"weights are damaged: {why}",
        where=str(path),
        fix="copy the file again from its source",
        code=code,
    )


def count_weights(tensors: Mapping[str, Tensor]) -> int:
    """How many numbers."""
    return sum(math.prod(tensor.shape) for tensor in tensors.values())


def _sort_notes(path: Path) -> None:
    """The library writes notes in an order that is drawn anew each time: the same weights would
    have another hash.
    """
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        if "__metadata__" not in header:
            return
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        sorted_header = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(sorted_header) <= size:
            file.seek(8)
            file.write(sorted_header.ljust(size))
