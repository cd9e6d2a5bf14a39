"""Which way of laying out, compiling and launching V-Net pays."""

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.nn import functional

from fewmask.blocks.memory import channels_last
from fewmask.blocks.nets import vnet as nets
from fewmask.core.batch import Batch, Task
from fewmask.core.config import apply_settings
from fewmask.methods import build, config_class
from fewmask.methods._method import Method
from fewmask.training.hardware import compile_networks
from gpu_parts.job import Job, rows_of
from gpu_parts.speed import ATRIUM, ORGANS, TINY, clock, patches, peak, random_batch, stepper, sync


def kernels(job: Job) -> None:
    """First as replayed CUDA graphs and compiled, then layouts and norms; as many as there is time
    for.
    """
    graphs(job)
    for row in variants(job):
        job.tell(what="vnet variant", **row)
        if job.left < 10:
            return


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
    """Where launching kernels takes longer than they do: V-Net as it is, as replayed CUDA graphs,
    and compiled. What fails is written down, and the next goes on.
    """
    for patch, k in ((TINY, 13),) if job.toy else ((ORGANS, 13), (ATRIUM, 1)):
        batch = random_batch(patch, k, job.place)
        for mode in ("eager", "default") if job.toy else ("eager", "reduce-overhead", "default"):
            if job.has(what="kernels", patch=patch, mode=mode):
                continue
            if job.left < 15:
                job.tell(what="kernels", patch=patch, mode=mode, left_out="no time was left")
                continue
            try:
                row = launched(job, patch, k, batch, mode)
            except Exception as error:
                path = rows_of(job.out, f"{job.name}-{mode}").with_suffix(".error.txt")
                path.write_text(traceback.format_exc())
                row = {"error": f"{type(error).__name__}: {str(error)[:200]}"}
            job.tell(what="kernels", patch=patch, mode=mode, **row)


def launched(
    job: Job, patch: tuple[int, int, int], k: int, batch: Batch, mode: str
) -> dict[str, Any]:
    """One step in bfloat16, and the seconds of the first."""
    method = channels_last(plain_vnet(patch, k)).to(job.place)
    how = {"backend": "eager"} if job.toy else {"mode": mode}
    if mode != "eager":
        method.get_submodule("student").compile(dynamic=False, **how)
    step, start = stepper(job, method, batch, True), time.perf_counter()
    step()
    sync(job)
    first = round(time.perf_counter() - start, 1)
    return {"step_ms": clock(job, step, 1.5, warm=8), "first_s": first, "peak_gib": peak(job)}


def plain_vnet(patch: tuple[int, int, int], k: int) -> Method:
    """The method `vnet` for `k` structures."""
    config = apply_settings(config_class("vnet")(), patches(patch), "vnet")
    return build("vnet", config, Task(tuple(map(str, range(k))), 128, "mr", 1.0))


def warm(job: Job) -> None:
    """Let torch.compile fill its cache; its rows are no timings, since others compute meanwhile."""
    for patch, k in ((TINY, 1),) if job.toy else ((ATRIUM, 1), (ORGANS, 13)):
        for row in compiled(job, patch, k):
            job.tell(what="compiling", first_s=row["first_s"], layout=row["layout"], patch=patch)


def warm_graphs(job: Job) -> None:
    """The same for CUDA graphs."""
    for patch, k in ((TINY, 13),) if job.toy else ((ORGANS, 13), (ATRIUM, 1)):
        row = launched(job, patch, k, random_batch(patch, k, job.place), "reduce-overhead")
        job.tell(what="compiling graphs", first_s=row["first_s"], patch=patch)


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
