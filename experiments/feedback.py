"""What the gradient feedback of trained `ada_sam` runs does on their test scans, every fourth
slice.

    python experiments/feedback.py runs/sam-mix-table/RUN/run ...

Prints the gate; how large the change of the features is beside them; how much of the change is
another one when what asks (the gradient, or as a control the features) is that of another slice (0
= it is not listened to); and the change of P(present) and, in IoU, of the box by feedback.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from fewmask.io.run import RunFolder
from fewmask.methods.ada_sam import AdaSam
from fewmask.predict import Predictor
from fewmask.predict.work import load_prepared

EVERY = 4


def main(path: Path) -> None:
    """Print one line."""
    run = RunFolder.open(path)
    prepared = run.open_prepared()
    predictor = Predictor.load(path)
    method = predictor.method
    if not isinstance(method, AdaSam) or method.feedback is None:
        raise SystemExit(f"{path}: not a run of ada_sam with feedback")
    feedback = method.feedback
    sizes, others, tags, overlaps = [], [], [], []
    for case in run.read_split().test:
        volume = load_prepared(prepared, case)
        for *_, image in predictor.images(volume, range(0, volume.shape[0], EVERY)):
            side = image.shape[-1]
            with torch.no_grad():
                features = method.sam.encode(image).float()
                first = method.classify(features, side)
                query = method.feedback_query(features, first.boxes, side)
                corrected = feedback(features, query)
                look = method.classify(corrected, side)
                change = corrected - features
                there = (
                    query.flatten(1).any(1) & query.roll(1, 0).flatten(1).any(1) & (len(image) > 1)
                )
                other = feedback(features, query.roll(1, 0)) - corrected
            size = change.flatten(1).norm(dim=1)
            sizes += (size / features.flatten(1).norm(dim=1)).tolist()
            others += (other.flatten(1).norm(dim=1) / size.clamp_min(1e-12))[there].tolist()
            tags += (
                (torch.sigmoid(look.logits) - torch.sigmoid(first.logits)).abs().flatten().tolist()
            )
            overlaps += [
                overlap(a, b)
                for a, b in zip(first.boxes.flatten(0, 1), look.boxes.flatten(0, 1), strict=True)
            ]
    print(
        f"{path.parent.name}: gate {float(feedback.gate.detach()):.3f}, change "
        f"{np.mean(sizes):.3f} of the features, "
        f"{np.mean(others):.2f} of it another with another slice's; P(present) moves by "
        f"{np.mean(tags):.3f}, "
        f"boxes before and after overlap by {np.nanmean(overlaps):.3f}"
    )


def overlap(a: torch.Tensor, b: torch.Tensor) -> float:
    """IoU of two boxes (x0, y0, x1, y1); NaN where one is missing."""
    sides = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp_min(0)
    shared = sides.prod()
    return float(shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared))


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        main(Path(argument))
