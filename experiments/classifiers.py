"""Does `sam_mix` know which slices hold the structure? Ways its classifier may answer, on training
patients set aside.

    python experiments/classifiers.py runs/ct-liver-dev/prepared 50

The number is that of outlined slices. The twelve patients of ct-liver-dev.toml are training
patients of the results; here the first three are set aside, then the last three. Each time
`sam_mix` learns for 235 steps, with a small untrained SAM in place of the compact one, prompted as
in the paper; the two meet in the clipping of gradients only. Prints the area under the ROC curve,
and how many of the slices with and without the structure are called present.
"""

import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from heads import area
from torch import Tensor

from fewmask.io.prepared import Prepared, write_split
from fewmask.predict import Predictor
from fewmask.predict.work import load_prepared
from fewmask.training import TrainRequest, train

STEPS, ASIDE = 235, 3


def set_aside(prepared: Prepared, cases: list[str], folder: Path) -> Prepared:
    """The same scans with another split, in a folder of its own."""
    shutil.copytree(prepared.folder, folder, copy_function=os.link)
    (folder / "split.toml").unlink()
    rest = tuple(
        case for case in (*prepared.split.train, *prepared.split.test) if case not in cases
    )
    write_split(folder / "split.toml", replace(prepared.split, train=rest, test=tuple(cases)))
    return Prepared.open(folder)


def ask(run: Path, prepared: Prepared) -> tuple[Tensor, Tensor]:
    """P(present) and truth of all test slices."""
    predictor = Predictor.load(run)
    scores: list[float] = []
    present: list[bool] = []
    for case in prepared.split.test:
        volume = load_prepared(prepared, case)
        with prepared.case(case) as file:
            present += (file.labels(range(volume.shape[0])) == 1).any((1, 2)).tolist()
        prompts = predictor.volume(volume).prompts
        assert prompts is not None  # noqa: S101  sam_mix has a classifier
        scores += [line["present"][0] for line in prompts["slices"]]
    return torch.tensor(scores), torch.tensor(present).float()


def main(path: Path, slices: int) -> None:
    """Print a line per way to answer and patients set aside."""
    prepared = Prepared.open(path)
    cases = sorted((*prepared.split.train, *prepared.split.test))
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        for aside in (cases[:ASIDE], cases[-ASIDE:]):
            fold = set_aside(prepared, aside, Path(folder) / aside[0])
            for pool in ("average", "attention"):
                for tag_loss in ("focal", "entropy"):
                    settings = (
                        "encoder=tiny",
                        "dense_prompt=true",
                        f"tag_loss={tag_loss}",
                        f"pool={pool}",
                    )
                    run = Path(folder) / f"{aside[0]}-{pool}-{tag_loss}"
                    train(
                        TrainRequest(
                            fold.folder, run, slices=slices, steps=STEPS, settings=settings
                        )
                    )
                    scores, present = ask(run, fold)
                    found, false = (
                        float((scores[present == there] >= 0.5).float().mean()) for there in (1, 0)
                    )
                    told = (
                        f"AUC {area(scores, present):.3f}, called present {found:.3f} and "
                        f"{false:.3f}"
                    )
                    print(f"{', '.join(aside)}: {pool}, {tag_loss}: {told}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
