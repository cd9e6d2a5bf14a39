"""How fast: what waits for what in a training step, beside what the device could do."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from fewmask.blocks.memory import channels_last
from fewmask.core.batch import IGNORE, Batch, Labelled, Step, Task, Unlabelled
from fewmask.core.budget import Budget
from fewmask.core.config import apply_settings
from fewmask.data import open_loader
from fewmask.data.loader import Ahead, Loader
from fewmask.io.prepared import Prepared
from fewmask.methods import build, config_class
from fewmask.methods._method import Method
from fewmask.training import TrainRequest, draw_budget
from fewmask.training.jobs import MethodJob
from fewmask.training.loop import FiniteWatch, has_fused_steps, reads_late, take_step
from gpu_parts.job import Job, phantoms

ATRIUM, ORGANS = (80, 112, 112), (32, 64, 64)
"""Patches (d, h, w)."""
TINY = (16, 32, 32)


@dataclass(frozen=True)
class Case:
    """A method as it is timed."""

    method: str
    settings: tuple[str, ...] = ()
    data: str = ""
    """Whose patches; phantoms if it is not here."""


def patches(patch: tuple[int, int, int], *more: str) -> tuple[str, ...]:
    """Settings of a 3D method."""
    return (f"patch=[{','.join(map(str, patch))}]", "turns=false", *more)


TUNED = ("centred=0.5", "dropout=0.0", "head_lr=0.03")
CASES = (
    Case("vnet", patches(ATRIUM), "atrium"),
    Case("mean_teacher", patches(ATRIUM), "atrium"),
    Case("bcp", patches(ATRIUM), "atrium"),
    Case("canvas_sam", patches(ATRIUM), "atrium"),
    Case("vnet", patches(ORGANS, *TUNED), "organs"),
    Case("canvas_sam", patches(ORGANS, "canvas=256", "centred=0.5"), "organs"),
    Case("mean_teacher", patches(ORGANS, *TUNED), "organs"),
    Case("sam_mix"),
    Case("unet"),
    Case("ada_sam"),
    Case("sam_pp"),
    Case("multimix"),
    Case("trans_unet"),
)


def speed(job: Job) -> None:
    """The machine's limits, then every case; as many as there is time for."""
    found = limits(job)
    job.tell(what="limits", **found)
    for case in CASES[::6] if job.toy else CASES:
        if job.has(what=case.method, settings=" ".join(case.settings)):
            continue
        if job.left < 12:
            job.tell(what=case.method, left_out="no time was left")
            continue
        try:
            row = time_case(job, case, found)
        except Exception as error:  # the others go on
            row = {"failed": f"{type(error).__name__}: {str(error)[:300]}"}
        job.tell(what=case.method, **row)


def clock(job: Job, call: Callable[[], object], most: float = 1.5, warm: int = 3) -> float:
    """Median milliseconds of a call, the device's work included, over at most `most` seconds."""
    for _ in range(1 if job.toy else warm):
        call()
    sync(job)
    begun = time.perf_counter()
    taken: list[float] = []
    while len(taken) < (2 if job.toy else 5) or (
        time.perf_counter() - begun < most and len(taken) < 50
    ):
        start = time.perf_counter()
        call()
        sync(job)
        taken.append(max(1e-4, 1000 * (time.perf_counter() - start)))
        if job.toy and len(taken) >= 2:
            break
    return round(statistics.median(taken), 4)


def sync(job: Job) -> None:
    """Wait for the device."""
    if job.place.type == "cuda":
        torch.cuda.synchronize()


def limits(job: Job) -> dict[str, Any]:
    """Matrix product in bfloat16 (TFLOP/s), copy on the device and to it (GB/s)."""
    n = 256 if job.toy else 8192
    a = torch.randn(n, n, device=job.place).bfloat16()
    b = torch.randn(n, n, device=job.place).bfloat16()
    big = torch.rand((1 if job.toy else 512) * 2**18, device=job.place)
    host = torch.rand(2**22 if job.toy else 2**24)
    out = {
        "device": torch.cuda.get_device_name() if job.place.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "bf16_tflops": round(2 * n**3 / clock(job, lambda: a @ b, 0.5) / 1e9, 1),
        "copy_gb_s": round(2 * big.nbytes / clock(job, big.clone, 0.5) / 1e6, 1),
        "to_device_gb_s": round(host.nbytes / clock(job, lambda: host.to(job.place), 0.5) / 1e6, 2),
    }
    if job.place.type == "cuda":
        pinned = host.pin_memory()
        seconds = clock(job, lambda: pinned.to(job.place, non_blocking=True), 0.5)
        out["pinned_to_device_gb_s"] = round(host.nbytes / seconds / 1e6, 2)
    return out


def random_batch(patch: tuple[int, int, int], k: int, place: torch.device) -> Batch:
    """Two labelled and two unlabelled patches, on the device."""
    rng = torch.Generator().manual_seed(0)
    image = torch.rand(2, 1, *patch, generator=rng)
    mask = torch.randint(0, k + 1, (2, *patch), generator=rng)
    mask[:, 0] = IGNORE
    labelled = Labelled(image, mask, torch.ones(2, k, dtype=torch.long))
    return Batch(labelled, None, Unlabelled(image.clone())).to(place)


def stepper(job: Job, method: Method, batch: Batch, bf16: bool) -> Callable[[], object]:
    """One optimiser step on a batch that is there, as the loop takes it."""
    return training(job, method, lambda: batch, bf16)


