"""How well a SAM finds real structures it never trained on, from a true box per slice; beside the
trivial answers.

    FEWMASK_DATA=... python experiments/zero_shot.py --weights compact
    FEWMASK_DATA=... python experiments/zero_shot.py --weights none  # the same network, random
    python experiments/zero_shot.py --table

One row per weights, structure and case in experiments/rows/zero-shot.csv: mean Dice over up to 8
evenly spaced slices that hold the structure, on the network's grid. Trivial answers: the box
filled, and the ellipse inscribed in it.
"""

import argparse
import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewmask.blocks.prompts import box_mask, mask_boxes
from fewmask.blocks.sam import Sam, build_sam, size_named
from fewmask.core.placement import Placement
from fewmask.evaluate.intervals import t_interval
from fewmask.io.ledger import locate
from fewmask.io.prepared import Prepared
from fewmask.io.tables import append_csv
from fewmask.io.weights import fit_into, load_tensors
from fewmask.prepare.build import prepare
from fewmask.prepare.options import PrepareOptions

ROWS = Path(__file__).parent / "rows" / "zero-shot.csv"
COLUMNS = [
    "weights",
    "side",
    "set",
    "structure",
    "case",
    "slices",
    "box",
    "ellipse",
    "sam",
    "sam_best",
]
SETS: dict[str, tuple[str, dict[str, tuple[int | str, ...]]]] = {
    "ct-abdomen": (
        "ct-liver",
        {"liver": (6,), "spleen": (1,), "right kidney": (2,), "left kidney": (3,), "aorta": (8,)},
    ),
    "mr-abdomen": (
        "mr",
        {"liver": (1,), "right kidney": (2,), "left kidney": (3,), "spleen": (4,)},
    ),
    "mr-left-atrium": ("mr", {"left atrium": (1,)}),
    "mr-hippocampus": ("mr", {"anterior": (1,), "posterior": (2,)}),
}
SLICES, CASES, LEAST_PX = 8, 20, 20


def load(weights: str, encoder: str, side: int) -> Sam:
    """SAM with these weights, or with random ones for `none`."""
    torch.manual_seed(0)
    sam = build_sam(size_named(encoder), side).eval()
    if weights != "none":
        path = locate(weights)
        fit_into(
            sam,
            {
                name: t.float() if t.is_floating_point() else t
                for name, t in load_tensors(path).items()
            },
            path,
        )
    return sam


