"""A training step, data included: our loop, and the plain one that MONAI's tutorials have."""

from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from itertools import chain, count, repeat
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from gpu_parts.job import phantoms
from torch import nn
from torch.nn import functional

from fewmask.blocks.memory import channels_last
from fewmask.core.batch import Step, Task
from fewmask.core.config import apply_settings
from fewmask.data import open_loader
from fewmask.io.prepared import Prepared
from fewmask.methods import build, config_class
from fewmask.training import TrainRequest, draw_budget
from fewmask.training.jobs import MethodJob
from fewmask.training.loop import take_step
from peers_parts.turns import Call, Match, Side, Skipped, here

CPU = torch.device("cpu")
STEPS = 4
"""In one call."""
WORKS = {"step, 2D": ("unet", ()), "step, 3D": ("vnet", ("patch=[32,64,64]", "turns=false"))}
"""Work -> method and settings."""


def matches(toy: bool = False) -> Iterator[Match | Skipped]:
    """A U-Net on eight slices, and a V-Net on two patches."""
    prepared = phantoms(Path(mkdtemp(prefix="peers-")), toy)
    for work, (method, settings) in WORKS.items():
        settings = ("patch=[16,32,32]", "turns=false") if toy and settings else settings
        with ExitStack() as stack:
            ours = our_loop(prepared, method, settings, stack)
            for peer, bf16 in (("MONAI, float32", False), ("MONAI, bfloat16", True)):
                if not find_spec("monai"):
                    yield Skipped(work, peer, "monai is not installed")
                    continue
                step = _plain(prepared, method, settings, bf16)
                note = f"ours in bfloat16; {STEPS} steps a call, phantoms"
                yield Match(work, peer, _each(ours), _each(step), note)


def _each(step: Call) -> Side:
    """The cost of one of `STEPS` steps."""

    def steps() -> None:
        for _ in range(STEPS):
            step()

    side = here(steps)
    return lambda: side().times(1 / STEPS)


def method_for(prepared: Prepared, name: str, settings: tuple[str, ...]) -> Any:
    """A method for this dataset."""
    recipe = prepared.recipe
    task = Task(prepared.classes, recipe.size, recipe.modality, recipe.spacing_mm)
    return build(name, apply_settings(config_class(name)(), settings, name), task)


def our_loop(prepared: Prepared, name: str, settings: tuple[str, ...], stack: ExitStack) -> Call:
    """Our training step by step; `stack` closes its loader."""
    method = channels_last(method_for(prepared, name, settings))
    request = TrainRequest(
        prepared.folder,
        prepared.folder.parent / "run",
        name,
        volumes=1 if settings else None,
        slices=None if settings else 8,
    )
    budget = draw_budget(request, prepared)
    loader = stack.enter_context(open_loader(prepared, budget, method.batch_spec, 0))
    job = MethodJob(method, loader.batch, total=10_000, seed=0, device=CPU, bf16=True)
    indices = count()

    def step() -> None:
        index = next(indices)
        take_step(job, job.batch(index), Step(index, 10_000))

    return step


def _plain(prepared: Prepared, name: str, settings: tuple[str, ...], bf16: bool) -> Call:
    """Cached images, dictionary transforms, a DataLoader, `DiceCELoss`, AdamW."""
    from monai.data import DataLoader, Dataset
    from monai.losses import DiceCELoss

    method = method_for(prepared, name, settings)
    net: nn.Module = method.student if settings else method.net
    dataset = Dataset(_items(prepared, flat=not settings), _transforms(method, settings))
    # Every batch is full, as ours are: of three scans in twos every other batch would be one.
    size = {"batch_size": 2 if settings else 8, "drop_last": True}
    batches = chain.from_iterable(
        DataLoader(dataset, shuffle=True, num_workers=0, **size) for _ in repeat(None)
    )
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3)

    def step() -> None:
        batch = next(batches)
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            found = net(batch["image"].as_tensor())
        loss(found.float(), batch["label"].as_tensor()).backward()
        optimiser.step()

    return step


def _items(prepared: Prepared, flat: bool) -> list[dict[str, np.ndarray]]:
    """Slices (or volumes) of all training scans with their masks, in memory, a channel first."""
    side = prepared.recipe.size
    items: list[dict[str, np.ndarray]] = []
    for name in prepared.split.train:
        with prepared.case(name) as case:
            image = case.intensities(range(case.shape[0]))
            label = case.labels(range(case.shape[0]))
        low, high = prepared.bounds(name)
        image = ((image - low) / (high - low)).clip(0, 1)
        if flat:  # on the grid that ours has: the same work
            image, label = _on_grid(image, "bilinear", side), _on_grid(label, "nearest", side)
        pairs = zip(image, label, strict=True) if flat else [(image, label)]
        items += [{"image": i[None].astype(np.float32), "label": m[None]} for i, m in pairs]
    return items


def _on_grid(slices: np.ndarray, mode: str, side: int) -> np.ndarray:
    found = functional.interpolate(
        torch.from_numpy(slices)[:, None].float(), (side, side), mode=mode
    )
    return found[:, 0].numpy()


def _transforms(method: Any, settings: tuple[str, ...]) -> Any:
    from monai import transforms as t

    keys, modes = ["image", "label"], ["bilinear", "nearest"]
    levels = [t.RandAdjustContrastd("image", 0.5), t.RandGaussianNoised("image", 0.15, std=0.03)]
    if not settings:
        ranges = {"rotate_range": 0.26, "scale_range": 0.15, "translate_range": 10}
        turn = t.RandAffined(keys, prob=1.0, mode=modes, **ranges)
        return t.Compose([turn, *levels])
    patch = method.batch_spec.patch
    crop = t.RandCropByPosNegLabeld(keys, "label", patch, pos=1, neg=1, num_samples=1)
    flips = [t.RandFlipd(keys, 0.5, axis) for axis in range(3)]
    return t.Compose([t.SpatialPadd(keys, patch), crop, *flips])
