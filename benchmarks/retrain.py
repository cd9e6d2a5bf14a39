"""What CFR's re-training costs, in one process, on random patches.

    python benchmarks/retrain.py            # both geometries, as JSON lines
    # half resolution: patch 48 x 64 x 64, compact SAM on 448-pixel canvases
    python benchmarks/retrain.py small
    python benchmarks/retrain.py paper      # patch 80 x 112 x 112, ViT-B on a 1024-pixel canvas

`ratio`: one iteration as the release runs it, SAM labelling the unlabelled patches in every step,
over the same iteration with stored labels; the two are timed in turn. `part_of_matmul`:
floating-point operations of a V-Net step per second, over those of a 4096 x 4096 matrix product in
bfloat16 in the same process.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import torch
from encoders import use_original_attention
from torch.utils.flop_counter import FlopCounterMode

from fewmask.blocks.memory import channels_last
from fewmask.blocks.sam import Sam
from fewmask.core.batch import Batch, Labelled, Step, Task, Unlabelled
from fewmask.methods import build, canvas_sam, cfr, vnet
from fewmask.methods._method import Method
from fewmask.training.jobs import MethodJob
from fewmask.training.loop import take_step

GEOMETRIES = {
    "small": ((48, 64, 64), "compact", 448),
    "paper": ((80, 112, 112), "vit-b", 1024),
}
CPU = torch.device("cpu")


def seconds(call: Callable[[], object]) -> float:
    """Of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def stepper(method: Method, batch: Batch, bf16: bool = True) -> Callable[[], object]:
    """One optimiser step of `method` on `batch`."""
    job = MethodJob(method, lambda index: batch, total=100, seed=0, device=CPU, bf16=bf16)
    return lambda: take_step(job, batch, Step(0, 100))


@dataclass(frozen=True)
class Parts:
    """What one iteration of CFR's re-training is made of, in one geometry."""

    batch: Batch
    task: Task
    retrain: Callable[[], object]
    """One step on stored labels."""
    sam: Method
    """The fine-tuned SAM, with random weights."""

    bf16: bool

    def label(self) -> object:
        """SAM's masks of the unlabelled patches."""
        assert self.batch.unlabelled is not None  # noqa: S101
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            return self.sam.predict(self.batch.unlabelled.image)


def prepare(geometry: str, plain: bool = False) -> Parts:
    """Networks and random patches of a geometry; `plain`: in float32, with channels outermost and
    the attention of `transformers`, as a release runs them.
    """
    patch, encoder, canvas = GEOMETRIES[geometry]
    task = Task(("structure",), 64, "mr", 1.0)
    image, mask = torch.rand(2, 1, *patch), torch.randint(0, 2, (2, *patch))
    labelled = Labelled(image, mask, torch.ones(2, 1, dtype=torch.long))
    batch = Batch(labelled=labelled, unlabelled=Unlabelled(image, pseudo=mask))
    finetune = canvas_sam.Config(encoder=encoder, weights="none", patch=patch, canvas=canvas)
    sam = build("canvas_sam", finetune, task).eval()
    net = build("cfr", cfr.Config(patch=patch, finetune=finetune), task)
    if not plain:
        sam, net = channels_last(sam), channels_last(net)
    elif encoder != "compact":  # whose attention is ours alone
        use_original_attention(cast(Sam, sam.sam))
    return Parts(batch, task, stepper(net, batch, not plain), sam, not plain)


def measure(geometry: str, repeats: int) -> dict[str, object]:
    """One geometry."""
    patch = GEOMETRIES[geometry][0]
    parts = prepare(geometry)
    batch, task, retrain, label = parts.batch, parts.task, parts.retrain, parts.label
    net = channels_last(build("vnet", vnet.Config(patch=patch), task))
    alone = stepper(net, replace(batch, unlabelled=None))
    with FlopCounterMode(display=False) as counter:
        alone()
    factor = torch.rand(4096, 4096, dtype=torch.bfloat16)
    for call in (retrain, label, lambda: factor @ factor):
        call()
    stored, online, plain, product = [], [], [], []
    for _ in range(repeats):
        stored.append(seconds(retrain))
        online.append(seconds(label) + seconds(retrain))
        plain.append(seconds(alone))
        product.append(seconds(lambda: factor @ factor))
    rate, top = (
        counter.get_total_flops() / statistics.median(plain),
        2 * 4096**3 / statistics.median(product),
    )
    return {
        "geometry": geometry,
        "stored_s": round(statistics.median(stored), 3),
        "online_s": round(statistics.median(online), 3),
        "ratio": round(statistics.median(o / s for o, s in zip(online, stored, strict=True)), 2),
        "vnet_step_s": round(statistics.median(plain), 3),
        "vnet_gflops": round(rate / 1e9),
        "matmul_gflops": round(top / 1e9),
        "part_of_matmul": round(rate / top, 3),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("geometry", nargs="*", choices=[*GEOMETRIES, []], default=[])
    parser.add_argument("--repeats", type=int, default=5)
    words = parser.parse_args()
    for geometry in words.geometry or GEOMETRIES:
        print(json.dumps(measure(geometry, words.repeats)), flush=True)


if __name__ == "__main__":
    main()
