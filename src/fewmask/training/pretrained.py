"""Where training starts: pretrained weights for a method's SAM, and embeddings that need not be
computed again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fewmask.blocks.sam.lora import lora_names
from fewmask.blocks.sam.model import Encode, Recall
from fewmask.core.errors import BadConfig
from fewmask.core.run_record import Pretrained
from fewmask.io.embeddings import EmbeddingStore, check_size, weights_key
from fewmask.io.ledger import BUNDLED, locate
from fewmask.io.stream import sha256
from fewmask.io.weights import fit_into, load_known, load_tensors
from fewmask.methods._method import HasEncoder, HasSam, Method
from fewmask.training.request import TrainRequest

OWN = {
    "compact": BUNDLED,
    "vit-b": "sam-vit-b",
    "vit-l": "sam-vit-l",
    "vit-h": "sam-vit-h",
    "lite0": "imagenet-lite0",
}
"""Encoder -> the weights it starts from when none are named; sizes that are not here start at
random.
"""


def find_weights(settings: Mapping[str, Any]) -> Pretrained | None:
    """The pretrained weights that a method's settings ask for, by name and SHA-256; None for a
    random start.

    Nothing is substituted: weights that are named or belong to the encoder and are not here raise
    `BadCheckpoint`.
    """
    wanted, encoder = settings.get("weights"), settings.get("encoder")
    if wanted is None or wanted == "none":
        return None
    name = OWN.get(str(encoder)) if wanted == "auto" else str(wanted)
    if name is None:
        return None
    return Pretrained(name, sha256(locate(name)))


def load_pretrained(method: Method, wanted: Pretrained) -> None:
    """Put pretrained weights into the method's SAM or other encoder; adapters stay as they are.
    Raises `BadCheckpoint` if they do not fit.
    """
    path: Path = locate(wanted.name)
    if isinstance(method, HasEncoder):
        method.load_encoder(load_known(path) if path.suffix == ".pth" else load_tensors(path))
        return
    if not isinstance(method, HasSam):
        raise BadConfig(
            "the method has no encoder to load weights into", fix="leave `weights` out", code="C02"
        )
    sam = method.sam
    tensors = {
        lora_names(sam).get(name, name): tensor for name, tensor in load_tensors(path).items()
    }
    own = {
        name: tensor
        for name, tensor in sam.state_dict().items()
        if name.endswith(("down_q", "down_v", "up_q", "up_v"))
    }
    fresh = {
        name: tensor
        for name, tensor in sam.state_dict().items()
        if name.startswith(method.random_prefixes)
    }
    tensors = {
        name: tensor
        for name, tensor in tensors.items()
        if not name.startswith(method.random_prefixes)
    }
    own |= fresh
    fit_into(
        sam,
        {**own, **{name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}},
        path,
    )


def recall_embeddings(method: Method, request: TrainRequest, images: int, precision: str) -> str:
    """Let a wholly frozen encoder that sees unaugmented slices remember its embeddings; says what
    will be kept of so many `images`, or nothing.

    In memory, or in `request.embeddings`. Raises `BadConfig` if a folder is asked for and the
    encoder learns, slices are augmented, or the method cuts random patches, `NoRoom` if the
    embeddings exceed the limit.
    """
    sam = method.sam if isinstance(method, HasSam) else None
    frozen = sam is not None and not any(
        weight.requires_grad for weight in sam.image_encoder.parameters()
    )
    patches = method.batch_spec.patch is not None
    spec = method.batch_spec
    same = not (spec.augment or spec.strong or spec.new_looks)
    fits = frozen and not patches and same
    if request.embeddings is not None and not fits:
        raise BadConfig(
            "embeddings can be kept only of a wholly frozen encoder on whole slices without "
            "augmentation",
            fix="leave `embeddings` out"
            if patches
            else "use `tune=decoder` with `augment=false`, or leave `embeddings` out",
            code="C02",
        )
    if not fits or sam is None:
        return ""
    limit = int(request.embeddings_gib * 2**30)
    says = (
        check_size(images, 2 * sam.channels * sam.grid**2, limit)
        if request.embeddings is not None
        else ""
    )
    arrays = {
        name: tensor.float().numpy(force=True)
        for name, tensor in sam.image_encoder.state_dict().items()
    }
    # float32 and bfloat16 as they were written before there was a third.
    known = {"float32": False, "bfloat16": True}.get(precision, precision)
    key = weights_key(arrays, sam.image_size, sam.patch, sam.official, known)
    sam.recall = remember(EmbeddingStore(key, request.embeddings, limit))
    return says


def remember(store: EmbeddingStore) -> Recall:
    """The store as SAM calls it: a batch of images and the encoder; one slice at a time, float32
    out, no gradient.
    """

    def recall(image: Float[Tensor, "b 1 s s"], encode: Encode) -> Float[Tensor, "b c g g"]:
        def one(slice_: Float[Tensor, "1 1 s s"]) -> Tensor:
            with torch.no_grad():
                found = store.recall(
                    slice_.numpy(force=True), lambda: encode(slice_).float().numpy(force=True)
                )
            return torch.from_numpy(found).to(image.device).float()

        return torch.cat([one(slice_) for slice_ in image.split(1)])

    return recall
