"""What a scan takes, and a cohort: reading, network and writing one after the other or side by
side.
"""

import hashlib
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from fewmask.core.config import apply_settings
from fewmask.core.placement import VolumePlacement
from fewmask.core.recipe import Recipe
from fewmask.core.task import Task
from fewmask.core.volume import Volume
from fewmask.io.atomic import make_folder
from fewmask.io.nifti import write_volume
from fewmask.io.run import RunFolder
from fewmask.methods import build, config_class
from fewmask.predict import Predictor, work
from fewmask.predict.folder import predict_folder
from fewmask.predict.restore import VolumeRestorer, classes_of
from fewmask.synth.phantom import make_phantom
from gpu_parts.job import Job
from gpu_parts.speed import ATRIUM, ORGANS, TINY, clock, patches, peak

SCANS = 8
LARGER = (4, 5, 5)
"""A phantom's voxels along (d, h, w) are each cut into so many: 112 x 480 x 480."""


def cohort(job: Job) -> None:
    """A cohort of CTs both ways with a network of slices (that of `liver`, if it is there) and one
    of patches, then single scans.
    """
    folder = write_scans(job)
    for predictor in (liver_predictor(job), patch_predictor(job)):
        method = type(predictor.method).__name__
        row: dict[str, Any] = {"method": method, "scans": SCANS if not job.toy else 2}
        predict_folder(predictor, next(folder.glob("ct_*")), job.out / "masks" / "warm")
        digests = set()
        for name, way in (("in_turn_s", False), ("side_by_side_s", True)):
            out = job.out / "masks" / name
            shutil.rmtree(out, ignore_errors=True)
            start = time.perf_counter()
            with mock.patch.object(work, "overlaps", lambda _, way=way: way):
                done = predict_folder(predictor, folder, out)
            row[name] = round(time.perf_counter() - start, 2)
            digests.add(digest(out))
            if done.refused:
                raise RuntimeError(str(done.refused[0]))
        ratio = round(row["in_turn_s"] / row["side_by_side_s"], 2)
        job.tell(what="cohort", **row, ratio=ratio, same_bits=len(digests) == 1)
    for row in scans(job):
        if job.left < 8:
            return
        job.tell(what="scan", **row)


def write_scans(job: Job) -> Path:
    """CTs made of phantoms, as compressed files."""
    folder, larger = job.out / "cohort", (1, 1, 1) if job.toy else LARGER
    make_folder(folder)

    def write(index: int) -> None:
        path = folder / f"ct_{index}.nii.gz"
        if path.exists():
            return
        voxels = make_phantom(7, index)[0].voxels
        for axis, times in enumerate(larger):
            voxels = np.repeat(voxels, times, axis)
        noise = np.random.default_rng(index).integers(-8, 9, voxels.shape, np.int16)
        spacing = [mm / times for mm, times in zip((6.0, 3.6, 3.6), larger, strict=True)]
        affine = np.diag([*spacing[::-1], 1.0])
        write_volume(path, Volume.from_file_order((voxels + noise).transpose(2, 1, 0), affine))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(2 if job.toy else SCANS)))
    return folder


def digest(folder: Path) -> str:
    """Of all files in it."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


def liver_predictor(job: Job) -> Predictor:
    """The network that `liver` trained, or an untrained one."""
    run = job.out / "runs" / "liver"
    if RunFolder(run).weights.exists():
        return Predictor.load(run, job.device)
    recipe = Recipe("ct", "ct", spacing_mm=2.0, size=64 if job.toy else 224)
    task = Task(("liver",), recipe.size, "ct", recipe.spacing_mm)
    settings = apply_settings(config_class("unet")(), (), "unet")
    return Predictor(build("unet", settings, task), recipe, task, job.place, True)


def patch_predictor(job: Job) -> Predictor:
    """An untrained V-Net of four structures."""
    recipe = Recipe("ct", "ct", spacing_mm=3.6, size=64 if job.toy else 128)
    task = Task(("a", "b", "c", "d"), recipe.size, "ct", recipe.spacing_mm)
    settings = patches(TINY if job.toy else ORGANS, *(("filters=4",) if job.toy else ()))
    method = build("vnet", apply_settings(config_class("vnet")(), settings, "vnet"), task)
    return Predictor(method, recipe, task, job.place, True).with_windows(batch=8)


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
