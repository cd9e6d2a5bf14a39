"""Augmentation in one call for all images of a stream, on the device where training wants them.

Random numbers are drawn on the host, as ever, and noise is a part of the batch: it costs as many
bytes as the images. So a GPU gives what a CPU gives, but for the last bits of its arithmetic: it
knows where a pixel looks to about 1e-5 of a pixel.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor
from torch.nn import functional

from fewmask.core.batch import (
    Batch,
    Draw,
    Labelled,
    Networks,
    Pending,
    Shade,
    Swaps,
    Unlabelled,
    Weak,
)
from fewmask.data.augment import noise_of, sampling_grid, stays, turn_of
from fewmask.data.look import CHANNELS, EVEN, LEAK, low_frequencies, random_layers


def defer(
    draws: Sequence[Draw],
    shape: tuple[int, int, int],
    others: Sequence[Float[Tensor, "n h w"] | None],
    outside: int = 0,
    stronger: Sequence[Draw] = (),
) -> Pending:
    """What `draws` do to images of `shape` (n, h, w), as numbers; `others` are the images at each
    draw's `look.other`, `stronger` those draws with contrast and noise of the strong view.
    """
    moves = not all(stays(one) for one in draws)
    return Pending(
        outside,
        torch.stack([turn_of(one) for one in draws]) if moves else None,
        _shade(draws, shape) if moves else None,
        _shade(stronger, shape) if stronger else None,
        _networks(draws),
        _swaps(draws, others),
    )


def apply_pending(batch: Batch) -> Batch:
    """The batch with its augmentation done, where its tensors are; the same batch if none waits."""
    return replace(
        batch,
        labelled=_label(batch.labelled),
        weak=_tag(batch.weak),
        unlabelled=_show(batch.unlabelled),
        empty=_tag(batch.empty),
    )


def _label(stream: Labelled | None) -> Labelled | None:
    if stream is None or stream.pending is None:
        return stream
    mask = _move_mask(stream.mask, stream.pending)
    classes = torch.arange(1, stream.present.shape[1] + 1, device=mask.device)
    present = (mask.flatten(1)[:, None] == classes[:, None]).any(-1).long()
    image = _shaded(_seen(stream.image, stream.pending), stream.pending.shade, stream.image)
    return replace(stream, image=image, mask=mask, present=present, pending=None)


def _tag(stream: Weak | None) -> Weak | None:
    if stream is None or stream.pending is None:
        return stream
    pseudo = None if stream.pseudo is None else _move_mask(stream.pseudo, stream.pending)
    image = _shaded(_seen(stream.image, stream.pending), stream.pending.shade, stream.image)
    return replace(stream, image=image, pseudo=pseudo, pending=None)


def _show(stream: Unlabelled | None) -> Unlabelled | None:
    if stream is None or stream.pending is None:
        return stream
    pseudo = None if stream.pseudo is None else _move_mask(stream.pseudo, stream.pending)
    seen = _seen(stream.image, stream.pending)
    shade = stream.pending.strong
    strong = None if shade is None else _shaded(seen, shade, stream.image)
    image = _shaded(seen, stream.pending.shade, stream.image)
    return replace(stream, image=image, strong=strong, pseudo=pseudo, pending=None)


# --- On the host ---


def _shade(draws: Sequence[Draw], shape: tuple[int, int, int]) -> Shade:
    levels = [[one.gamma, one.gain, one.offset, one.noise] for one in draws]
    noise = [noise_of(one, shape) if one.noise else torch.zeros(shape) for one in draws]
    return Shade(torch.tensor(levels), torch.stack(noise))


def _networks(draws: Sequence[Draw]) -> Networks | None:
    which = [place for place, one in enumerate(draws) if one.look.convolution]
    if not which:
        return None
    layers = [random_layers(draws[place].look.seed) for place in which]
    nothing = (torch.zeros(CHANNELS, CHANNELS, 3, 3), torch.zeros(CHANNELS))
    filled = [(one[0], one[1] if len(one) == 3 else nothing, one[-1]) for one in layers]
    first, middle, last = (
        torch.stack([_in_nine(one[layer][0]) for one in filled]) for layer in range(3)
    )
    biases = [torch.cat([bias for _, bias in one]) for one in filled]
    return Networks(
        torch.tensor(which),
        torch.tensor([draws[place].look.convolution for place in which]),
        first,
        middle,
        last,
        torch.stack(biases),
        torch.tensor([len(one) == 3 for one in layers]),
    )


def _in_nine(kernel: Float[Tensor, "o i s s"]) -> Float[Tensor, "o i 3 3"]:
    """A kernel of one pixel as the middle of nine."""
    return kernel if kernel.shape[-1] == 3 else functional.pad(kernel, (1, 1, 1, 1))


def _swaps(draws: Sequence[Draw], others: Sequence[Float[Tensor, "n h w"] | None]) -> Swaps | None:
    which = [place for place, one in enumerate(draws) if one.look.swap]
    given = [other for place in which if (other := others[place]) is not None]
    if len(given) < len(which):
        raise ValueError("frequencies are swapped with another image, and none was given")
    if not which:
        return None
    parts = torch.tensor([draws[place].look.swap for place in which])
    return Swaps(torch.tensor(which), parts, torch.stack(given))


# --- On the device ---


def _seen(image: Float[Tensor, "b 1 *space"], pending: Pending) -> Float[Tensor, "b n h w"]:
    """Images moved and with other looks, not yet shaded."""
    seen = image.reshape(len(image), -1, *image.shape[-2:])
    if pending.turns is not None:
        grid = sampling_grid(pending.turns, seen.shape[-2:])
        seen = functional.grid_sample(seen, grid, mode="bilinear", align_corners=False)
    if pending.swaps is not None:
        swaps = pending.swaps
        seen = seen.index_copy(0, swaps.which, _swap(seen[swaps.which], swaps))
    if pending.networks is not None:
        networks = pending.networks
        seen = seen.index_copy(0, networks.which, _convolve(seen[networks.which], networks))
    return seen


def _shaded(
    seen: Float[Tensor, "b n h w"], shade: Shade | None, like: Float[Tensor, "b 1 *space"]
) -> Float[Tensor, "b 1 *space"]:
    """With contrast and noise, in the shape in which images came."""
    if shade is not None:
        gamma, gain, offset, noise = shade.levels.T[..., None, None, None]
        shown = seen.clamp(0, 1) ** gamma * gain + offset
        seen = (shown + noise * shade.noise).clamp(0, 1)
    return seen.reshape(like.shape)


def _move_mask(mask: Integer[Tensor, "b *n h w"], pending: Pending) -> Int[Tensor, "b *n h w"]:
    if pending.turns is None:
        return mask.long()
    slices = mask.reshape(len(mask), -1, *mask.shape[-2:]).float() - pending.outside
    grid = sampling_grid(pending.turns, slices.shape[-2:])
    moved = functional.grid_sample(slices, grid, mode="nearest", align_corners=False)
    return (moved + pending.outside).round().long().reshape(mask.shape)


def _swap(image: Float[Tensor, "m n h w"], swaps: Swaps) -> Float[Tensor, "m n h w"]:
    """As `swap_low`, for all images at once."""
    axes = (-3, -2, -1)
    mine, theirs = (torch.fft.rfftn(one, dim=axes) for one in (image, swaps.other))
    low = low_frequencies(image.shape[1:]).to(image.device, non_blocking=True)
    part = swaps.part[:, None, None, None]
    moved = torch.where(low, torch.lerp(mine.abs(), theirs.abs(), part), mine.abs())
    polar = torch.polar(moved, mine.angle())
    shown: Tensor = torch.fft.irfftn(polar, s=image.shape[1:], dim=axes).clamp(0, 1)
    return shown


def _convolve(image: Float[Tensor, "m n h w"], networks: Networks) -> Float[Tensor, "m n h w"]:
    """As `convolve`, for all images at once."""
    axes = (1, 2, 3)
    mean, spread = image.mean(axes, keepdim=True), image.std(axes, correction=0, keepdim=True)
    before = (image - mean) / spread.clamp_min(EVEN)
    biases = networks.biases.split([CHANNELS, CHANNELS, 1], 1)
    first = functional.leaky_relu(_layer(before[:, None], networks.first, biases[0]), LEAK)
    middle = functional.leaky_relu(_layer(first, networks.middle, biases[1]), LEAK)
    chosen = torch.where(networks.has_middle[:, None, None, None, None], middle, first)
    after = _standard(_layer(chosen, networks.last, biases[2])[:, 0])
    part = networks.part[:, None, None, None]
    mixed = _standard(part * after + (1 - part) * before)
    return torch.where(spread < EVEN, image, (mean + spread * mixed).clamp(0, 1))


def _layer(
    x: Float[Tensor, "m i n h w"],
    kernel: Float[Tensor, "m o i 3 3"],
    bias: Float[Tensor, "m o"],
) -> Float[Tensor, "m o n h w"]:
    """Every image with its own kernel, in plane. Tap by tap: a GPU's convolutions round to TF32."""
    h, w = x.shape[-2:]
    padded = functional.pad(x, (1, 1, 1, 1, 0, 0), mode="replicate")
    out = bias[..., None, None, None]
    for y, z in itertools.product(range(3), range(3)):
        shifted = padded[..., y : y + h, z : z + w]
        out = out + torch.einsum("moi,minhw->monhw", kernel[..., y, z], shifted)
    return out


def _standard(x: Float[Tensor, "m n h w"]) -> Float[Tensor, "m n h w"]:
    axes = (1, 2, 3)
    spread = x.std(axes, correction=0, keepdim=True).clamp_min(EVEN)
    return (x - x.mean(axes, keepdim=True)) / spread
