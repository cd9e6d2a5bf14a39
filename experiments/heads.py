"""What the head of `ada_sam` can tell from the bundled SAM's embedding, frozen: is the structure in
the slice?

    python experiments/heads.py runs/ct-liver-dev/prepared

Every third slice of the training scans teaches, every third of the test scans asks; the split is
that of ct-liver-dev.toml, where both are training patients of the results. The same MLP sees the
average of the embedding; or answers at every place and is averaged; or looks at places and answers
from there, where OUTLINED slices teach the looking. Steps, tagged slices per step and schedule are
those of `ada_sam` in sam-mix-table.toml. Prints the area under the ROC curve, and how many slices
with and without the structure are called present, over five seeds. `--rows FILE.csv` adds a line
per head, learning rate, seed and scan.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from quantities import add, arguments
from torch import Tensor, nn
from torch.nn import functional

from fewmask.blocks.cam import attention_pool
from fewmask.blocks.losses import attention_guide
from fewmask.blocks.ramp import warm_cosine
from fewmask.core.batch import Step, Task
from fewmask.core.placement import Placement
from fewmask.io.prepared import Prepared
from fewmask.methods.ada_sam import AdaSam, Config, build
from fewmask.predict import Predictor
from fewmask.predict.work import load_prepared
from fewmask.training.pretrained import find_weights, load_pretrained

STEPS, BATCH, EVERY, SEEDS = 155, 4, 3, 5
OUTLINED, GUIDE = 17, 0.5  # a third of 50 slices, as EVERY is; the weight is ada_sam's own


@dataclass(frozen=True)
class Slices:
    """Frozen slices."""

    embedding: Tensor
    present: Tensor
    share: Tensor
    """Part of each place that the structure covers (n, g, g)."""
    cases: tuple[str, ...]
    """Scan of each slice."""


def average(head: nn.Module, embedding: Tensor) -> tuple[Tensor, None]:
    """The head sees the average."""
    return head(embedding.mean((2, 3)))[:, 0], None


def places(head: nn.Module, embedding: Tensor) -> tuple[Tensor, None]:
    """The head answers at every place."""
    return head(embedding.movedim(1, -1)).mean((1, 2))[:, 0], None


def attended(head: nn.Module, embedding: Tensor) -> tuple[Tensor, Tensor]:
    """The head's second answer, where its first one looks; and the looks."""
    attention, value = head(embedding.movedim(1, -1)).unbind(-1)
    return attention_pool(attention.detach()[:, None], value[:, None])[:, 0], attention


def fresh(side: int, head: Literal["places", "pooled"] = "places") -> AdaSam:
    """The method as training starts with it."""
    method = build(
        Config(head=head, guide_weight=GUIDE if head == "places" else 0.0),
        Task(("structure",), side),
    )
    weights = find_weights({"encoder": "compact", "weights": "auto"})
    assert weights is not None  # noqa: S101  the bundled SAM has weights
    load_pretrained(method, weights)
    return method.eval()


def embed(prepared: Prepared, cases: tuple[str, ...]) -> Slices:
    """Every EVERYth slice of these scans."""
    recipe = prepared.recipe
    method = fresh(recipe.size)
    predictor = Predictor(
        method,
        recipe,
        Task(("structure",), recipe.size),
        torch.device("cpu"),
        bf16=True,
        batch=BATCH,
    )
    embeddings, shares = [], []
    scans: list[str] = []
    for case in cases:
        volume = load_prepared(prepared, case)
        slices = range(0, volume.shape[0], EVERY)
        scans += [case] * len(slices)
        placement = Placement.of(volume.shape, volume.spacing_mm, recipe)
        with prepared.case(case) as file:
            outlines = (file.labels(range(volume.shape[0]))[slices] == 1).astype(np.float32)
        mask = torch.from_numpy(placement.place(outlines))
        for some, window, image in predictor.images(volume, slices):
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                embeddings.append(method.sam.encode(image).float())
            shown = mask[[slices.index(d) for d in some]][window.part]
            shares.append(functional.adaptive_avg_pool2d(shown, embeddings[-1].shape[-1]))
    share = torch.cat(shares)
    present = share.flatten(1).any(1).float()
    return Slices(torch.cat(embeddings), present, share, tuple(scans))


