"""A second look by SAM: boxes of one run's cleaned masks, asked of another run's SAM.

    python experiments/second_look.py RUN-OF-MASKS RUN-OF-SAM --rows FILE.csv

Both runs are of the same prepared scans; their test scans are looked at. Scored are, all cleaned by
the first run's rule: its own mask (`first`), SAM in its boxes (`boxes`), the mean over that box and
four shifted ones (`shifted`), the mean of this and the first network inside the box (`mean`), the
same from the boxes of that mean (`again`), and SAM in true boxes (`true boxes`), a bound. Boxes are
the middle one of each slice and its neighbours, edge by edge; a slice without a mask gets none.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer
from quantities import RUN, Line, add, arguments, named
from torch import Tensor

from fewmask.core.volume import LabelMap, Volume
from fewmask.evaluate.scores import CaseScore, score_case
from fewmask.evaluate.surfaces import box_edges
from fewmask.io.run import RunFolder
from fewmask.predict import Cleanup, Prediction, Predictor, open_cleanup
from fewmask.predict.work import load_prepared
from fewmask.report.run import read_truth

SHIFT = 0.05
"""Of the box's sides: how far shifted boxes lie from it."""
Boxes = Float[np.ndarray, "d k 4"]
Probs = Float[np.ndarray, "c d h w"]


def boxes_of(labels: Integer[np.ndarray, "d h w"], classes: int) -> Boxes:
    """Edges (x0, y0, x1, y1) in pixels of every structure in every slice, NaN where it is not."""
    return np.array([[box_edges(plane == k + 1) for k in range(classes)] for plane in labels])


def smooth(boxes: Boxes) -> Boxes:
    """The median of each edge over a slice and its neighbours; slices without a box stay so."""
    padded = np.concatenate([boxes[:1] * np.nan, boxes, boxes[:1] * np.nan])
    three = np.stack([padded[:-2], padded[1:-1], padded[2:]])
    there = ~np.isnan(boxes)
    found = np.full_like(boxes, np.nan)
    found[there] = np.nanmedian(three[:, there], axis=0)
    return found


def shifted(boxes: Boxes) -> Iterator[Boxes]:
    """The box, and it moved by `SHIFT` of its sides to the left, right, front and back."""
    yield boxes
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    for x, y in ((-SHIFT, 0), (SHIFT, 0), (0, -SHIFT), (0, SHIFT)):
        yield boxes + np.stack([x * width, y * height] * 2, -1)


def ask(sam: Predictor, volume: Volume, boxes: Boxes) -> Probs:
    """What SAM says in these boxes; background, surely, in slices without one."""
    probs = np.zeros((sam.task.k + 1, *volume.shape), np.float32)

    def keep(slices: Sequence[int], said: Float[Tensor, "c m h w"]) -> None:
        probs[:, slices] = said.numpy(force=True)

    sam.watched_by(keep).volume_with_boxes(volume, boxes)
    return probs


def inside(probs: Probs, boxes: Boxes) -> Probs:
    """The same, with nothing outside the boxes."""
    kept = np.zeros_like(probs)
    kept[0] = 1
    for d, k in zip(*np.nonzero(~np.isnan(boxes[..., 0])), strict=True):
        x0, y0, x1, y1 = np.round(boxes[d, k]).astype(int).clip(0)
        kept[[0, k + 1], d, y0:y1, x0:x1] = probs[[0, k + 1], d, y0:y1, x0:x1]
    return kept


def look(
    first: Predictor, sam: Predictor, volume: Volume, truth: LabelMap, cleanup: Cleanup
) -> Iterator[tuple[str, LabelMap]]:
    """Every mask, by name."""

    def clean(probs: Probs) -> LabelMap:
        labels = LabelMap(probs.argmax(0).astype(np.uint8), volume.grid)
        return cleanup.apply(Prediction(labels, None, 0)).label_map

    own = np.zeros((first.task.k + 1, *volume.shape), np.float32)
    first.volume(volume, own)
    mask = clean(own)
    yield "first", mask
    for name in ("mean", "again"):
        boxes = smooth(boxes_of(mask.voxels, first.task.k))
        if name == "mean":
            yield "boxes", clean(ask(sam, volume, boxes))
        said = np.mean([ask(sam, volume, one) for one in shifted(boxes)], 0)
        if name == "mean":
            yield "shifted", clean(said)
        mask = clean((said + inside(own, boxes)) / 2)
        yield name, mask
    yield "true boxes", clean(ask(sam, volume, boxes_of(truth.voxels, first.task.k)))


def main(of_masks: Path, of_sam: Path, rows: Path | None) -> None:
    """Print a line per mask, and add a row per scan."""
    run, prepared = RunFolder.open(of_masks), RunFolder.open(of_masks).open_prepared()
    first, sam, cleanup = Predictor.load(of_masks), Predictor.load(of_sam), open_cleanup(of_masks)
    lines: list[Line] = []
    scores: dict[str, list[CaseScore]] = {}
    for case in run.read_split().test:
        volume, truth = load_prepared(prepared, case), read_truth(prepared, case)
        for name, mask in look(first, sam, volume, truth, cleanup):
            made = score_case(case, mask.voxels, truth.voxels, truth.spacing_mm, prepared.classes)
            scores.setdefault(name, []).extend(made)
            lines += [
                named(of_masks)
                | {"sam": named(of_sam)["method"], "case": case, "class": score.label}
                | {"mask": name, "dice": score.dice, "hd95_mm": score.hd95_mm}
                for score in made
            ]
    for name, found in scores.items():
        dice, hd95 = (np.mean([getattr(one, key) for one in found]) for key in ("dice", "hd95_mm"))
        print(f"{name:12} Dice {dice:.3f}  HD95 {hd95:.1f} mm  over {len(found)}")
    add(rows, [*RUN, "sam", "case", "class", "mask"], lines)


if __name__ == "__main__":
    folders, file = arguments(__doc__)
    if len(folders) != 2:
        raise SystemExit("two run folders are wanted: whose masks, and whose SAM")
    main(folders[0], folders[1], file)
