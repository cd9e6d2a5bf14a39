"""Where training starts: pretrained weights for a method's SAM."""

from pathlib import Path
from typing import Any

from fewmask.blocks.sam import Sam
from fewmask.blocks.sam.lora import lora_names
from fewmask.core.errors import BadConfig
from fewmask.io.ledger import BUNDLED, locate
from fewmask.io.stream import sha256
from fewmask.io.weights import fit_into, load_tensors
from fewmask.methods._method import Method

OWN = {"compact": BUNDLED, "vit-b": "sam-vit-b", "vit-l": "sam-vit-l", "vit-h": "sam-vit-h"}
"""Encoder -> the weights it starts from when none are named; sizes that are not here start at random."""


def find_weights(config: dict[str, Any]) -> dict[str, str] | None:
    """The pretrained weights that a method's config asks for, by name and SHA-256; None for a random start.

    Nothing is substituted: weights that are named or belong to the encoder and are not here raise `BadCheckpoint`.
    """
    wanted, encoder = config.get("weights"), config.get("encoder")
    if wanted is None or wanted == "none":
        return None
    name = OWN.get(str(encoder)) if wanted == "auto" else str(wanted)
    if name is None:
        return None
    return {"name": name, "sha256": sha256(locate(name))}


def load_start(method: Method, wanted: dict[str, str]) -> None:
    """Put pretrained weights into the method's SAM; adapters stay as they are. Raises `BadCheckpoint` if they do not fit."""
    sam = getattr(method, "sam", None)
    if not isinstance(sam, Sam):
        raise BadConfig("the method has no SAM to load weights into", did="nothing was started", row="C02")
    path: Path = locate(wanted["name"])
    tensors = {lora_names(sam).get(name, name): tensor for name, tensor in load_tensors(path).items()}
    own = {name: tensor for name, tensor in sam.state_dict().items() if name.endswith(("down_q", "down_v", "up_q", "up_v"))}
    fit_into(sam, {**own, **{name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}}, path)
