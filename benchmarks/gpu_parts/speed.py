"""How fast: what waits for what in a training step, which way of laying out and compiling V-Net
pays, and what a scan takes.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from fewmask.blocks.memory import channels_last
from fewmask.blocks.nets import vnet as nets
from fewmask.core.batch import IGNORE, Batch, Labelled, Step, Task, Unlabelled
from fewmask.core.config import apply_settings
from fewmask.core.placement import VolumePlacement
from fewmask.core.recipe import Recipe
from fewmask.core.volume import Volume
from fewmask.data import open_loader
from fewmask.data.loader import Ahead
from fewmask.io.prepared import Prepared
from fewmask.methods import build, config_class
from fewmask.methods._method import Method
from fewmask.predict import Predictor
from fewmask.predict.restore import VolumeRestorer, classes_of
from fewmask.training import TrainRequest, draw_budget
from fewmask.training.hardware import compile_networks
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
    """The machine's limits, V-Net's variants, every case, then whole scans; as many as there is
    time for.
    """
    job.tell(what="limits", **limits(job))
    for row in variants(job):
        job.tell(what="vnet variant", **row)
    for case in CASES[::6] if job.toy else CASES:
        if job.left < 25:
            job.tell(what=case.method, left_out="no time was left")
            continue
        job.tell(what=case.method, **time_case(job, case))
    for row in scans(job):
        job.tell(what="scan", **row)


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


# --- V-Net's variants ---


def contiguous(method: Method) -> Method:
    """Weights with channels outermost, as torch makes them."""
    for weight in method.parameters():
        weight.data = weight.data.contiguous(memory_format=torch.contiguous_format)
    return method


@contextmanager
def split_norms() -> Iterator[None]:
    """Instance norms as a batch norm of one patch at a time, which leaves the channels where they
    are.
    """
    before = nets._InstanceNorm3d.forward

    def forward(self: Any, given: torch.Tensor) -> torch.Tensor:
        settings = (None, None, self.weight, self.bias, True, 0.0, self.eps)
        return torch.cat([functional.batch_norm(patch, *settings) for patch in given.split(1)])

    nets._InstanceNorm3d.forward = forward  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        nets._InstanceNorm3d.forward = before  # type: ignore[method-assign]


@contextmanager
def autotuned(on: bool) -> Iterator[None]:
    """cuDNN tries its algorithms first."""
    torch.backends.cudnn.benchmark = on
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = False


def variants(job: Job) -> Iterator[dict[str, Any]]:
    """A V-Net's step on two patches (1 structure) and on two small ones (13): layout, norms,
    autotuning, compiling, precision.
    """
    for patch, k in ((TINY, 1),) if job.toy else ((ATRIUM, 1), (ORGANS, 13)):
        batch = random_batch(patch, k, job.place)
        for layout, norm in (
            (channels_last, "torch"),
            (channels_last, "split"),
            (contiguous, "torch"),
        ):
            for tuned in (False, True):
                with autotuned(tuned):
                    yield _named(patch, layout, norm, tuned=tuned) | _variant(
                        job, batch, patch, k, layout, norm
                    )
        row = _variant(job, batch, patch, k, channels_last, "torch", bf16=False)
        yield _named(patch, channels_last, "torch", bf16=False) | row
        yield from compiled(job, patch, k, batch)


def compiled(
    job: Job, patch: tuple[int, int, int], k: int, batch: Batch | None = None
) -> Iterator[dict[str, Any]]:
    """The same as torch.compile writes it; `warm` made the kernels before, beside the checks."""
    batch = random_batch(patch, k, job.place) if batch is None else batch
    backend = "eager" if job.toy else "inductor"
    for layout in (channels_last, contiguous):
        row = _variant(job, batch, patch, k, layout, "torch", compiling=backend)
        yield _named(patch, layout, "torch", compiled=True) | row


def graphs(job: Job) -> None:
    """Where launching kernels takes longer than they do: the small V-Net as it is, compiled, and as
    replayed CUDA graphs.
    """
    patch = TINY if job.toy else ORGANS
    batch = random_batch(patch, 13, job.place)
    for mode in ("eager", "default") if job.toy else ("eager", "default", "reduce-overhead"):
        method = channels_last(plain_vnet(patch, 13)).to(job.place)
        how = {"backend": "eager"} if job.toy else {"mode": mode}
        if mode != "eager":
            method.get_submodule("student").compile(dynamic=False, **how)
        taken = clock(job, stepper(job, method, batch, True), 2.0, warm=8)
        job.tell(what="kernels", patch=patch, mode=mode, step_ms=taken)


def plain_vnet(patch: tuple[int, int, int], k: int) -> Method:
    """The method `vnet` for `k` structures."""
    config = apply_settings(config_class("vnet")(), patches(patch), "vnet")
    return build("vnet", config, Task(tuple(map(str, range(k))), 128, "mr", 1.0))


def warm(job: Job) -> None:
    """Let torch.compile fill its cache; its rows are no timings, since others compute meanwhile."""
    for patch, k in ((TINY, 1),) if job.toy else ((ATRIUM, 1), (ORGANS, 13)):
        for row in compiled(job, patch, k):
            job.tell(what="compiling", first_s=row["first_s"], layout=row["layout"], patch=patch)


def _named(
    patch: Any,
    layout: Any,
    norm: str,
    tuned: bool = False,
    compiled: bool = False,
    bf16: bool = True,
) -> dict[str, Any]:
    return {
        "patch": patch,
        "layout": layout.__name__,
        "norm": norm,
        "autotuned": tuned,
        "compiled": compiled,
        "bf16": bf16,
    }


def _variant(
    job: Job,
    batch: Batch,
    patch: Any,
    k: int,
    layout: Any,
    norm: str,
    bf16: bool = True,
    compiling: str = "",
) -> dict[str, Any]:
    method = layout(plain_vnet(patch, k)).to(job.place)
    start = time.perf_counter()
    if compiling:
        compile_networks(method, compiling)
    step = stepper(job, method, batch, bf16)
    with split_norms() if norm == "split" else nullcontext():
        step()
        sync(job)
        first = time.perf_counter() - start
        return {"step_ms": clock(job, step, 0.7), "first_s": round(first, 1), "peak_gib": peak(job)}


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


def time_case(job: Job, case: Case) -> dict[str, Any]:
    """The loader alone, a step on a batch that is there (bfloat16, float32), and both as in
    training with one thread and with four.
    """
    settings = tuple(
        s for s in case.settings if not (job.toy and s.startswith(("patch", "canvas")))
    )
    settings += (f"patch=[{','.join(map(str, TINY))}]",) if job.toy and case.settings else ()
    settings += ("canvas=64",) if job.toy and case.method == "canvas_sam" else ()
    prepared = phantoms(job.out, job.toy)
    if case.data in job.data:
        prepared = Prepared.open(job.data[case.data])
    request = TrainRequest(
        prepared.folder,
        job.out,
        case.method,
        volumes=1 if case.settings else None,
        slices=None if case.settings else 8,
    )
    recipe = prepared.recipe
    task = Task(prepared.classes, recipe.size, recipe.modality, recipe.spacing_mm)
    config = apply_settings(config_class(case.method)(), settings, case.method)
    method = channels_last(build(case.method, config, task)).to(job.place)
    budget = draw_budget(request, prepared)
    row: dict[str, Any] = {"settings": " ".join(settings)}
    row["data"] = case.data if case.data in job.data else "phantoms"
    pin = job.place.type == "cuda"
    with open_loader(prepared, budget, method.batch_spec, 0) as loader:
        for index in range(12):  # scans are read once
            batch = loader.batch(index)
        streams = (batch.labelled, batch.weak, batch.unlabelled)
        row["images"] = sum(len(stream.image) for stream in streams if stream is not None)
        row["loader_ms"] = clock(job, counting(loader.batch), 0.6)
    there = batch.to(job.place)
    row["bf16_ms"] = clock(job, stepper(job, method, there, True), 1.0)
    row["f32_ms"] = clock(job, stepper(job, method, there, False), 0.6)
    row["peak_gib"] = peak(job)
    for threads, pinned in ((1, False), (4, pin)):
        ahead = Ahead(threads, pinned)
        with open_loader(prepared, budget, method.batch_spec, 0, ahead=ahead) as loader:
            train = training(job, method, counting(loader.batch))
            row[f"both_ms_{threads}"] = clock(job, train, 1.2, warm=8)
    return row


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


# --- Whole scans ---


def scans(job: Job) -> Iterator[dict[str, Any]]:
    """Seconds of a CT of 512 x 512 x 119 for 1 and 13 organs, and of a left atrium with the papers'
    windows.
    """
    ct, half = ((8, 64, 64), 32) if job.toy else ((119, 512, 512), 128)
    for k in (1, 13):
        recipe = Recipe("ct", "ct", spacing_mm=0.8 * ct[1] / half, size=half)
        patch = TINY if job.toy else ORGANS
        found = _scan(job, recipe, ct, (3.0, 0.8, 0.8), k, patch, None, 2)
        yield {"scan": ct, "structures": k, **found}
    if job.toy:
        return
    recipe = Recipe("left-atrium", "mr", spacing_mm=0.625, size=256, slice_mm=0.625)
    for windows in (2, 8):
        found = _scan(job, recipe, (88, 200, 150), (0.625,) * 3, 1, ATRIUM, (4, 18, 18), windows)
        yield {"scan": (88, 200, 150), "structures": 1, "windows": windows, **found}


def _scan(
    job: Job,
    recipe: Recipe,
    shape: Any,
    spacing: Any,
    k: int,
    patch: Any,
    stride: Any,
    windows: int,
) -> dict[str, Any]:
    """In all; then the network's windows alone, and restoring alone, on the device and in NumPy."""
    settings = patches(patch, *(("filters=4",) if job.toy else ()))
    task = Task(tuple(map(str, range(k))), recipe.size, recipe.modality, recipe.spacing_mm)
    method = build("vnet", apply_settings(config_class("vnet")(), settings, "vnet"), task)
    predictor = Predictor(method, recipe, task, job.place, True)
    predictor = predictor.with_windows(stride, batch=windows)
    rng = np.random.default_rng(0)
    affine = np.diag([*spacing[::-1], 1.0])
    scan = Volume.from_file_order(rng.integers(-200, 300, shape[::-1]).astype(np.int16), affine)
    placement = VolumePlacement.of(scan.shape, scan.spacing_mm, recipe)
    image = torch.rand(windows, 1, *patch, device=job.place)
    probs = torch.softmax(torch.randn(k + 1, *placement.shape, device=job.place), 0)
    rows = range(0, min(8, scan.shape[0]))
    blocks = scan.shape[0] / len(rows)

    @torch.no_grad()
    def ask() -> object:
        with torch.autocast(job.place.type, torch.bfloat16):
            return predictor.method.predict(image)

    restorer, host = VolumeRestorer(placement, job.place), probs.cpu().numpy()

    def restore() -> object:
        return classes_of(restorer.restore(probs, 0, rows), 0)

    def restore_numpy() -> object:
        return placement.restore(host, 0, rows).argmax(0)

    return {
        "seconds": round(clock(job, lambda: predictor.volume(scan), 4.0, warm=1) / 1000, 3),
        "windows_call_ms": clock(job, ask, 0.5),
        "restore_s": round(blocks * clock(job, restore, 0.5) / 1000, 3),
        "restore_numpy_s": round(blocks * clock(job, restore_numpy, 1.0, warm=1) / 1000, 3),
        "peak_gib": peak(job),
    }
