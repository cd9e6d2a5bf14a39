"""Probabilities back to the scanner's voxels, where they were computed: in NumPy, or on a GPU."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from fewmask.core.placement import Axis, Placement, VolumePlacement


class SliceRestorer:
    """Restores slices of a scan, a few at a time."""

    def __init__(self, placement: Placement, device: torch.device) -> None:
        """Probabilities will be on `device`."""
        self._placement = placement
        self._rows, self._columns = _matrices((placement.rows, placement.columns), device)

    def restore(self, probs: Float[Tensor, "n c a b"]) -> Float[Tensor, "n c h w"]:
        """Probabilities of the scanner's slices, float32. See `Placement.restore`."""
        if probs.device.type == "cpu":
            return torch.from_numpy(self._placement.restore(probs.float().numpy()))
        back = self._rows @ probs.float() @ self._columns.T
        back[:, 0] += 1 - torch.outer(self._rows.sum(1), self._columns.sum(1))
        return back


class VolumeRestorer:
    """Restores a scan that comes in blocks of the network's slices."""

    def __init__(self, placement: VolumePlacement, device: torch.device) -> None:
        """Probabilities will be on `device`."""
        self._placement = placement
        self._axes = _matrices(placement.axes, device)

    def restore(
        self, probs: Float[Tensor, "c n a b"], first: int, slices: range
    ) -> Float[Tensor, "c m h w"]:
        """Probabilities of these slices of the scan, from the network's slices `first` onwards that
        they are made of. See `VolumePlacement.restore`.
        """
        if probs.device.type == "cpu":
            return torch.from_numpy(self._placement.restore(probs.numpy(), first, slices))
        d, h, w = self._axes
        rows = d[slices.start : slices.stop, first : first + probs.shape[1]]
        return h @ torch.einsum("md,cdhw->cmhw", rows, probs) @ w.T


def classes_of(probs: Float[Tensor, "*shape"], dim: int) -> UInt8[np.ndarray, "*rest"]:
    """The most probable class along `dim`; the first of equal ones. Only a byte per voxel leaves
    the device.
    """
    if probs.device.type == "cpu":
        first: UInt8[np.ndarray, "*rest"] = probs.numpy().argmax(dim).astype(np.uint8)
        return first
    return probs.argmax(dim).to(torch.uint8).cpu().numpy()


def confidence_of(probs: Float[Tensor, "c m h w"]) -> UInt8[np.ndarray, "m h w"]:
    """Probability of the most probable class, 0 to 255."""
    return (255 * probs.amax(0).clamp(0, 1)).round().to(torch.uint8).cpu().numpy()


def mass_of(probs: Float[Tensor, "c m h w"]) -> Float[np.ndarray, "m k"]:
    """Sum over each slice of the probabilities of every structure (not of background)."""
    sums: Float[np.ndarray, "m k"] = probs[1:].sum((2, 3)).T.cpu().numpy()
    return sums


def _matrices(axes: Sequence[Axis], device: torch.device) -> list[Float[Tensor, "source target"]]:
    return [torch.from_numpy(axis.backward).to(device) for axis in axes]