def area(scores: Tensor, present: Tensor) -> float:
    """Chance that a slice with the structure scores higher than one without; equal ones
    count half.
    """
    above = scores[present == 1][:, None] - scores[present == 0]
    return float((above.sign() + 1).mean() / 2)


def learn(
    see: Callable[[nn.Module, Tensor], tuple[Tensor, Tensor | None]],
    lr: float,
    seed: int,
    known: Slices,
) -> nn.Module:
    """A head after training on what is known; where it looks is learned from OUTLINED
    slices of it.
    """
    torch.manual_seed(seed)
    head = fresh(8 * known.share.shape[-1], "places" if see is attended else "pooled").head.train()
    optimiser = torch.optim.AdamW(head.parameters(), lr)
    there = torch.nonzero(known.present)[:, 0]
    outlined = there[torch.randperm(len(there))[:OUTLINED]]
    for index in range(STEPS):
        optimiser.param_groups[0]["lr"] = lr * warm_cosine(Step(index, STEPS), Config().warmup)
        some, drawn = (
            torch.randint(len(known.present), (BATCH,)),
            outlined[torch.randint(len(outlined), (BATCH,))],
        )
        loss = functional.binary_cross_entropy_with_logits(
            see(head, known.embedding[some])[0], known.present[some]
        )
        looks = see(head, known.embedding[drawn])[1]
        if looks is not None:
            mask = (known.share[drawn] > 0).long()  # every place with any of it counts alike
            loss = loss + GUIDE * attention_guide(
                looks[:, None], torch.ones(1, 1), mask, torch.ones(len(drawn), 1).long()
            )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return head.eval()


def by_scan(asked: Slices, scores: Tensor) -> list[dict[str, object]]:
    """Columns of each scan: its slices, those called present, and the area (NaN where all of its
    slices are of one kind).
    """
    lines: list[dict[str, object]] = []
    for case in dict.fromkeys(asked.cases):
        own = torch.tensor([other == case for other in asked.cases])
        score, held = scores[own], asked.present[own] == 1
        lines.append(
            {
                "case": case,
                "with_it": int(held.sum()),
                "without_it": int((~held).sum()),
                "called_with": int((score[held] > 0).sum()),
                "called_without": int((score[~held] > 0).sum()),
                "auc": area(score, asked.present[own]),
            }
        )
    return lines


def main(path: Path, rows: Path | None = None) -> None:
    """Print a line per head and learning rate."""
    prepared = Prepared.open(path)
    known, asked = embed(prepared, prepared.split.train), embed(prepared, prepared.split.test)
    for see in (average, places, attended):
        for lr in (1e-3, 1e-2):
            figures = []
            for seed in range(SEEDS):
                head = learn(see, lr, seed, known)
                with torch.no_grad():
                    scores = torch.cat([see(head, some)[0] for some in asked.embedding.split(32)])
                called = [
                    float((scores[asked.present == there] > 0).float().mean()) for there in (1, 0)
                ]
                figures.append([area(scores, asked.present), *called])
                run = {"head": see.__name__, "lr": lr, "seed": seed, "steps": STEPS}
                lines = [run | line for line in by_scan(asked, scores)]
                add(rows, [*run, "case"], lines)
            mean, spread = np.mean(figures, 0), np.std(figures, 0, ddof=1)
            auc, found, false = (f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, spread, strict=True))
            print(
                f"{see.__name__}, learning rate {lr}: AUC {auc}, called present {found} and "
                f"{false}",
                flush=True,
            )


if __name__ == "__main__":
    folders, file = arguments(__doc__, "PREPARED")
    for folder in folders:
        main(folder, file)
