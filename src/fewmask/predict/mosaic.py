"""What a network says about several windows of a slice, as one answer about the placed slice."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from fewmask.core.batch import Probabilities
from fewmask.core.placement import Placement, Window


def join(answers: Sequence[Probabilities], placement: Placement) -> Probabilities:
    """One answer from one per window of the placement; a single one is returned as it is.

    Where windows overlap, probabilities are averaged with weights that fall linearly from a
    window's middle to its edge. A structure is as present as in the window that is surest; its box
    is the smallest that holds the boxes of all windows, and no prompt is missing if some window has
    one. Heat is averaged as probabilities are, each window's by how sure it is.
    """
    if len(answers) == 1:
        return answers[0]
    probs = blend([answer.probs for answer in answers], placement)
    presents = _known([answer.present for answer in answers])
    boxes = _known([answer.boxes for answer in answers])
    heats = _known([answer.heat for answer in answers])
    silents = _known([answer.no_prompt for answer in answers])
    present, box, heat, silent = None, None, None, None
    if presents is not None:
        present = torch.stack(presents).amax(0)
    if boxes is not None:
        box = _union(boxes, placement.windows)
    if heats is not None and presents is not None and present is not None:
        shares = [(one / present.clamp(min=1e-6))[..., None, None] for one in presents]
        heat = _blend_heat([h * share for h, share in zip(heats, shares, strict=True)], placement)
    if silents is not None and box is not None:
        silent = torch.stack(silents).amax(0) * box[..., 0].isnan()
    return Probabilities(probs, present, box, heat, silent)


def blend(
    parts: Sequence[Float[Tensor, "n c size size"]], placement: Placement
) -> Float[Tensor, "n c a b"]:
    """The mean of what windows say, weighted by the distance from each window's edge, in pixels
    along rows times columns.
    """
    size = placement.size
    near = torch.arange(1, size + 1, device=parts[0].device, dtype=torch.float32)
    near = torch.minimum(near, near.flip(0))
    weight = torch.outer(near, near)
    shape = (placement.rows.target, placement.columns.target)
    total = weight.new_zeros(shape)
    blended = weight.new_zeros((*parts[0].shape[:2], *shape))
    for part, window in zip(parts, placement.windows, strict=True):
        total[window.part] += weight
        blended[window.part] += weight * part.float()
    return blended / total


def _blend_heat(
    heat: Sequence[Float[Tensor, "n k gh gw"]], placement: Placement
) -> Float[Tensor, "n k h w"]:
    """Heat maps of windows on one grid over the placed slice, with cells of about the same size."""
    size, (rows, columns) = placement.size, heat[0].shape[-2:]
    whole = blend([functional.interpolate(one.float(), (size, size)) for one in heat], placement)
    cells = (
        round(placement.rows.target * rows / size),
        round(placement.columns.target * columns / size),
    )
    return functional.interpolate(whole, cells, mode="area")


def _union(
    boxes: Sequence[Float[Tensor, "n k 4"]], windows: Sequence[Window]
) -> Float[Tensor, "n k 4"]:
    """The smallest box on the placed slice around those of the windows; NaN where none is."""
    corners = [[window.left, window.top, window.left, window.top] for window in windows]
    moved = [
        box.float() + box.new_tensor(corner, dtype=torch.float32)
        for box, corner in zip(boxes, corners, strict=True)
    ]
    low, high = torch.stack(moved).split(2, -1)
    union = [low.nan_to_num(torch.inf).amin(0), high.nan_to_num(-torch.inf).amax(0)]
    around = torch.cat(union, -1)
    return torch.where(around.isinf(), torch.nan, around)


def _known(parts: Sequence[Tensor | None]) -> list[Tensor] | None:
    """What every window gave; None if the method does not give it."""
    known = [part for part in parts if part is not None]
    return known if len(known) == len(parts) else None
