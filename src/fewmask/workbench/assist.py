"""SAM helps to outline: embeddings are computed ahead and kept, so that a box or a click is
answered by the decoder alone.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from fewmask.blocks.sam import Sam, build_sam, size_named
from fewmask.core.errors import FewmaskError
from fewmask.io.atomic import make_folder, writing
from fewmask.io.ledger import BUNDLED, bundled
from fewmask.io.stream import sha256
from fewmask.io.weights import load_into
from fewmask.workbench.folder import key_of

Box = tuple[float, float, float, float]
Point = tuple[float, float, int]

SIDE = 224
"""Pixels of the square in which the compact SAM sees a slice."""
AHEAD = 3
"""Scans of the queue whose slices are encoded before anybody looks at them."""
NEAR = 3
"""Slices above and below the one that is looked at."""
KEPT = 256
"""Embeddings in memory (200 kB each)."""
_BODY = 0.1
"""Grey value, of 0 to 1, above which a pixel is no air."""
_MARGIN = 4
_MOVED_MM = 5.0
_GROWN = 0.05
"""Part of its width and height by which a neighbour slice's box is widened on each side."""


@runtime_checkable
class Slices(Protocol):
    """Where pictures come from."""

    def grey(self, case: str, d: int) -> Float[np.ndarray, "h w"]:
        """A slice in [0, 1]."""

    def depth(self, case: str) -> int:
        """How many slices there are."""

    def pixel_mm(self, case: str) -> tuple[float, float]:
        """Of a slice: height and width of a pixel."""

    def order(self) -> Sequence[str]:
        """Cases as they stand in the queue."""


class NotReady(Exception):
    """The slice's embedding is being made."""


@dataclass(frozen=True)
class Frame:
    """Which part of a slice SAM sees, and how large: air around the body would waste its pixels."""

    top: int
    left: int
    height: int
    width: int
    rows: int
    columns: int
    """Pixels of that part on SAM's square; the rest of the square is empty."""

    @classmethod
    def of(cls, image: Float[np.ndarray, "h w"], pixel_mm: tuple[float, float]) -> "Frame":
        """Around all that is no air; the whole slice where there is only air."""
        inside = image > _BODY
        edges = []
        for line, length in zip((inside.any(1), inside.any(0)), image.shape, strict=True):
            found = np.flatnonzero(line)
            low, high = (found[0], found[-1] + 1) if found.size else (0, length)
            edges.append((max(int(low) - _MARGIN, 0), min(int(high) + _MARGIN, length)))
        (top, bottom), (left, right) = edges
        tall, broad = (bottom - top) * pixel_mm[0], (right - left) * pixel_mm[1]
        scale = SIDE / max(tall, broad)
        rows, columns = (max(1, min(SIDE, round(mm * scale))) for mm in (tall, broad))
        return cls(top, left, bottom - top, right - left, rows, columns)

    def place(self, image: Float[np.ndarray, "h w"]) -> Float[Tensor, "1 1 side side"]:
        """That part on SAM's square, in its upper left corner."""
        part = image[self.top : self.top + self.height, self.left : self.left + self.width]
        small = functional.interpolate(
            torch.from_numpy(np.ascontiguousarray(part, np.float32))[None, None],
            (self.rows, self.columns),
            mode="bilinear",
            antialias=True,
        )
        return functional.pad(small, (0, SIDE - self.columns, 0, SIDE - self.rows))

    def to_sam(self, xy: Float[Tensor, "n 2"]) -> Float[Tensor, "n 2"]:
        """Points of the slice (pixel edges) on SAM's square."""
        scale = torch.tensor([self.columns / self.width, self.rows / self.height])
        return (xy - torch.tensor([float(self.left), float(self.top)])) * scale

    def restore(
        self, logits: Float[Tensor, "m m"], shape: tuple[int, int]
    ) -> Bool[np.ndarray, "h w"]:
        """A mask of the whole slice."""
        square = functional.interpolate(logits[None, None].float(), (SIDE, SIDE), mode="bilinear")
        part = functional.interpolate(
            square[..., : self.rows, : self.columns], (self.height, self.width), mode="bilinear"
        )
        mask = np.zeros(shape, bool)
        rows = slice(self.top, self.top + self.height)
        mask[rows, self.left : self.left + self.width] = (part[0, 0] > 0).numpy()
        return mask


@dataclass(frozen=True)
class Answer:
    """What SAM says to prompts."""

    mask: UInt8[np.ndarray, "h w"]
    """1 in the structure."""
    score: float
    """SAM's own guess of its overlap with what was meant; the least of several boxes."""