def peak(job: Job) -> float:
    """GiB of the device's memory at most since the last call."""
    if job.place.type != "cuda":
        return 0.0
    most = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return round(most, 2)


# --- Methods ---


@dataclass(frozen=True)
class Made:
    """A case ready to be timed."""

    prepared: Prepared
    budget: Budget
    method: Method
    data: str

    def loader(self, ahead: Ahead) -> Loader:
        """Its batches."""
        return open_loader(self.prepared, self.budget, self.method.batch_spec, 0, ahead=ahead)


def make(job: Job, case: Case) -> Made:
    """The case's data (phantoms where it is not here) and its network on the device."""
    three = any(setting.startswith("patch") for setting in case.settings)
    settings = tuple(
        s for s in case.settings if not (job.toy and s.startswith(("patch", "canvas")))
    )
    settings += (f"patch=[{','.join(map(str, TINY))}]",) if job.toy and three else ()
    settings += ("canvas=64",) if job.toy and case.method == "canvas_sam" else ()
    prepared = phantoms(job.out, job.toy)
    if case.data in job.data:
        prepared = Prepared.open(job.data[case.data])
    volumes, slices = (1, None) if three else (None, 8)
    request = TrainRequest(prepared.folder, job.out, case.method, slices=slices, volumes=volumes)
    recipe = prepared.recipe
    task = Task(prepared.classes, recipe.size, recipe.modality, recipe.spacing_mm)
    config = apply_settings(config_class(case.method)(), settings, case.method)
    method = channels_last(build(case.method, config, task)).to(job.place)
    data = case.data if case.data in job.data else "phantoms"
    return Made(prepared, draw_budget(request, prepared), method, data)


def time_case(job: Job, case: Case, found: dict[str, Any]) -> dict[str, Any]:
    """The loader alone, a step on a batch that is there (bfloat16, float32), and both as in
    training, with one thread that augments and with four and the device; images a second, and what
    part of the device's limits (`found`) a step uses.
    """
    made = make(job, case)
    pin = job.place.type == "cuda"
    row: dict[str, Any] = {"settings": " ".join(case.settings), "data": made.data}
    four = Ahead(4, pin, defer=True)
    with made.loader(Ahead()) as loader:
        for index in range(12):  # scans are read once
            batch = loader.batch(index)
        row["images"] = count_images(batch)
        row["loader_ms"] = clock(job, counting(loader.batch), 0.5)
    with made.loader(four) as loader:
        row["loader_ms_4"] = clock(job, counting(loader.batch), 0.5, warm=8)
        size = sum(one.nbytes for one in tensors_of(loader.batch(0)))
    there = batch.to(job.place)
    step = stepper(job, made.method, there, True)
    row["bf16_ms"] = clock(job, step, 0.8)
    row["f32_ms"] = clock(job, stepper(job, made.method, there, False), 0.5)
    row["peak_gib"] = peak(job)
    for threads, ahead in ((1, Ahead()), (4, four)):
        with made.loader(ahead) as loader:
            train = training(job, made.method, counting(loader.batch))
            row[f"both_ms_{threads}"] = clock(job, train, 1.0, warm=8)
    row["images_s"] = round(1000 * row["images"] / row["both_ms_4"], 1)
    row["loader_images_s"] = round(1000 * row["images"] / row["loader_ms_4"], 1)
    with FlopCounterMode(display=False) as counter:
        step()
    tflop = counter.get_total_flops() / 1e12
    best = 1000 * tflop / found["bf16_tflops"]
    row["tflop_step"] = round(tflop, 3)
    row["of_matrix_rate"] = round(best / min(row["bf16_ms"], row["f32_ms"]), 3)
    bus = found.get("pinned_to_device_gb_s", found["to_device_gb_s"])
    row["of_bus"] = round(size / 1e6 / bus / row["both_ms_4"], 4)
    return row


def count_images(batch: Batch) -> int:
    """Images or patches of a batch; strong views are counted as well."""
    streams = (batch.labelled, batch.weak, batch.unlabelled, batch.empty)
    found = sum(len(stream.image) for stream in streams if stream is not None)
    strong = batch.unlabelled is not None and (
        batch.unlabelled.strong is not None
        or (batch.unlabelled.pending is not None and batch.unlabelled.pending.strong is not None)
    )
    return found + (len(batch.unlabelled.image) if strong and batch.unlabelled else 0)


def tensors_of(part: Any) -> Iterator[torch.Tensor]:
    """All tensors in a batch."""
    if isinstance(part, torch.Tensor):
        yield part
    elif is_dataclass(part) and not isinstance(part, type):
        for value in vars(part).values():
            yield from tensors_of(value)


def counting(batch: Callable[[int], Batch]) -> Callable[[], Batch]:
    """The batches one after the other."""
    steps = iter(range(10**9))
    return lambda: batch(next(steps))


def training(
    job: Job, method: Method, batches: Callable[[], Batch], bf16: bool = True
) -> Callable[[], object]:
    """A step as the loop takes it, data included."""
    work = MethodJob(method, lambda index: batches(), 100, 0, job.place, bf16)
    late = reads_late(job.place) and has_fused_steps(work.optimiser)
    watch = FiniteWatch(work.optimiser, job.place) if late else None
    return lambda: take_step(work, work.batch(50), Step(50, 100), watch)
