"""Batches of slices as a pure function of (seed, step): no order of events can change what step 17
sees.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from types import TracebackType

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fewmask.core.batch import (
    IGNORE,
    UNKNOWN,
    Batch,
    BatchSpec,
    Draw,
    Labelled,
    Look,
    Other,
    Pending,
    Unlabelled,
    Weak,
)
from fewmask.core.budget import Budget
from fewmask.core.errors import BadConfig
from fewmask.core.placement import Placement, Window
from fewmask.core.randomness import rng
from fewmask.core.run_record import Provided
from fewmask.data.augment import apply_image, apply_mask, draw, strengthen
from fewmask.data.label_guard import LabelGuard
from fewmask.data.loader import ONE_AHEAD, Ahead, Prefetcher, count_provided, sample_indices
from fewmask.data.look import draw_look, draw_scan
from fewmask.data.pending import defer
from fewmask.data.pseudo_labels import PseudoLabels
from fewmask.io.case import CaseFile
from fewmask.io.prepared import Prepared

Item = tuple[str, int]
"""(case, d)."""
View = tuple[Item, Window]
"""A slice, and what the network sees of it."""
_CACHE_BYTES = 2 * 2**30
_OPEN_FILES = 64
"""Cases kept open at a time: systems allow about a thousand files."""


class SliceLoader:
    """Labelled, weak, unlabelled and empty streams over the training part of a prepared dataset."""

    def __init__(
        self,
        prepared: Prepared,
        budget: Budget,
        loader: BatchSpec,
        seed: int,
        pseudo: Path | None = None,
        trust: float = 0.0,
        ahead: Ahead = ONE_AHEAD,
    ) -> None:
        """Raises `BadConfig` if the budget grants nothing, and if the method learns from what is
        known of slices and nothing that teaches is.

        `pseudo` holds label maps `CASE.nii.gz` that an earlier stage made, with their confidence;
        if the method wants them, all slices of these scans are in the weak stream, and pixels
        below `trust` in [0, 1] are `IGNORE`.
        """
        self._prepared, self._feed, self._seed = prepared, loader, seed
        self._gate = LabelGuard(prepared, budget)
        every = [
            (case, d)
            for case in prepared.split.train
            for d in prepared.recipe.slices(prepared.cases[case].shape[0])
        ]
        labelled = self._gate.granted()
        self._known = self._tags(every, labelled)
        self._made = PseudoLabels(pseudo, trust, prepared.recipe.plane)
        made = self._made.cases if loader.pseudo != "off" else set()
        self._pools: Mapping[str, list[Item]] = {
            "labelled": labelled,
            "weak": [
                item
                for item in every
                if item[0] in made or any(value != UNKNOWN for value in self._known[item])
            ],
            "unlabelled": every,
            "empty": [item for item in every if not any(self._known[item])],
        }
        if loader.labelled and not labelled:
            raise BadConfig(
                "the budget grants no mask",
                fix="grant some with `slices` or `volumes`",
                code="C02",
            )
        if not loader.labelled and not self._pools["weak"]:
            raise BadConfig(
                "the method learns from image tags only, and there are none",
                fix="prepare again with `tags=tags.csv`",
                code="C02",
            )
        self._check_known()
        self._files: dict[str, CaseFile] = {}
        self._placements = {
            case: Placement.of(row.shape, row.spacing_mm, prepared.recipe)
            for case, row in prepared.cases.items()
        }
        self._cache: dict[Item, Tensor] = {}
        self._cached_bytes = 0
        self._masks: dict[Item, Tensor] = {}
        self._reading = Lock()
        self._defer = ahead.defer and (loader.augment or loader.new_looks)
        self._batches = Prefetcher(self._make, ahead)

    def report(self) -> Provided:
        """What a person provided."""
        return count_provided(
            self._prepared, self._pools["labelled"], bool(self._feed.weak or self._feed.empty)
        )

    def views(self, stream: str) -> int:
        """How many images the slices of a stream ("labelled", "weak", "unlabelled") can be: one
        each, but of a wide scan as many as it has windows.
        """
        return sum(len(self._placements[case].windows) for case, _ in self._pools[stream])

    def batch(self, index: int) -> Batch:
        """The batch of step `index`; the next ones are made in the background meanwhile."""
        return self._batches.batch(index)

    def close(self) -> None:
        """Stop the background threads and close all files."""
        self._batches.close()
        for file in self._files.values():
            file.close()
        self._files.clear()

    def __enter__(self) -> "SliceLoader":
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

    def _check_known(self) -> None:
        """Raise `BadConfig` where the method would learn nothing from what is known of slices."""
        known = np.array([self._known[item] for item in self._pools["weak"]], int)
        known = known.reshape(-1, len(self._prepared.classes))
        both = ((known == 1).any(0) & (known == 0).any(0)).any()
        if self._feed.presence and not both:
            raise BadConfig(
                "which slices hold a structure cannot be learned: there are no slices known to "
                "hold one and others known not to",
                where=f"{len(known)} slices are tagged or outlined",
                fix="prepare again with `tags=tags.csv` (first and last slice per scan), or use "
                "`presence=none`",
                code="C02",
            )
        if self._feed.empty and not self._pools["empty"]:
            raise BadConfig(
                "no slice is known to hold none of the structures",
                fix="prepare again with `tags=tags.csv`, or use `tags_as_empty=false`",
                code="C02",
            )

    def _make(self, index: int) -> Batch:
        names: dict[str, tuple[str, ...]] = {}
        parts: dict[str, Labelled | Weak | Unlabelled] = {}
        for stream, make in (
            ("labelled", self._labelled),
            ("weak", self._weak),
            ("unlabelled", self._unlabelled),
            ("empty", self._weak),
        ):
            items = sample_indices(
                self._pools[stream], getattr(self._feed, stream), self._seed, stream, index
            )
            if items:
                draws = [self._draw(stream, index, place, item) for place, item in enumerate(items)]
                views = [
                    (item, self._window(stream, index, place, item))
                    for place, item in enumerate(items)
                ]
                parts[stream] = make(views, draws, index)
                names[stream] = tuple(f"{case}:{d}" for case, d in items)
        return Batch(**parts, names=names)  # type: ignore[arg-type]

    def _draw(self, stream: str, index: int, place: int, item: Item) -> Draw:
        drawn = Draw()
        if self._feed.augment:
            drawn = draw(rng(self._seed, "augment", stream, index, place), self._feed.ranges)
        if not self._feed.new_looks:
            return drawn

        def other(generator: np.random.Generator) -> Other:
            case = draw_scan(generator, item[0], self._prepared.split.train)
            slices = self._prepared.recipe.slices(self._prepared.cases[case].shape[0])
            d = slices[int(generator.integers(len(slices)))]
            windows = self._placements[case].windows
            window = windows[int(generator.integers(len(windows)))]
            return case, (d, window.top, window.left)

        generator = rng(self._seed, "look", stream, index, place)
        return replace(drawn, look=draw_look(generator, self._feed, other))

    def _window(self, stream: str, index: int, place: int, item: Item) -> Window:
        """What the network sees of a slice: all of it, or one of the windows of a wide scan."""
        placement = self._placements[item[0]]
        windows = placement.windows
        if len(windows) == 1:
            return windows[0]
        # A tag speaks of the slice. That a structure is absent holds for every part of it; that it
        # is there, only the middle is trusted to show.
        if stream == "weak" and 1 in self._known[item]:
            return placement.middle
        generator = rng(self._seed, "window", stream, index, place)
        if stream == "labelled" and generator.random() < 0.5:
            mask = self._mask(item)
            windows = tuple(w for w in windows if mask[w.part].any()) or windows
        return windows[int(generator.integers(len(windows)))]

    def _labelled(self, views: Sequence[View], draws: Sequence[Draw], index: int) -> Labelled:
        masks, images = self._masks_of(self._mask, views, draws), self._images(views, draws)
        classes = torch.arange(1, len(self._prepared.classes) + 1)
        present = (masks.flatten(1)[:, None] == classes[:, None]).any(-1).long()
        return Labelled(images, masks, present, tuple(draws), self._pending(views, draws))

    def _weak(self, views: Sequence[View], draws: Sequence[Draw], index: int) -> Weak:
        present = torch.tensor([self._known[item] for item, _ in views])
        wanted = self._feed.pseudo != "off"
        pseudo = self._masks_of(self._pseudo, views, draws) if wanted else None
        images = self._images(views, draws)
        return Weak(images, present, tuple(draws), pseudo, self._pending(views, draws))

    def _unlabelled(self, views: Sequence[View], draws: Sequence[Draw], index: int) -> Unlabelled:
        stronger = [
            strengthen(one, rng(self._seed, "strong", "unlabelled", index, i), self._feed.ranges)
            for i, one in enumerate(draws)
        ]
        images, wanted = self._images(views, draws), self._feed.strong
        return Unlabelled(
            images,
            self._images(views, stronger) if wanted and not self._defer else None,
            tuple(draws),
            pending=self._pending(views, draws, stronger if wanted else ()),
        )

    def _pending(
        self, views: Sequence[View], draws: Sequence[Draw], stronger: Sequence[Draw] = ()
    ) -> Pending | None:
        """What is left to the device."""
        if not self._defer:
            return None
        size = self._placements[views[0][0][0]].size
        others = [self._other(one.look) for one in draws]
        return defer(draws, (1, size, size), others, stronger=stronger)

    def _images(self, views: Sequence[View], draws: Sequence[Draw]) -> Float[Tensor, "b 1 h w"]:
        seen = [self._image(item)[window.part] for item, window in views]
        if self._defer:
            return torch.stack(seen)
        pairs = zip(seen, draws, strict=True)
        return torch.stack([apply_image(one, how, self._other(how.look)) for one, how in pairs])

    def _masks_of(
        self, mask: Callable[[Item], Tensor], views: Sequence[View], draws: Sequence[Draw]
    ) -> Int[Tensor, "b h w"]:
        seen = [mask(item)[window.part] for item, window in views]
        if self._defer:
            return torch.stack(seen)
        return torch.stack([apply_mask(*pair) for pair in zip(seen, draws, strict=True)])

    def _other(self, look: Look) -> Float[Tensor, "1 h w"] | None:
        """The slice of another scan from which frequencies are taken."""
        if look.other is None:
            return None
        case, (d, top, left) = look.other
        size = self._placements[case].size
        window = Window(top, left, size, size)
        return self._image((case, d))[window.part]

    def _image(self, item: Item) -> Float[Tensor, "1 a b"]:
        """A placed slice, whole; kept in memory as long as there is room, which changes
        nothing but time.
        """
        if item in self._cache:
            return self._cache[item]
        case, d = item
        with self._reading:  # another thread may close the file
            intensities = self._file(case).intensities([d])
        scaled = self._prepared.recipe.scale(intensities, self._prepared.bounds(case))
        placed = torch.from_numpy(self._placements[case].place(scaled))
        if self._cached_bytes < _CACHE_BYTES:
            self._cached_bytes += placed.nbytes
            self._cache[item] = placed
        return placed

    def _file(self, case: str) -> CaseFile:
        if case not in self._files:
            if len(self._files) >= _OPEN_FILES:
                self._files.pop(next(iter(self._files))).close()
            self._files[case] = self._prepared.case(case)
        return self._files[case]

    def _mask(self, item: Item) -> Int[Tensor, "a b"]:
        if item not in self._masks:
            case, d = item
            placed = self._placements[case].place_mask(self._gate.labels(case, [d]))[0]
            self._masks[item] = torch.from_numpy(placed.astype(np.uint8))
        return self._masks[item].long()

    def _pseudo(self, item: Item) -> Int[Tensor, "a b"]:
        """What an earlier stage made of a slice; `IGNORE` where it made nothing."""
        case, d = item
        found, placement = self._made.slice(case, d), self._placements[case]
        if found is None:
            return torch.full((placement.rows.target, placement.columns.target), IGNORE)
        placed = placement.place_mask(found[None])[0]
        return torch.from_numpy(placed.astype(np.int64))

    def _tags(self, every: Sequence[Item], labelled: Sequence[Item]) -> dict[Item, list[int]]:
        """Per slice and class: what the tags say, else what a granted mask shows, else unknown."""
        granted = set(labelled)
        known = {}
        for case, d in every:
            said = self._prepared.tag(case, d)
            if (case, d) in granted:
                present = self._prepared.cases[case].present
                shown = [int(d in present.get(name, ())) for name in self._prepared.classes]
                said = [
                    tag if tag != UNKNOWN else seen for tag, seen in zip(said, shown, strict=True)
                ]
            known[case, d] = said
        return known
