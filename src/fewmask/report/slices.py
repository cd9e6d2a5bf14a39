"""Slices of one scan as pictures: few large ones, and a strip to scroll through."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from fewmask.core.colours import colour_of
from fewmask.core.volume import LabelMap, Volume
from fewmask.report.frame import Frame
from fewmask.report.outlines import path_of
from fewmask.report.pictures import data_uri, grey_slice, scale_to

PAGE_BYTES = 15_000_000
"""What a page with 40 scans or fewer stays under."""
_RESERVE, _MOST_A_SCAN = 2_500_000, 700_000
_LARGE, _SMALL = 480, 256
"""Widths of a large picture and of one in a strip, px."""
_MOST_SLICES, _MARGIN = 48, 2
Masks = Mapping[int, Integer[np.ndarray, "h w"]]
"""Slice d -> class numbers."""


@dataclass(frozen=True)
class Layer:
    """One structure in one picture."""

    structure: int
    name: str
    colour: str
    person: bool
    """Drawn by a person, else by the model."""
    path: str


@dataclass(frozen=True)
class Picture:
    """A slice with what is drawn on it."""

    uri: str
    caption: str
    alt: str
    box: str = ""
    """`viewBox` of the layers."""
    layers: tuple[Layer, ...] = ()

    @property
    def weight(self) -> int:
        """Bytes on the page, near enough."""
        return len(self.uri) + sum(len(layer.path) for layer in self.layers) + 500


@dataclass(frozen=True)
class Strip:
    """Slices to scroll through, from one end of what is drawn to the other."""

    pictures: tuple[Picture, ...]
    start: int
    """Which one is shown first."""
    bound: str
    """Which slices these are, in words."""


@dataclass(frozen=True)
class Room:
    """How much of the page a scan may take."""

    bytes_a_scan: int

    @classmethod
    def for_scans(cls, n: int) -> "Room":
        """An equal share of the page for each of n scans."""
        return cls(min(_MOST_A_SCAN, (PAGE_BYTES - _RESERVE) // max(n, 1)))

    @property
    def large(self) -> int:
        """Width of a large picture, px."""
        return _LARGE if self.bytes_a_scan > 120_000 else _SMALL


@dataclass(frozen=True)
class Drawer:
    """Draws slices of one scan."""

    case: str
    volume: Volume
    frame: Frame
    classes: Sequence[str]
    pred: LabelMap
    person: Masks
    """What a person drew: a test scan's truth, or outlines that were learned from."""
    slices_from: int = 0
    whose: str = "a person's outline"

    def called(self, d: int) -> int:
        """Slice d by the number that a person knows it by."""
        orientation = self.volume.grid.orientation
        return orientation.slice_index(d, self.volume.shape[0]) + self.slices_from

    def picture(self, d: int, caption: str, width: int, quality: int = 78) -> Picture:
        """Slice d, `width` px wide."""
        grey = self.volume.intensities([d])[0]
        image = (grey - self.frame.low) / max(self.frame.high - self.frame.low, 1e-6)
        size = scale_to(width, self.volume.shape[1:], self.volume.spacing_mm[1:])
        uri = data_uri(grey_slice(image.astype(np.float32), size), quality)
        rows, columns = self.pred.voxels.shape[1:]
        rows, columns = min(rows, size[1]), min(columns, size[0])
        layers = (
            *self._layers(self.pred.voxels[d], False, (rows, columns)),
            *(self._layers(self.person[d], True, (rows, columns)) if d in self.person else ()),
        )
        return Picture(uri, caption, self._alt(d), f"0 0 {columns} {rows}", layers)

    def strip(self, start: int, room: int) -> Strip | None:
        """Every n-th slice from the first to the last that holds anything, and a little beyond; n
        is as small as `room` bytes allow. None where not even three fit.
        """
        held = [*np.flatnonzero(self.pred.voxels.any((1, 2))), *self._drawn(), start]
        first = max(0, int(min(held)) - _MARGIN)
        last = min(self.volume.shape[0] - 1, int(max(held)) + _MARGIN)
        step = math.ceil((last - first + 1) / _MOST_SLICES)
        sample = self.picture(start, "", _SMALL, 50).weight
        step = max(step, math.ceil((last - first + 1) * sample / max(room, 1)))
        while True:
            # `start` is one of them, so that the strip opens where the large picture was.
            shown = sorted(range(first + (start - first) % step, last + 1, step), key=self.called)
            if len(shown) < 3:
                return None
            pictures = tuple(self.picture(d, f"slice {self.called(d)}", _SMALL, 50) for d in shown)
            if sum(picture.weight for picture in pictures) <= room:
                return Strip(pictures, shown.index(start), self._bound(first, last, step))
            step += 1

    def _bound(self, first: int, last: int, step: int) -> str:
        low, high = sorted((self.called(first), self.called(last)))
        which = "every slice" if step == 1 else f"every {_ordinal(step)} slice"
        return f"{which} from {low} to {high}"

    def _drawn(self) -> list[int]:
        """Slices in which a person drew anything."""
        return [d for d, mask in self.person.items() if mask.any()]

    def _layers(
        self, mask: Integer[np.ndarray, "h w"], person: bool, size: tuple[int, int]
    ) -> list[Layer]:
        rows = np.arange(size[0]) * mask.shape[0] // size[0]
        columns = np.arange(size[1]) * mask.shape[1] // size[1]
        small = mask[np.ix_(rows, columns)]
        return [
            Layer(index, name, colour_of(index), person, path_of(small == index))
            for index, name in enumerate(self.classes, 1)
            if (small == index).any()
        ]

    def _alt(self, d: int) -> str:
        """What the picture shows, for those who do not see it."""
        _, row_mm, column_mm = self.volume.spacing_mm
        words = []
        for index, name in enumerate(self.classes, 1):
            model = int((self.pred.voxels[d] == index).sum()) * row_mm * column_mm / 100
            said = [f"mask {model:.1f} cm²"] if model else []
            if d in self.person:
                mine = int((self.person[d] == index).sum()) * row_mm * column_mm / 100
                said += [f"{self.whose} {mine:.1f} cm²"] if mine or model else []
            if said:
                words.append(f"{name}: {', '.join(said)}")
        return f"{self.case}, slice {self.called(d)}. {'; '.join(words) or 'Nothing drawn'}."


