"""Class-activation maps and the binary masks made of them (A4)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional


def class_activation(
    features: Float[Tensor, "b c gh gw"], weight: Float[Tensor, "k c"]
) -> Float[Tensor, "b k gh gw"]:
    """Grad-CAM of a global-average-pool + linear head, in closed form: ReLU of the features
    weighted by the class's row.

    For such a head the gradient of logit k with respect to every feature pixel is weight[k] / (gh
    gw), so Grad-CAM and this map differ by a constant only (Selvaraju et al. 2017), which the
    scaling below removes. Min-max scaled to [0, 1] per map; a flat or non-finite map is all zero.
    Detached: no gradient flows into the classifier.
    """
    with torch.no_grad():
        raw = torch.relu(torch.einsum("bchw,kc->bkhw", features, weight.to(features.dtype)).float())
        low, high = raw.amin((2, 3), keepdim=True), raw.amax((2, 3), keepdim=True)
        scaled = (raw - low) / (high - low).clamp_min(1e-12)
        return torch.where(
            (high - low > 1e-6) & torch.isfinite(high), scaled, torch.zeros_like(scaled)
        )


def class_attention(
    features: Float[Tensor, "b c gh gw"], weight: Float[Tensor, "k c"]
) -> Float[Tensor, "b k gh gw"]:
    """Softmax over the cells of the features weighted by the class's row, with its peak scaled to
    1; ours.

    What `losses.attention_guide` teaches: about equal where the structure is, nothing elsewhere.
    Detached; a non-finite map is 0.
    """
    with torch.no_grad():
        logits = torch.einsum("bchw,kc->bkhw", features, weight.to(features.dtype)).float()
        scaled = torch.exp(logits - logits.amax((2, 3), keepdim=True))
        return torch.where(torch.isfinite(scaled), scaled, torch.zeros_like(scaled))


def attention_pool(
    attention: Float[Tensor, "b k gh gw"], value: Float[Tensor, "b k gh gw"]
) -> Float[Tensor, "b k"]:
    """Value logits averaged over the cells, with the softmax of the attention logits as weights
    (attention pooling, Ilse et al. 2018).
    """
    weights = torch.softmax(attention.float().flatten(2), -1)
    return (weights * value.float().flatten(2)).sum(-1)


def activation_mask(
    cam: Float[Tensor, "b k gh gw"], side: int, cut: float
) -> Bool[Tensor, "b k side side"]:
    """Up-sample bilinearly (half-pixel centres) to `side`, rescale to a peak of 1, keep what is at
    least `cut` of the peak.

    The published figure's mask is exactly 8-bit CAM >= 50, i.e. cut = 50/255 (A4). An
    all-zero map gives an empty mask.
    """
    up = functional.interpolate(cam, (side, side), mode="bilinear", align_corners=False)
    peak = up.amax((2, 3), keepdim=True)
    return (up >= cut * peak) & (peak > 0)
