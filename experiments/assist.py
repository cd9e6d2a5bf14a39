r"""How much SAM helps a person who outlines: its answer to a true box and to one click, and what
fitting does for an outline that is copied from a neighbouring slice.

    python experiments/assist.py $FEWMASK_DATA/ct-abdomen --label liver=6 --label spleen=1 \
        --label "right kidney=2" --label stomach=7 --label pancreas=11 --label aorta=8

DATA holds scans with complete masks. Of the first three scans, four slices per structure, evenly
spaced between its ends, as the workbench asks for them (`workbench/assist.py`). Prints mean Dice
per structure: of the box, of one click at the deepest place, and of the true outline of the next
and the second next slice, copied as it is and fitted, with how many slices fitting made worse.
A minute or two on one core.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

from fewmask.evaluate.scores import dice_of
from fewmask.evaluate.surfaces import box_edges
from fewmask.io.image import read_labels
from fewmask.prepare.discover import discover
from fewmask.prepare.mapping import parse_labels
from fewmask.prepare.options import AS_THEY_ARE
from fewmask.workbench.assist import Answer, Assist, NotReady
from fewmask.workbench.grey import Grey
from fewmask.workbench.voxels import Voxels

CASES, SLICES = 3, 4
ENDS = 2
"""Slices at either end of a structure that are not asked about: their neighbours may be empty."""
Truth = Bool[np.ndarray, "d h w"]


def chosen(truth: Truth) -> list[int]:
    """Up to `SLICES` slices d, evenly spaced, so that d, d + 1 and d + 2 hold the structure."""
    there = truth.sum((1, 2)) > 0
    fit = np.flatnonzero(there[:-ENDS] & there[1:-1] & there[ENDS:])
    inner = fit[ENDS:] if len(fit) > ENDS else fit
    if not len(inner):
        return []
    places = np.linspace(0, len(inner) - 1, SLICES).round().astype(int)
    return sorted({int(inner[place]) for place in places})


def click(mask: Bool[np.ndarray, "h w"]) -> tuple[float, float, int]:
    """The middle of the pixel that lies deepest inside."""
    y, x = np.unravel_index(np.argmax(ndimage.distance_transform_edt(mask)), mask.shape)
    return float(x) + 0.5, float(y) + 0.5, 1


def ask(question: Callable[[], Answer]) -> Bool[np.ndarray, "h w"]:
    """The answer, once the slice's embedding is there."""
    while True:
        try:
            return question().mask.astype(bool)
        except NotReady:
            time.sleep(0.02)


def measure(assist: Assist, case: str, truth: Truth) -> Iterator[dict[str, float]]:
    """Dice of each kind of help, slice by slice."""
    for d in chosen(truth):
        mask = truth[d]
        x0, y0, x1, y1 = map(float, box_edges(mask))
        box, inside = (x0, y0, x1, y1), click(mask)
        found = {
            "box": dice_of(ask(partial(assist.answer, case, d, [box], [])), mask),
            "click": dice_of(ask(partial(assist.answer, case, d, [], [inside])), mask),
        }
        for step in (1, 2):
            other = truth[d + step]
            found[f"copied {step}"] = dice_of(other, mask)
            found[f"fitted {step}"] = dice_of(ask(partial(assist.fit, case, d, other)), mask)
        yield found


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: a line per structure, and one of all."""
    heads = ["structure", "slices", "box", "click"]
    heads += [f"{kind} {step}" for step in (1, 2) for kind in ("copied", "fitted", "worse")]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    everything = [row for rows in found.values() for row in rows]
    for name, rows in {**found, "all": everything}.items():
        cells = [name, str(len(rows))]
        for head in heads[2:]:
            kind, _, step = head.partition(" ")
            if kind == "worse":
                worse = sum(row[f"fitted {step}"] < row[f"copied {step}"] for row in rows)
                cells.append(f"{worse} of {len(rows)}")
            else:
                cells.append(f"{np.mean([row[head] for row in rows]):.3f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Ask, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", metavar="DATA", type=Path)
    parser.add_argument("--label", action="append", required=True, metavar="NAME=VALUE")
    asked = parser.parse_args()
    labels = parse_labels(asked.label)
    pairs = {pair.case: pair for pair in discover(asked.data).pairs}
    masks = {case: pair.mask for case, pair in pairs.items() if pair.mask is not None}
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as cache:
        voxels = Voxels(pairs, AS_THEY_ARE, Path(cache))
        # An empty queue: nothing is encoded but what is asked for, and its neighbours.
        assist = Assist(Grey(voxels, [], lambda _: False), Path(cache) / "sam")
        assist.start()
        try:
            for case in sorted(masks)[:CASES]:
                values = read_labels(masks[case]).voxels
                for name, sources in labels.items():
                    truth = np.isin(values, [int(value) for value in sources])
                    found[name] += measure(assist, case, truth)
        finally:
            assist.close()
    print(table(found))


if __name__ == "__main__":
    main()
