"""Import foreign SAM weights into this machine's cache, exactly or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fewmask.blocks.sam.official import find_size, rename, shapes_of
from fewmask.core.errors import BadCheckpoint, BadConfig
from fewmask.io.ledger import LEDGER, make_cache
from fewmask.io.stream import sha256
from fewmask.io.text import read_json
from fewmask.io.weights import (
    check_fit,
    count_weights,
    load_foreign,
    load_tensors,
    read_metadata,
    save_tensors,
)


@dataclass(frozen=True)
class ImportedWeights:
    """Weights that are ready to use."""

    name: str
    encoder: str
    path: Path
    numbers: int
    """How many."""
    sha256: str


def import_weights(source: Path, name: str | None = None) -> ImportedWeights:
    """Convert a `.pth`, a `.safetensors` or a `transformers` folder to our names and put it into
    the cache.

    `.pth` files are read as plain tensors, without a fallback that could run code. Values are kept
    to the bit. Raises `BadCheckpoint` naming the first five names that are missing, unknown or of
    another shape.
    """
    digest, tensors = _read(source)
    tensors = rename(tensors, str(source))
    size = find_size(tensors, str(source))
    check_fit(shapes_of(size), tensors, source)
    known = next((entry.name for entry in LEDGER if entry.sha256 == digest), None)
    chosen = name or known or source.stem
    plain = chosen.replace("-", "").replace("_", "").replace(".", "").isalnum()
    if not plain or chosen.startswith("."):
        raise BadConfig(
            f"{chosen!r} is no name for weights",
            did="nothing was written",
            fix="choose one of letters, digits and -, as in `name=my-sam`",
            code="C02",
        )
    target = make_cache() / f"{chosen}.safetensors"
    written = save_tensors(
        target, tensors, {"encoder": size.name, "source_sha256": digest, "source": source.name}
    )
    return ImportedWeights(chosen, size.name, target, count_weights(tensors), written)


def describe_weights(path: Path) -> dict[str, Any]:
    """What a file or folder of SAM weights holds. Raises `BadCheckpoint` if it cannot be used."""
    digest, tensors = _read(path)
    renamed = rename(tensors, str(path))
    size = find_size(renamed, str(path))
    check_fit(shapes_of(size), renamed, path)
    known = next((entry for entry in LEDGER if entry.sha256 == digest), None)
    notes = read_metadata(path) if path.suffix == ".safetensors" else {}
    kinds = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()})
    return {
        "kind": "SAM weights",
        "encoder": size.name,
        "numbers": count_weights(tensors),
        "stored as": ", ".join(kinds),
        "sha256": digest,
        "known as": known.name if known else "not in the ledger",
        **notes,
    }


def _read(source: Path) -> tuple[str, Mapping[str, Tensor]]:
    """SHA-256 and tensors of whatever form the weights come in."""
    if source.is_dir():
        file = source / "model.safetensors"
        if not file.is_file():
            raise BadCheckpoint(
                "no model.safetensors in the folder",
                where=str(source),
                fix="save the model with safe_serialization=True, or give the .pth file",
                code="W07",
            )
        _check_config(source)
        return sha256(file), load_tensors(file)
    if source.suffix == ".safetensors":
        return sha256(source), load_tensors(source)
    if not source.is_file():
        raise BadCheckpoint(
            "no such file of weights",
            where=str(source),
            fix="check the path",
            code="W07",
        )
    return sha256(source), load_foreign(source)


def _check_config(folder: Path) -> None:
    """A `transformers` folder of another kind of model is refused by its own name for itself."""
    path = folder / "config.json"
    record = read_json(path, kind=BadCheckpoint) if path.is_file() else {}
    kind = record.get("model_type", "sam")
    if kind != "sam":
        raise BadCheckpoint(
            f"the folder holds a {kind!r} model, not SAM",
            where=str(folder),
            fix="SAM or MedSAM",
            code="W04",
        )