class Assist:
    """The compact SAM behind the page. One thread encodes; answers come from whoever asks."""

    def __init__(
        self,
        slices: Slices,
        folder: Path,
        limit_bytes: int = 2 * 2**30,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        """Embeddings are kept in `folder`, up to `limit_bytes`. While the machine is `busy` with
        training only what somebody waits for is encoded.
        """
        self._slices, self._limit, self._busy = slices, limit_bytes, busy
        self._folder = folder / sha256(bundled())[:16]
        self._kept: OrderedDict[tuple[str, int], Tensor] = OrderedDict()
        self._wanted: deque[tuple[str, int]] = deque(maxlen=64)
        self._broken: set[str] = set()
        self._sam: Sam | None = None
        self._guard, self._decoding = threading.Condition(), threading.Lock()
        self._stopped = False
        self._bytes = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to encode ahead, on one core: the other one answers."""
        torch.set_num_threads(1)
        make_folder(self._folder)
        self._bytes = sum(path.stat().st_size for path in self._folder.rglob("*.npy"))
        self._thread = threading.Thread(target=self._work, name="sam", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread after the slice in hand."""
        with self._guard:
            self._stopped = True
            self._guard.notify_all()
        if self._thread is not None:
            self._thread.join()

    def look(self, case: str, d: int) -> None:
        """Somebody looks at this slice: it comes first, its neighbours next."""
        near = [d, *(d + sign * step for step in range(1, NEAR + 1) for sign in (1, -1))]
        missing = [
            (case, one)
            for one in near
            if 0 <= one < self._slices.depth(case) and not self._is_there(case, one)
        ]
        with self._guard:
            for key in reversed(missing):
                self._wanted.appendleft(key)
            self._guard.notify_all()

    def ready(self, case: str) -> int:
        """How many slices of a scan need no encoder any more."""
        return sum(1 for _ in (self._folder / key_of(case)).glob("*.npy"))

    def answer(self, case: str, d: int, boxes: Sequence[Box], points: Sequence[Point]) -> Answer:
        """The mask of boxes (each on its own, with the clicks in it; all together) or, without
        boxes, of the clicks. Coordinates are pixel edges of the slice. Raises `NotReady`.
        """
        prompts: list[tuple[Box | None, Sequence[Point]]] = [(None, points)]
        if len(boxes) == 1:
            prompts = [(boxes[0], points)]
        elif boxes:
            prompts = [(box, [point for point in points if _holds(box, point)]) for box in boxes]
        image, frame, embedding = self._look_up(case, d)
        parts = [self._decode(embedding, frame, box, clicks) for box, clicks in prompts]
        masks = [frame.restore(logits, image.shape) for logits, _ in parts]
        return Answer(np.any(masks, 0).astype(np.uint8), min(score for _, score in parts))

    def fit(self, case: str, d: int, outline: Bool[np.ndarray, "h w"]) -> Answer:
        """A neighbour slice's `outline` fitted to slice d: each of its parts is a box and a mask to
        SAM, and borders move by no more than `_MOVED_MM`. Nothing gives nothing. Raises `NotReady`.
        """
        image, frame, embedding = self._look_up(case, d)
        pieces, _ = ndimage.label(outline)
        mask, scores = np.zeros(image.shape, bool), [1.0]
        for number, where in enumerate(ndimage.find_objects(pieces), 1):
            rows, columns = where
            high, wide = (rows.stop - rows.start) * _GROWN, (columns.stop - columns.start) * _GROWN
            box = (columns.start - wide, rows.start - high, columns.stop + wide, rows.stop + high)
            dense = frame.place((pieces == number).astype(np.float32))
            logits, score = self._decode(embedding, frame, box, (), dense)
            mask |= frame.restore(logits, image.shape)
            scores.append(score)
        spacing = self._slices.pixel_mm(case)
        near = ndimage.distance_transform_edt(~outline, spacing) <= _MOVED_MM
        deep = ndimage.distance_transform_edt(outline, spacing) > _MOVED_MM
        mask = mask & near | deep
        return Answer(mask.astype(np.uint8), min(scores))

    def _look_up(self, case: str, d: int) -> tuple[Float[np.ndarray, "h w"], Frame, Tensor]:
        embedding = self._recall(case, d)
        if embedding is None:
            self.look(case, d)
            raise NotReady
        image = self._slices.grey(case, d)
        return image, Frame.of(image, self._slices.pixel_mm(case)), embedding

    def _decode(
        self,
        embedding: Tensor,
        frame: Frame,
        box: Box | None,
        points: Sequence[Point],
        dense: Float[Tensor, "1 1 side side"] | None = None,
    ) -> tuple[Float[Tensor, "m m"], float]:
        """Logits and score of the mask that SAM trusts most."""
        sam = self._model()
        boxes = None
        if box is not None:
            corners = frame.to_sam(torch.tensor(box).reshape(2, 2)).clamp(0, SIDE)
            boxes = corners.reshape(1, 4)
        xy = labels = None
        if points:
            xy = frame.to_sam(torch.tensor([[x, y] for x, y, _ in points]))[None]
            labels = torch.tensor([[int(inside) for *_, inside in points]])
        masks = None
        if dense is not None:
            small = functional.interpolate(dense, (sam.mask_side,) * 2, mode="area")
            masks = (small > 0.5).float()  # as the compact SAM was taught: 0 and 1
        with self._decoding, torch.inference_mode():
            logits, scores = sam.decode(embedding.float(), boxes, SIDE, masks, xy, labels)
        best = int(scores[0].argmax())
        return logits[0, best], float(scores[0, best])

    def _model(self) -> Sam:
        with self._decoding:
            if self._sam is None:
                sam = build_sam(size_named(BUNDLED), SIDE).eval()
                load_into(sam, bundled())
                self._sam = sam
        return self._sam

    def _work(self) -> None:
        """The thread that encodes: what is wanted first, then ahead."""
        ahead = self._ahead()
        while True:
            with self._guard:
                if self._stopped:
                    return
                key = self._wanted.popleft() if self._wanted else None
            if key is None and not self._busy():
                key = next(ahead, None)
            if key is None:
                with self._guard:
                    if not self._wanted and not self._stopped:
                        self._guard.wait(1.0)
                ahead = self._ahead()
                continue
            # A scan that cannot be read is told in the queue; SAM leaves it alone.
            try:
                self._encode(*key)
            except (FewmaskError, OSError):
                self._broken.add(key[0])

    def _ahead(self) -> Iterator[tuple[str, int]]:
        """Slices of the first scans of the queue, from the middle outwards."""
        if self._bytes >= self._limit:
            return
        for case in list(self._slices.order())[:AHEAD]:
            if case in self._broken:
                continue
            depth = self._slices.depth(case)
            for d in sorted(range(depth), key=lambda d: abs(2 * d + 1 - depth)):
                if not self._path(case, d).exists():
                    yield case, d

    def _encode(self, case: str, d: int) -> None:
        if self._is_there(case, d):
            return
        image = self._slices.grey(case, d)
        placed = Frame.of(image, self._slices.pixel_mm(case)).place(image)
        sam = self._model()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            embedding = sam.encode(placed).half()
        self._keep(case, d, embedding)
        path = self._path(case, d)
        with suppress(OSError, FewmaskError):  # a full disk only means that it is made again
            if self._bytes < self._limit:
                make_folder(path.parent)
                with writing(path) as part, part.open("wb") as file:
                    np.save(file, embedding.numpy(), allow_pickle=False)
                self._bytes += path.stat().st_size

    def _recall(self, case: str, d: int) -> Tensor | None:
        with self._guard:
            found = self._kept.get((case, d))
        path = self._path(case, d)
        if found is None and path.exists():
            with suppress(OSError, ValueError):
                found = torch.from_numpy(np.load(path, allow_pickle=False))
                self._keep(case, d, found)
        return found

    def _keep(self, case: str, d: int, embedding: Tensor) -> None:
        with self._guard:
            self._kept[case, d] = embedding
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    def _is_there(self, case: str, d: int) -> bool:
        return (case, d) in self._kept or self._path(case, d).exists()

    def _path(self, case: str, d: int) -> Path:
        return self._folder / key_of(case) / f"{d:04}.npy"

    def status(self) -> dict[str, Any]:
        """How far encoding is, for the page's status line: of the scans that are next."""
        cases = list(self._slices.order())[:AHEAD]
        ready = {case: self.ready(case) for case in cases}
        total = sum(self._slices.depth(case) for case in cases if case not in self._broken)
        shown = {key_of(case): number for case, number in ready.items()}
        return {"ready": shown, "done": sum(ready.values()), "total": total}


def _holds(box: Box, point: Point) -> bool:
    x, y, _ = point
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]
