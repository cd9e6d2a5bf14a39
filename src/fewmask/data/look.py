"""Other grey levels for the same anatomy: a network that learned from few scans is to know shapes,
not the grey levels of these scans. Masks stay as they are.

Random convolutions after Ouyang and colleagues 2021 (arXiv 2111.12525), in our own formulation;
swapped low frequencies after Yang and Soatto 2020 (arXiv 2004.05498).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from fewmask.core.batch import BatchSpec, Look, Other

CHANNELS = 2
"""Of the random network's inner layers."""
LEAK = 0.2
"""Slope of its leaky ReLU below 0."""
_LOW = 0.05
"""Highest frequency that is swapped along each axis, in periods per voxel: bands of twenty voxels
and more.
"""
EVEN = 1e-6
"""Spread below which an image has one grey level only."""


def draw_look(
    rng: np.random.Generator, spec: BatchSpec, other: Callable[[np.random.Generator], Other]
) -> Look:
    """Each change as often as `spec` says, independently, by a part drawn uniformly from 0 to 1;
    `other` draws the place that frequencies are taken from.
    """
    # As many numbers are drawn in every case: how often one change comes does not move the other.
    parts, seed = rng.random(4), int(rng.integers(2**31))
    convolved, swapped = parts[0] < spec.random_convolution, parts[1] < spec.frequency_swap
    return Look(
        convolution=float(parts[2]) if convolved else 0.0,
        seed=seed if convolved else 0,
        swap=float(parts[3]) if swapped else 0.0,
        other=other(rng) if swapped else None,
    )


def draw_scan(rng: np.random.Generator, case: str, scans: Sequence[str]) -> str:
    """One of the scans other than `case`; `case` itself if there is no other."""
    others = [name for name in scans if name != case] or [case]
    return others[int(rng.integers(len(others)))]


def apply_look(
    image: Float[Tensor, "n h w"], look: Look, other: Float[Tensor, "n h w"] | None
) -> Float[Tensor, "n h w"]:
    """The image with another look, in [0, 1]; `other` is what stands at `look.other`."""
    if look.swap:
        if other is None:
            raise ValueError("frequencies are swapped with another image, and none was given")
        image = swap_low(image, other, look.swap)
    return convolve(image, look.convolution, look.seed) if look.convolution else image


def convolve(image: Float[Tensor, "n h w"], part: float, seed: int) -> Float[Tensor, "n h w"]:
    """`part` of what a small random network makes of the image, and 1 - `part` of the image, with
    the image's own mean and spread; clipped to [0, 1].

    Two or three layers, each with kernels of 1 or 3 pixels in plane, random biases and a leaky ReLU
    between them; all slices alike. An image of one grey level stays as it is.
    """
    mean, spread = image.mean(), image.std(correction=0)
    if spread < EVEN:
        return image
    before = (image - mean) / spread
    after = _standard(_random_network(before[:, None], seed)[:, 0])
    mixed = _standard(part * after + (1 - part) * before)
    return (mean + spread * mixed).clamp(0, 1)


def swap_low(
    image: Float[Tensor, "n h w"], other: Float[Tensor, "n h w"], part: float
) -> Float[Tensor, "n h w"]:
    """The image with lowest amplitudes of its spectrum moved by `part` towards those of `other`;
    phases, which say where things lie, stay. Clipped to [0, 1].

    Over all three axes; of a single slice over two. The mean is the lowest of all frequencies.
    """
    mine, theirs = torch.fft.rfftn(image), torch.fft.rfftn(other)
    amplitude = mine.abs()
    low = low_frequencies(image.shape)
    moved = torch.where(low, torch.lerp(amplitude, theirs.abs(), part), amplitude)
    shown = torch.fft.irfftn(torch.polar(moved, mine.angle()), s=image.shape)
    clipped: Float[Tensor, "n h w"] = shown.clamp(0, 1)
    return clipped


def random_layers(seed: int) -> list[tuple[Float[Tensor, "o i s s"], Float[Tensor, " o"]]]:
    """Kernels and biases of the two or three layers of a random network."""
    generator = torch.Generator().manual_seed(seed)
    count, inputs, layers = 2 + int(torch.randint(2, (), generator=generator)), 1, []
    for layer in range(count):
        outputs = 1 if layer == count - 1 else CHANNELS
        side = (1, 3)[int(torch.randint(2, (), generator=generator))]
        kernel = torch.randn(outputs, inputs, side, side, generator=generator)
        bias = torch.randn(outputs, generator=generator)
        layers.append((kernel / kernel[0].numel() ** 0.5, bias))
        inputs = outputs
    return layers


def _random_network(x: Float[Tensor, "n 1 h w"], seed: int) -> Float[Tensor, "n 1 h w"]:
    layers = random_layers(seed)
    for layer, (kernel, bias) in enumerate(layers):
        padded = functional.pad(x, (kernel.shape[-1] // 2,) * 4, mode="replicate")
        x = functional.conv2d(padded, kernel, bias)
        x = x if layer == len(layers) - 1 else functional.leaky_relu(x, LEAK)
    return x


def _standard(x: Float[Tensor, "n h w"]) -> Float[Tensor, "n h w"]:
    """Mean 0 and spread 1; what is even stays so."""
    return (x - x.mean()) / x.std(correction=0).clamp_min(EVEN)


def low_frequencies(shape: Sequence[int]) -> Bool[Tensor, "n h v"]:
    """Which frequencies of an image (n, h, w) are swapped, of a real transform's."""
    n, h, w = (torch.fft.fftfreq(side).abs() <= _LOW for side in shape)
    low: Bool[Tensor, "n h v"] = n[:, None, None] & h[:, None] & w[: shape[2] // 2 + 1]
    return low
