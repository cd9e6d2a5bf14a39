"""One of two processes that train together; started by `test_together.py` as `torchrun` would.

python -m tests.training.pair FOLDER METHOD...: trains each method of the prepared dataset in FOLDER
into FOLDER/pair-METHOD; where METHOD ends with `+`, it stops after two steps and goes on; where it
ends with `?`, each process has a run folder of its own, with `!` a seed, which is refused.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from torch import distributed

from fewmask.core.errors import FewmaskError, Interrupted
from fewmask.core.progress import ProgressEvent
from fewmask.training import TrainRequest, train

# Not AdamW, which makes a whole step of a gradient that is nothing but rounding.
_SMALL = ("patch=(16,32,32)", "filters=2", "optimiser=sgd")
SETTINGS: dict[str, tuple[str, ...]] = {
    "lite_unet": ("weights=none", "labelled=4", "weak=4", "warmup=1"),
    "unet": ("channels=(4,8)", "labelled=4", "tags_as_empty=true", "warmup=1"),
    "trans_unet": ("channels=(4,8,8)", "labelled=2", "width=8", "heads=2", "layers=1"),
    "vnet": _SMALL,
    "mean_teacher": (*_SMALL, "weight=3"),
    "ua_mt": (*_SMALL, "weight=3", "passes=2"),
    "ac_mt": (*_SMALL, "weight=3"),
    "self_training": (*_SMALL, "rounds=2"),
}
"""Methods that several processes can learn together, as small as they go; the others are refused.
"""
STEPS = 3


def request(folder: Path, method: str, out: str) -> TrainRequest:
    """The same training for one process and for two."""
    whole = "patch" in " ".join(SETTINGS[method])
    return TrainRequest(
        folder / "prepared", folder / out, method=method, steps=STEPS, device="cpu", amp="off",
        slices=None if whole else 8, volumes=2 if whole else None, threads=1,
        settings=SETTINGS[method],
    )  # fmt: skip


def main(folder: Path, methods: list[str]) -> None:
    """Train them all; an error is told and ends this process with its code."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    for name in methods:
        method, place = name.rstrip("+?!"), distributed.get_rank()
        asked = request(folder, method, f"pair-{name}")
        if name[-1] in "?!":
            own = {"out": folder / f"{place}"} if name[-1] == "?" else {"seed": place}
            try:
                train(replace(asked, **own))
            except FewmaskError as error:
                (folder / f"refused-{name[-1]}-{place}").write_text(str(error))
            continue
        if name.endswith("+"):
            try:
                train(asked, stop_early)
            except Interrupted:
                (folder / f"stopped-{distributed.get_rank()}").touch()
        train(asked)
    distributed.destroy_process_group()


def stop_early(event: ProgressEvent) -> bool:
    """Asks to stop in the first step, so that all stop after the second."""
    return event.done == 1


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except FewmaskError as problem:
        print(problem, file=sys.stderr)
        sys.exit(problem.exit_code)