def _ordinal(n: int) -> str:
    teens = n % 100 in (11, 12, 13)
    return f"{n}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}"


def choose(
    drawer: Drawer, tags: Mapping[str, tuple[int, int] | None], truth: bool
) -> list[tuple[int, str]]:
    """The one or two slices to look at first, and why."""
    pred = drawer.pred.voxels
    chosen: list[tuple[int, str]] = []
    apart = {d: int((pred[d] != mask).sum()) for d, mask in drawer.person.items()}
    if apart:
        d = max(apart, key=lambda one: apart[one])
        _, row_mm, column_mm = drawer.volume.spacing_mm
        area = f"{apart[d] * row_mm * column_mm / 100:.1f}\u00a0cm²"
        if truth:
            words = f"largest disagreement, {area}" if apart[d] else "as the truth has it"
        else:
            words = (
                f"your outline and the mask differ by {area}" if apart[d] else "as you outlined it"
            )
        chosen.append((d, words))
    drawn = np.stack([drawer.person[d] for d in range(len(pred))]) if truth else pred
    if drawn.any():
        fullest = int((drawn > 0).sum((1, 2)).argmax())
        whose = "the truth" if truth else "the mask"
        chosen.append((fullest, f"largest cross-section of {whose}"))
    elif not chosen:
        spans = {name: span for name, span in tags.items() if span is not None}
        if spans:
            name, span = next(iter(spans.items()))
            chosen.append((sum(span) // 2, f"nothing drawn; the tag of {name} holds this slice"))
        else:
            chosen.append((len(pred) // 2, "nothing drawn; the middle of the scan"))
    if len(chosen) == 2 and chosen[0][0] == chosen[1][0]:
        d = chosen[0][0]
        chosen = [(d, f"{chosen[0][1]}; {chosen[1][1]}")]
    return chosen
