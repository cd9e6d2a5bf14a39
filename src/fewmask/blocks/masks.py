"""From SAM's three masks per prompt to one label map per slice, and the boxes it is trained with:
shared by all SAM-based methods.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from fewmask.blocks.prompts import has_box, jitter, mask_boxes
from fewmask.blocks.sam import Sam

_ABSENT = -30.0
"""Logit of a class without a mask: probability 1e-13."""


def decode_classes(
    sam: Sam,
    embedding: Float[Tensor, "b c g g"],
    boxes: Float[Tensor, "b k 4"],
    dense: Float[Tensor, "b k m m"] | None,
    selected: Bool[Tensor, "b k"],
    side: int,
    class_embeddings: Float[Tensor, "k c"] | None = None,
) -> Float[Tensor, "b k2 side side"]:
    """Best-scored mask of every selected (image, class), as softmax over background (logit 0) and
    classes; k2 = k + 1.

    `class_embeddings` tell the decoder which structure the box is for, as in
    `add_class_embedding`.
    """
    b, k = selected.shape
    z = torch.full((b, k, side, side), _ABSENT, device=embedding.device)
    rows, classes = torch.nonzero(selected, as_tuple=True)
    if len(rows):
        masks = None if dense is None else dense[rows, classes][:, None]
        prompted = add_class_embedding(embedding[rows], class_embeddings, classes)
        logits, scores = sam.decode(prompted, boxes[rows, classes], side, masks)
        best = resize(best_mask(logits, scores)[:, None], side)[:, 0]
        z = z.index_put((rows, classes), best)
    return torch.softmax(torch.cat([torch.zeros_like(z[:, :1]), z], 1), 1)


def add_class_embedding(
    embedding: Float[Tensor, "n c g g"],
    class_embeddings: Float[Tensor, "k c"] | None,
    classes: Int[Tensor, " n"],
) -> Float[Tensor, "n c g g"]:
    """The embedding plus the vector of the image's class (index into k) at every place; unchanged
    without vectors.
    """
    if class_embeddings is None:
        return embedding
    return embedding + class_embeddings[classes][:, :, None, None]


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
    predicted: Float[Tensor, "n 4"],
    truth: Bool[Tensor, "n h w"],
    share_predicted: float,
    amount: float,
    rng: np.random.Generator,
) -> Float[Tensor, "n 4"]:
    """The model's own box with probability `share_predicted`, else the true one, jittered by up to
    `amount` of its sides; a missing box (NaN) is always replaced.
    """
    true = jitter(mask_boxes(truth), truth.shape[-1], amount, rng)
    chosen = torch.from_numpy(rng.random(len(predicted))).to(predicted) < share_predicted
    return torch.where((chosen & has_box(predicted))[:, None], predicted, true)