def dice(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of two masks."""
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def ellipse(box: torch.Tensor, side: int) -> torch.Tensor:
    """Pixels in the ellipse inscribed in a box."""
    x0, y0, x1, y1 = box.tolist()
    centre = torch.arange(side) + 0.5
    u, v = (centre - (x0 + x1) / 2) / ((x1 - x0) / 2), (centre - (y0 + y1) / 2) / ((y1 - y0) / 2)
    inside: torch.Tensor = v[:, None] ** 2 + u[None, :] ** 2 <= 1
    return inside


def slices_of(masks: np.ndarray, index: int) -> list[int]:
    """Up to `SLICES` evenly spaced slices that hold the class."""
    found = np.flatnonzero((masks == index).sum((1, 2)) >= LEAST_PX)
    return (
        sorted(set(found[np.linspace(0, len(found) - 1, SLICES).round().astype(int)]))
        if len(found)
        else []
    )


@torch.no_grad()
def score_case(sam: Sam, prepared: Prepared, case: str) -> list[dict[str, Any]]:
    """One row per structure of a case."""
    row, recipe = prepared.cases[case], prepared.recipe
    placement = Placement.of(row.shape, row.spacing_mm, recipe)
    with prepared.case(case) as file:
        masks = placement.place_mask(file.labels(range(row.shape[0])))
        wanted = {name: slices_of(masks, i) for i, name in enumerate(prepared.classes, 1)}
        needed = sorted({int(d) for slices in wanted.values() for d in slices})
        if not needed:
            return []
        images = placement.place(recipe.scale(file.intensities(needed), prepared.bounds(case)))
    with torch.autocast("cpu", torch.bfloat16):
        batches = torch.from_numpy(images)[:, None].split(8)
        embedding = torch.cat([sam.encode(batch) for batch in batches]).float()
    rows = []
    for index, (name, slices) in enumerate(wanted.items(), 1):
        if not slices:
            continue
        truth = torch.from_numpy(masks[slices] == index)
        boxes = mask_boxes(truth)
        places = [needed.index(d) for d in slices]
        with torch.autocast("cpu", torch.bfloat16):
            logits, scores = sam.decode(embedding[places], boxes, recipe.size)
        full = (
            torch.nn.functional.interpolate(logits.float(), (recipe.size,) * 2, mode="bilinear") > 0
        )
        chosen = full[torch.arange(len(full)), scores.float().argmax(1)]
        found = {
            "box": [dice(a, b) for a, b in zip(box_mask(boxes, recipe.size), truth, strict=True)],
            "ellipse": [
                dice(ellipse(box, recipe.size), b) for box, b in zip(boxes, truth, strict=True)
            ],
            "sam": [dice(a, b) for a, b in zip(chosen, truth, strict=True)],
            "sam_best": [
                max(dice(a, b) for a in three) for three, b in zip(full, truth, strict=True)
            ],
        }
        means = {key: f"{np.mean(values):.4f}" for key, values in found.items()}
        rows.append({"structure": name, "case": case, "slices": len(slices), **means})
    return rows


def run(weights: str, name: str, encoder: str, side: int, work: Path) -> None:
    """All sets; those whose rows are there are skipped."""
    sam = load(weights, encoder, side)
    data = Path(os.environ["FEWMASK_DATA"])
    done = {(row["weights"], row["side"], row["set"]) for row in read()}
    for kind, (recipe, labels) in SETS.items():
        if (name, str(side), kind) in done:
            continue
        folder = work / kind
        if not (folder / "dataset.json").exists():
            prepare(
                data / kind,
                folder,
                PrepareOptions(labels=labels, recipe=recipe, masks="complete", jobs=2),
            )
        prepared = Prepared.open(folder)
        rows = [
            row
            for case in sorted(prepared.cases)[:CASES]
            for row in score_case(sam, prepared, case)
        ]
        ROWS.parent.mkdir(exist_ok=True)
        append_csv(
            ROWS, COLUMNS, [{"weights": name, "side": side, "set": kind, **row} for row in rows]
        )
        print(
            kind,
            {
                s: round(float(np.mean([float(r["sam"]) for r in rows if r["structure"] == s])), 3)
                for s in labels
            },
        )


def read() -> list[dict[str, str]]:
    """Rows so far."""
    if not ROWS.exists():
        return []
    with ROWS.open(newline="") as file:
        return list(csv.DictReader(file))


def table() -> str:
    """Markdown: per structure the trivial answers and each set of weights, mean over cases with its
    interval.
    """
    rows = read()
    names = list(dict.fromkeys((row["weights"], row["side"]) for row in rows))
    heads = ["set", "structure", "n", "box filled", "ellipse"]
    lines = [[*heads, *(f"{weights}, {side} px" for weights, side in names)]]
    lines.append(["---"] * len(lines[0]))
    for kind, structure in dict.fromkeys((row["set"], row["structure"]) for row in rows):
        mine = [row for row in rows if (row["set"], row["structure"]) == (kind, structure)]
        first = [row for row in mine if (row["weights"], row["side"]) == names[0]]
        cells = [f"{np.mean([float(row[key]) for row in first]):.2f}" for key in ("box", "ellipse")]
        for name in names:
            values = {
                row["case"]: float(row["sam"])
                for row in mine
                if (row["weights"], row["side"]) == name
            }
            mean = t_interval(np.array(list(values.values())), 0.0, 1.0) if values else None
            cells.append(f"{mean.mean:.2f} ({mean.ends(2)})" if mean else "-")
        lines.append([kind, structure, str(len(first)), *cells])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def main() -> None:
    """Parse, run or print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights",
        default="compact",
        help="a name of `fewmask weights list`, a safetensors file, or none",
    )
    parser.add_argument("--name", help="name in the table; default: the weights' own")
    parser.add_argument("--encoder", default="compact")
    parser.add_argument(
        "--side", type=int, default=224, help="side in pixels at which SAM sees the slice"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/zero-shot"))
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        print(table())
    else:
        run(
            arguments.weights,
            arguments.name or arguments.weights,
            arguments.encoder,
            arguments.side,
            arguments.work,
        )


if __name__ == "__main__":
    main()
