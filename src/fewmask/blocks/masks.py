"""From SAM's three masks per prompt to one answer per slice, and what teaches them: shared by all
SAM-based methods.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from fewmask.blocks.prompts import jitter, mask_boxes
from fewmask.blocks.sam import Sam

_ABSENT = -30.0
"""Logit of a class without a mask: probability 1e-13."""


def decode_classes(
    sam: Sam,
    embedding: Float[Tensor, "b c g g"],
    boxes: Float[Tensor, "b k 4"],
    dense: Float[Tensor, "b k m m"] | None,
    do: Bool[Tensor, "b k"],
    side: int,
    kinds: Float[Tensor, "k c"] | None = None,
) -> Float[Tensor, "b k2 side side"]:
    """Best-scored mask of every (image, class) in `do`, as softmax over background (logit 0) and
    classes; k2 = k + 1.

    `kinds`: a vector per class, added to the embedding, that tells the decoder which structure is
    asked for.
    """
    b, k = do.shape
    z = torch.full((b, k, side, side), _ABSENT, device=embedding.device)
    rows, classes = torch.nonzero(do, as_tuple=True)
    if len(rows):
        masks = None if dense is None else dense[rows, classes][:, None]
        logits, scores = sam.decode(
            class_embeddings(embedding[rows], kinds, classes), boxes[rows, classes], side, masks
        )
        z = z.index_put((rows, classes), resize(best_mask(logits, scores)[:, None], side)[:, 0])
    return torch.softmax(torch.cat([torch.zeros_like(z[:, :1]), z], 1), 1)


def class_embeddings(
    embedding: Float[Tensor, "n c g g"],
    kinds: Float[Tensor, "k c"] | None,
    classes: Int[Tensor, " n"],
) -> Float[Tensor, "n c g g"]:
    """The embedding plus the vector of the class that is asked for; as it is without vectors."""
    return embedding if kinds is None else embedding + kinds[classes][:, :, None, None]


def best_mask(
    logits: Float[Tensor, "n 3 m m"], scores: Float[Tensor, "n 3"]
) -> Float[Tensor, "n m m"]:
    """The mask SAM itself thinks best."""
    return logits[torch.arange(len(logits), device=logits.device), scores.argmax(1)]


def resize(logits: Float[Tensor, "n c m m"], side: int) -> Float[Tensor, "n c side side"]:
    """Bilinear, in float32."""
    return functional.interpolate(
        logits.float(), (side, side), mode="bilinear", align_corners=False
    )


def training_boxes(
    own: Float[Tensor, "n 4"],
    truth: Bool[Tensor, "n h w"],
    share_own: float,
    amount: float,
    rng: np.random.Generator,
) -> Float[Tensor, "n 4"]:
    """The model's own box with probability `share_own`, else the true one, jittered; a missing own
    box is always replaced.
    """
    true = jitter(mask_boxes(truth), truth.shape[-1], amount, rng)
    mine = torch.from_numpy(rng.random(len(own))).to(own) < share_own
    return torch.where((mine & ~own.isnan().any(-1))[:, None], own, true)
