"""What the head of `ada_sam` can tell from the bundled SAM's embedding, frozen: is the structure in the slice?

    python experiments/heads.py runs/ct-liver-dev/prepared

Every third slice of the training scans teaches, every third of the test scans asks; the split is that of ct-liver-dev.toml, where
both are training patients of the results. The same MLP sees the average of the embedding, or answers at every place and is
averaged; 200 steps of 8 slices. Prints the area under the ROC curve, mean and standard deviation over five seeds.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fewmask.core.batch import Task
from fewmask.core.placement import Placement
from fewmask.io.prepared import Prepared
from fewmask.methods.ada_sam import AdaSam, Config, build
from fewmask.predict.folder import load_prepared
from fewmask.training.start import find_weights, load_start

STEPS, BATCH, EVERY, SEEDS = 200, 8, 3, 5


def average(method: AdaSam, embedding: Tensor) -> Tensor:
    """The head sees the average."""
    return method.head(embedding.mean((2, 3)))[:, 0]


def places(method: AdaSam, embedding: Tensor) -> Tensor:
    """The head answers at every place."""
    return method.head(embedding.movedim(1, -1)).mean((1, 2))[:, 0]


def fresh(side: int) -> AdaSam:
    """The method as training starts with it."""
    method = build(Config(), Task(("structure",), side))
    weights = find_weights({"encoder": "compact", "weights": "auto"})
    assert weights is not None  # noqa: S101  the bundled SAM has weights
    load_start(method, weights)
    return method.eval()


def embed(prepared: Prepared, cases: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Embeddings (n, c, g, g), and is the first structure there (n)."""
    recipe = prepared.recipe
    sam = fresh(recipe.size).sam
    embeddings, present = [], []
    for case in cases:
        volume = load_prepared(prepared, case)
        slices = list(range(0, volume.shape[0], EVERY))
        with prepared.case(case) as file:
            present.append(torch.from_numpy((file.labels(range(volume.shape[0])) == 1).any((1, 2))[slices]))
        scaled = recipe.scale(volume.intensities(slices), recipe.bounds(volume.intensities()))
        placed = torch.from_numpy(Placement.of(volume.shape, volume.spacing_mm, recipe).place(scaled)[:, None])
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            embeddings += [sam.encode(some).float() for some in placed.split(BATCH)]
    return torch.cat(embeddings), torch.cat(present).float()


def area(scores: Tensor, present: Tensor) -> float:
    """Chance that a slice with the structure scores higher than one without."""
    return float((scores[present == 1][:, None] > scores[present == 0]).float().mean())


def learn(see: Callable[[AdaSam, Tensor], Tensor], lr: float, seed: int, known: tuple[Tensor, Tensor], asked: Tensor) -> Tensor:
    """Scores of what is asked after training on what is known."""
    torch.manual_seed(seed)
    method = fresh(8 * asked.shape[-1])
    method.train()
    optimiser = torch.optim.AdamW(method.head.parameters(), lr)
    for _ in range(STEPS):
        some = torch.randint(len(known[0]), (BATCH,))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(see(method, known[0][some]), known[1][some])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    method.eval()
    with torch.no_grad():
        return torch.cat([see(method, some) for some in asked.split(32)])


def main(path: Path) -> None:
    """Print a line per head and learning rate."""
    prepared = Prepared.open(path)
    known, (asked, present) = embed(prepared, prepared.split.train), embed(prepared, prepared.split.test)
    for see in (average, places):
        for lr in (3e-4, 1e-3):
            areas = [area(learn(see, lr, seed, known, asked), present) for seed in range(SEEDS)]
            print(f"{see.__name__}, learning rate {lr}: AUC {np.mean(areas):.3f} ± {np.std(areas, ddof=1):.3f}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
