"""Batches of patches for methods that work in 3D, as a pure function of (seed, step)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from types import TracebackType

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor

from fewmask.core.batch import (
    IGNORE,
    Batch,
    BatchSpec,
    Draw,
    Labelled,
    Look,
    Other,
    Pending,
    Unlabelled,
)
from fewmask.core.budget import Budget
from fewmask.core.errors import BadConfig
from fewmask.core.placement import VolumePlacement
from fewmask.core.randomness import rng
from fewmask.core.run_record import Provided
from fewmask.data.augment import apply_image, apply_mask, draw
from fewmask.data.label_guard import LabelGuard
from fewmask.data.loader import ONE_AHEAD, Ahead, Prefetcher, count_provided, sample_indices
from fewmask.data.look import draw_look, draw_scan
from fewmask.data.pending import defer
from fewmask.data.pseudo_labels import PseudoLabels
from fewmask.data.room import Room
from fewmask.io.prepared import Prepared

Place = tuple[str, int | None]
"""(case, slice d that the patch must hold, if any)."""
Voxel = tuple[int, int, int]
"""(d, h, w)."""
_CACHE_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Crop:
    """Where a patch lies and how it is turned, as a value."""

    corner: Voxel
    """First voxel (d, h, w); negative where the scan is smaller than the patch."""
    turns: int = 0
    """Quarter turns in plane."""
    mirror: bool = False
    """Mirror along h after turning."""


def draw_crop(
    shape: Voxel,
    patch: Voxel,
    turns: bool,
    generator: np.random.Generator,
    hold: int | None = None,
    middle: Voxel | None = None,
) -> Crop:
    """A random place of the patch in the scan; with `hold` slice `hold` is in it. A scan that is
    smaller lies in the middle.

    With `middle` that voxel is the patch's middle, or as near to it as the scan's border allows.
    With `turns` the eight orientations of a square are equally likely.
    """
    corner = []
    for axis, (n, side) in enumerate(zip(shape, patch, strict=True)):
        low, high = 0, n - side
        if high <= 0:
            corner.append(high // 2)
            continue
        if middle is not None:
            corner.append(min(max(low, middle[axis] - side // 2), high))
            continue
        if axis == 0 and hold is not None:
            low, high = max(low, hold - side + 1), min(high, hold)
        corner.append(int(generator.integers(low, high + 1)))
    d, h, w = corner
    if not turns:
        return Crop((d, h, w))
    # The literature's code mirrors after every turn: four of the eight orientations only, and the
    # scan's own is not among them.
    return Crop((d, h, w), int(generator.integers(4)), bool(generator.integers(2)))


def draw_middle(
    mask: UInt8[Tensor, "d h w"], generator: np.random.Generator, hold: int | None = None
) -> Voxel | None:
    """A voxel of a structure, each structure of the mask as likely as another; with `hold` of slice
    `hold`.

    None if there is no structure.
    """
    first = hold or 0
    part = mask if hold is None else mask[hold : hold + 1]
    counts = torch.bincount(part.flatten(), minlength=IGNORE + 1).tolist()
    there = [structure for structure in range(1, IGNORE) if counts[structure]]
    if not there:
        return None
    voxels = torch.nonzero(part == there[int(generator.integers(len(there)))])
    d, h, w = voxels[int(generator.integers(len(voxels)))].tolist()
    return first + d, h, w


def cut(volume: Tensor, patch: Voxel, crop: Crop, fill: int) -> Tensor:
    """The patch of a volume (d, h, w), turned; `fill` beyond the scan."""
    out = volume.new_full(patch, fill)
    source, target = [], []
    for n, side, first in zip(volume.shape, patch, crop.corner, strict=True):
        low, high = max(0, first), min(n, first + side)
        source.append(slice(low, high))
        target.append(slice(low - first, high - first))
    out[tuple(target)] = volume[tuple(source)]
    out = torch.rot90(out, crop.turns, (1, 2))
    return out.flip(1) if crop.mirror else out


class PatchLoader:
    """Labelled and unlabelled patches over the training part of a prepared dataset.

    Labelled patches come from the budget's volumes, or hold one of its slices; one volume is
    enough, since it is drawn again and again. Unlabelled patches come from all scans without a
    granted mask, or from all if every scan has one.
    """

    def __init__(
        self,
        prepared: Prepared,
        budget: Budget,
        loader: BatchSpec,
        seed: int,
        pseudo: Path | None = None,
        trust: float = 0.0,
        ahead: Ahead = ONE_AHEAD,
        spill: Path | None = None,
    ) -> None:
        """Raises `BadConfig` if the budget grants nothing or the method wants slices.

        `pseudo` holds label maps `CASE.nii.gz` that an earlier stage made, with their confidence;
        voxels below `trust` in [0, 1] are left out. Scans without one are all `IGNORE`, or are not
        drawn if the loader wants only those with one. Without the folder, labels that a loader
        wants are still to be made: 0 in the scan, `IGNORE` beyond it. Placed scans beyond 4 GiB are
        kept in files that no one sees in the folder `spill`; without it they are read again.
        """
        if loader.patch is None:
            raise BadConfig(
                "the method wants slices, not patches", fix="read the data as slices", code="C02"
            )
        self._prepared, self._feed, self._seed, self._patch = prepared, loader, seed, loader.patch
        self._gate = LabelGuard(prepared, budget)
        self._granted: dict[str, list[int]] = {}
        for case, d in self._gate.granted():
            self._granted.setdefault(case, []).append(d)
        if loader.labelled and not self._granted:
            raise BadConfig(
                "the budget grants no mask",
                fix="grant some with `slices` or `volumes`",
                code="C02",
            )
        slices = [(case, d) for case, granted in self._granted.items() for d in granted]
        self._whole = budget.kind == "volumes"
        self._labelled: list[Place] = (
            [(case, None) for case in self._granted] if self._whole else list(slices)
        )
        rest = [case for case in prepared.split.train if case not in self._granted]
        self._pseudo = PseudoLabels(pseudo, trust, prepared.recipe.plane)
        pool = rest or prepared.split.train
        if loader.pseudo == "only":
            pool = [case for case in pool if case in self._pseudo.cases]
        self._unlabelled: list[Place] = [(case, None) for case in pool]
        self._placements = {
            case: VolumePlacement.of(row.shape, row.spacing_mm, prepared.recipe)
            for case, row in prepared.cases.items()
        }
        self._images: dict[str, Tensor] = {}
        self._masks: dict[str, Tensor] = {}
        self._labels_made: dict[str, Tensor] = {}
        self._room = Room(_CACHE_BYTES, spill)
        self._reading = Lock()  # one thread reads a scan, and the others wait for it
        self._defer = ahead.defer and (loader.augment or loader.new_looks)
        self._batches = Prefetcher(self._make, ahead)

    def report(self) -> Provided:
        """What a person provided."""
        return count_provided(self._prepared, self._gate.granted(), tags=False)

    def batch(self, index: int) -> Batch:
        """The batch of step `index`; the next ones are made in the background meanwhile."""
        return self._batches.batch(index)

    def close(self) -> None:
        """Stop the background threads, and free the disk."""
        self._batches.close()
        self._room.close()

    def __enter__(self) -> "PatchLoader":
        """The open loader."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _make(self, index: int) -> Batch:
        labelled = unlabelled = None
        names: dict[str, tuple[str, ...]] = {}
        if self._feed.labelled:
            crops, draws = self._places(
                "labelled", self._labelled, self._feed.labelled, index, self._feed.centred
            )
            masks = self._cut_masks(self._mask, crops, draws)
            classes = torch.arange(1, len(self._prepared.classes) + 1)
            present = (masks.flatten(1)[:, None] == classes[:, None]).any(-1).long()
            images, left = self._cut_images(crops, draws), self._pending(draws)
            labelled = Labelled(images, masks, present, draws, left)
            names["labelled"] = tuple(f"{case}:{crop.corner}" for case, crop in crops)
        if self._feed.unlabelled and self._unlabelled:
            crops, draws = self._places(
                "unlabelled", self._unlabelled, self._feed.unlabelled, index
            )
            pseudo = (
                None if self._feed.pseudo == "off" else self._cut_masks(self._made, crops, draws)
            )
            images, left = self._cut_images(crops, draws), self._pending(draws)
            unlabelled = Unlabelled(images, None, draws, pseudo, left)
            names["unlabelled"] = tuple(f"{case}:{crop.corner}" for case, crop in crops)
        return Batch(labelled, None, unlabelled, names)

    def _places(
        self, stream: str, pool: Sequence[Place], count: int, index: int, centred: float = 0.0
    ) -> tuple[list[tuple[str, Crop]], tuple[Draw, ...]]:
        """Where the patches of a step lie, and how they are augmented; `centred` is for streams
        whose masks are granted.
        """
        crops, draws = [], []
        for place, (case, d) in enumerate(sample_indices(pool, count, self._seed, stream, index)):
            placement = self._placements[case]
            hold = None if d is None else placement.row_of(d)
            generator = rng(self._seed, "crop", stream, index, place)
            middle = None
            if centred and generator.random() < centred:
                middle = draw_middle(self._mask(case), generator, hold)
            crops.append(
                (
                    case,
                    draw_crop(
                        placement.shape, self._patch, self._feed.turns, generator, hold, middle
                    ),
                )
            )
            draws.append(self._draw(stream, index, place, case))
        return crops, tuple(draws)

    def _draw(self, stream: str, index: int, place: int, case: str) -> Draw:
        drawn = Draw()
        if self._feed.augment:
            drawn = draw(rng(self._seed, "augment", stream, index, place), self._feed.ranges)
        if not self._feed.new_looks:
            return drawn

        def other(generator: np.random.Generator) -> Other:
            chosen = draw_scan(generator, case, self._prepared.split.train)
            shape = self._placements[chosen].shape
            return chosen, draw_crop(shape, self._patch, False, generator).corner

        generator = rng(self._seed, "look", stream, index, place)
        return replace(drawn, look=draw_look(generator, self._feed, other))

    def _cut_images(
        self, crops: Sequence[tuple[str, Crop]], draws: Sequence[Draw]
    ) -> Float[Tensor, "b 1 d h w"]:
        patches = [cut(self._image(case), self._patch, crop, 0) for case, crop in crops]
        if self._defer:
            return torch.stack(patches)[:, None]
        return torch.stack(
            [
                apply_image(patch, one, self._other(one.look))[None]
                for patch, one in zip(patches, draws, strict=True)
            ]
        )

    def _pending(self, draws: Sequence[Draw]) -> Pending | None:
        """What is left to the device."""
        if not self._defer:
            return None
        return defer(draws, self._patch, [self._other(one.look) for one in draws], IGNORE)

    def _other(self, look: Look) -> Float[Tensor, "d h w"] | None:
        """The patch of another scan from which frequencies are taken."""
        if look.other is None:
            return None
        case, corner = look.other
        return cut(self._image(case), self._patch, Crop(corner), 0)

    def _cut_masks(
        self,
        mask: Callable[[str], Tensor],
        crops: Sequence[tuple[str, Crop]],
        draws: Sequence[Draw],
    ) -> Int[Tensor, "b d h w"]:
        patches = [cut(mask(case), self._patch, crop, IGNORE) for case, crop in crops]
        if self._defer:
            return torch.stack(patches).long()
        return torch.stack(
            [apply_mask(patch, one, IGNORE) for patch, one in zip(patches, draws, strict=True)]
        ).long()

    def _image(self, case: str) -> Float[Tensor, "d h w"]:
        """A placed scan in [0, 1]."""
        if case in self._images:
            return self._images[case]
        with self._reading:
            if case not in self._images:  # not read by another thread in the meantime
                return self._keep(self._images, case, self._read_image(case))
            return self._images[case]

    def _mask(self, case: str) -> UInt8[Tensor, "d h w"]:
        """The placed mask of a labelled scan; `IGNORE` where the budget grants nothing."""
        if case in self._masks:
            return self._masks[case]
        with self._reading:
            if case not in self._masks:
                self._masks[case] = self._read_mask(case)
            return self._masks[case]

    def _made(self, case: str) -> UInt8[Tensor, "d h w"]:
        """The placed pseudo-label of an unlabelled scan; 0 where it is still to be made."""
        if case in self._labels_made:
            return self._labels_made[case]
        volume = self._pseudo.volume(case)
        if volume is None:
            missing = IGNORE if self._pseudo.given else 0
            return torch.tensor(missing, dtype=torch.uint8).expand(self._placements[case].shape)
        with self._reading:
            if case not in self._labels_made:
                placed = torch.from_numpy(self._placements[case].place_mask(volume))
                return self._keep(self._labels_made, case, placed)
            return self._labels_made[case]

    def _read_image(self, case: str) -> Float[Tensor, "d h w"]:
        with self._prepared.case(case) as file:
            scaled = self._prepared.recipe.scale(
                file.intensities(range(file.shape[0])), self._prepared.bounds(case)
            )
        return torch.from_numpy(self._placements[case].place(scaled))

    def _read_mask(self, case: str) -> UInt8[Tensor, "d h w"]:
        slices, placement = self._granted[case], self._placements[case]
        known = self._gate.labels(case, slices)
        if not self._whole:
            return torch.from_numpy(placement.place_slices(known, slices, IGNORE))
        volume = np.full(self._prepared.cases[case].shape, IGNORE, np.uint8)
        volume[slices] = known
        return torch.from_numpy(placement.place_mask(volume))

    def _keep(
        self, store: dict[str, Tensor], case: str, placed: Shaped[Tensor, "d h w"]
    ) -> Shaped[Tensor, "d h w"]:
        """The same, kept as long as there is room, which changes nothing but time."""
        kept = self._room.keep(case, placed)
        if kept is not None:
            store[case] = kept
        return placed
