"""Two ways of feeding large batches: augmentation in the loader's threads, or on the device."""

import os
from functools import partial
from typing import Any

from fewmask.data.loader import Ahead
from fewmask.data.pending import apply_pending
from gpu_parts.job import Job
from gpu_parts.speed import ATRIUM, Case, clock, count_images, counting, make, patches, training

LARGE = ("labelled=32", "weak=64")
CASES = (
    Case("unet", (*LARGE, "presence=scan")),
    Case("sam_mix", LARGE),
    Case("vnet", patches(ATRIUM, "augment=true"), "atrium"),
    Case("unet", ("labelled=32", "random_convolution=0.5", "frequency_swap=0.5")),
)


def feed(job: Job) -> None:
    """A row per case and way: batches alone, and training with them."""
    for case in CASES[2:3] if job.toy else CASES:
        made = make(job, _small(case) if job.toy else case)
        cores = os.cpu_count() or 1
        for threads in sorted({1, min(4, cores), min(8, cores)} - ({1} if not job.toy else set())):
            for defer in (False, True):
                way: dict[str, Any] = {"method": case.method, "settings": " ".join(case.settings)}
                way |= {"threads": threads, "augments": "device" if defer else "threads"}
                if job.has(**way):
                    continue
                if job.left < 6:
                    job.tell(what="feed", method=case.method, left_out="no time was left")
                    return
                ahead = Ahead(threads, job.place.type == "cuda", defer)
                row: dict[str, Any] = dict(way)
                with made.loader(ahead) as loader:
                    batch = loader.batch(0)
                    row["images"] = count_images(batch)
                    row["loader_ms"] = clock(job, counting(loader.batch), 1.0, warm=threads + 2)
                row["on_device_ms"] = clock(job, partial(apply_pending, batch.to(job.place)), 0.3)
                with made.loader(ahead) as loader:
                    step = training(job, made.method, counting(loader.batch))
                    row["both_ms"] = clock(job, step, 1.5, warm=threads + 4)
                row["images_s"] = round(1000 * row["images"] / row["both_ms"], 1)
                job.tell(what="feed", **row)


def _small(case: Case) -> Case:
    """The same with few images."""
    settings = tuple("labelled=2" if s == "labelled=32" else s for s in case.settings)
    return Case(case.method, settings, case.data)
