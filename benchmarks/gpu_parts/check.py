"""Is it right: every method trains three steps, goes on after a stop, and predicts on the GPU what
it predicts on a CPU.
"""

import contextlib
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from fewmask.core.errors import Interrupted
from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.io.tables import read_csv
from fewmask.io.weights import load_tensors
from fewmask.methods import is_external, names
from fewmask.predict import Predictor
from fewmask.predict.work import load_prepared
from fewmask.training import ProgressEvent, TrainRequest, train
from gpu_parts.job import Job, phantoms

STEPS = 3
PROBS, VOXELS = 2e-3, 1e-3
"""Tolerance in float32 without TF32: largest difference of a probability; part of a scan's voxels
with another class.
"""
_PATCH = ("patch=[16,64,64]", "filters=8", "turns=false", "dropout=0.0")
_SAM = (
    "finetune.patch=[16,64,64]",
    "finetune.turns=false",
    "finetune.canvas=128",
    "finetune.augment=false",
)
_PLAIN = ("vnet", "mean_teacher", "ac_mt", "ua_mt", "cps", "self_training", "bcp")
_SETTINGS = {
    **dict.fromkeys(_PLAIN, _PATCH),
    "magicnet": ("patch=[32,64,64]", "filters=8", "dropout=0.0", "cubes=2"),
    "canvas_sam": ("patch=[16,64,64]", "turns=false", "canvas=128"),
    "cfr": (*_PATCH, *_SAM),
    "sfr_plus": (*_PATCH, *_SAM, "sure=0.0"),
}
NETWORKS = [name for name in names() if not is_external(name)]


def check(
    job: Job,
    methods: list[str],
    what: Callable[[Job, str, Prepared], dict[str, object]] | None = None,
) -> None:
    """A row per method; a fault is written down with its traceback and the next method goes on."""
    prepared = phantoms(job.out, True)
    for method in methods:
        start = time.perf_counter()
        try:
            found = (what or check_method)(job, method, prepared)
        except Exception as error:
            (job.out / "rows" / f"{job.name}-{method}.error.txt").write_text(traceback.format_exc())
            found = {"right": False, "error": f"{type(error).__name__}: {str(error)[:300]}"}
        job.tell(what=method, **found, seconds=round(time.perf_counter() - start, 1))


def check_bits(job: Job, method: str, prepared: Prepared) -> dict[str, object]:
    """Do two runs end in the same bits if torch is asked for deterministic algorithms; what torch
    says it has none for.
    """
    request = _request(job, method, prepared, job.out / "bits" / method)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic = True
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            apart = _apart(
                *(train(replace(request, out=request.out / name)) for name in ("one", "two"))
            )
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False
    texts = [str(warning.message) for warning in said]
    without = sorted({text.split(" does not")[0][:60] for text in texts if "deterministic" in text})
    return {"same_bits": apart == 0, "twice_off": apart, "without": "; ".join(without)}


def check_method(job: Job, method: str, prepared: Prepared) -> dict[str, object]:
    """One row."""
    root = job.out / "check" / method
    request = _request(job, method, prepared, root / "whole")
    whole = train(request)
    moved = _resume(request, root / "broken", whole)
    twice = _apart(whole, train(replace(request, out=root / "again")))
    first = _first_losses(request, root, whole) if job.device != "cpu" else 0.0
    with _exact():
        probs, voxels, bf16 = _compare(whole, job, prepared)
    right = probs <= PROBS and voxels <= VOXELS
    return {
        "right": right,
        "probs_off": probs,
        "voxels_off": voxels,
        "bf16_voxels_off": bf16,
        "loss_off": first,
        "resumed_off": moved,
        "twice_off": twice,
    }


def _request(job: Job, method: str, prepared: Prepared, out: Path) -> TrainRequest:
    """Three steps in float32, saved after each."""
    settings = _SETTINGS.get(method)
    return TrainRequest(
        prepared.folder,
        out,
        method,
        slices=4 if settings is None else None,
        volumes=None if settings is None else 1,
        steps=STEPS,
        save_steps=1,
        amp="off",
        device=job.device,
        settings=settings or (),
        threads=1,
    )


def _resume(request: TrainRequest, out: Path, whole: Path) -> float:
    """Largest difference of a weight between a run whose stages were stopped after a step and one
    that was not.
    """

    def stop(progress: ProgressEvent) -> bool:
        return bool(progress.losses) and progress.done == 1

    again = replace(request, out=out)
    for _ in range(5):  # once per stage
        with contextlib.suppress(Interrupted):
            train(again, stop)
            break
    train(again)
    return _apart(whole, out)


def _apart(run: Path, other: Path) -> float:
    """Largest difference of a weight."""
    one, two = load_tensors(RunFolder(run).weights), load_tensors(RunFolder(other).weights)
    return max(
        float((one[name].double() - two[name].double()).abs().max())
        for name in one
        if one[name].numel()
    )


def _first_losses(request: TrainRequest, root: Path, whole: Path) -> float:
    """Largest relative difference of the first step's losses between this device and a CPU."""
    alone = train(replace(request, out=root / "cpu", device="cpu"))
    mine, its = (read_csv(RunFolder(run).losses, ())[0] for run in (whole, alone))
    pairs = [(float(mine[key]), float(its[key])) for key in mine if key != "step" and mine[key]]
    return max(abs(here - there) / max(1e-3, abs(there)) for here, there in pairs)


def _compare(run: Path, job: Job, prepared: Prepared) -> tuple[float, float, float]:
    """Off the CPU: a probability, a part of a scan's voxels, the same in bfloat16."""
    here, there = Predictor.load(run, job.device), Predictor.load(run, "cpu")
    shape = here.method.batch_spec.patch or (prepared.recipe.size,) * 2
    image = torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mine = here.method.predict(image.to(job.place)).probs.cpu()
        its = there.method.predict(image).probs
    scan = load_prepared(prepared, prepared.split.test[0])
    masks = [predictor.volume(scan).label_map.voxels for predictor in (here, there)]
    here.bf16 = True
    rough = here.volume(scan).label_map.voxels
    off, off_bf16 = (float((mask != masks[1]).mean()) for mask in (masks[0], rough))
    return float((mine - its).abs().max()), off, off_bf16


@contextlib.contextmanager
def _exact() -> Iterator[None]:
    """Float32 as a CPU has it, not TF32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
