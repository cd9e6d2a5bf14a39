"""Import foreign SAM weights into this machine's cache, exactly or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fewmask.blocks.sam.official import find_size, rename, shapes_of
from fewmask.core.errors import BadCheckpoint, BadConfig
from fewmask.io.ledger import BUNDLED, LEDGER, Weights, bundled, make_cache
from fewmask.io.stream import sha256
from fewmask.io.text import read_json
from fewmask.io.weights import (
    check_fit,
    count_weights,
    load_foreign,
    load_known,
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
    """What a file or folder of SAM weights holds, or a package's encoder. Raises `BadCheckpoint` if
    it cannot be used.
    """
    packaged = _find_packaged(path)
    if packaged is not None:
        theirs = load_known(path)
        return {
            "kind": f"encoder weights: {packaged.trained_on}",
            "encoder": packaged.size,
            "numbers": count_weights(theirs),
            "stored as": _kinds(theirs),
            "sha256": packaged.sha256,
            "known as": packaged.name,
        }
    digest, tensors = _read(path)
    renamed = rename(tensors, str(path))
    size = find_size(renamed, str(path))
    check_fit(shapes_of(size), renamed, path)
    names = {entry.sha256: entry.name for entry in LEDGER} | {sha256(bundled()): BUNDLED}
    notes = read_metadata(path) if path.suffix == ".safetensors" else {}
    return {
        "kind": "SAM weights",
        "encoder": size.name,
        "numbers": count_weights(tensors),
        "stored as": _kinds(tensors),
        "sha256": digest,
        "known as": names.get(digest, "not in the ledger"),
        **notes,
    }


def _find_packaged(path: Path) -> Weights | None:
    """The entry of the ledger whose package's very file this is."""
    alike = [entry for entry in LEDGER if entry.package and entry.file == path.name]
    return next((entry for entry in alike if sha256(path) == entry.sha256), None)


def _kinds(tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(
        sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()})
    )


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
