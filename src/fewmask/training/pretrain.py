"""Pre-train a promptable SAM on procedural images: any device, resumable, the same prompts for the
same seed and step.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewmask.blocks.device import choose_device
from fewmask.blocks.losses import sam_mask_losses
from fewmask.blocks.prompts import mask_boxes
from fewmask.blocks.ramp import warm_cosine
from fewmask.blocks.sam import Sam, build_sam, size_named
from fewmask.core.batch import Step
from fewmask.core.errors import BadConfig, Interrupted, TrainingFailed
from fewmask.core.randomness import seed_of
from fewmask.io.atomic import clean_parts
from fewmask.io.ledger import locate
from fewmask.io.lock import folder_lock
from fewmask.io.run import States
from fewmask.io.tables import append_csv
from fewmask.io.text import read_json, write_json
from fewmask.io.weights import (
    fit_into,
    flatten_optimiser,
    load_tensors,
    restore_optimiser,
    save_tensors,
)
from fewmask.synth.prompt import Questions, ask, choose_targets
from fewmask.synth.scene import draw_scenes
from fewmask.training.hardware import describe
from fewmask.training.request import ProgressEvent
from fewmask.training.signals import listen


@dataclass(frozen=True)
class PretrainConfig:
    """What pre-training depends on; saved beside the weights."""

    size: str = "compact"
    """Name of the SAM to train."""
    steps: int = 5_500
    """Optimiser steps."""
    seed: int = 0
    """Initialisation, images and prompts."""
    start: str = "none"
    """Weights to start from, a name or file (the optimiser starts afresh); `none` = at random."""
    pixels: int = 125_000
    """Pixels per step: as many images as fit, so that small images come in large batches."""
    targets: int = 14
    """Most prompted regions per image; an encoder pass costs as much as some ten prompts."""
    small_until: float = 0.5
    """Part of the steps on small images (96 to 144 px) before large ones (160 to 256 px) join: four
    times as many prompts.
    """
    large_until: float = 0.3
    """Part of the steps in which the smallest region asked for shrinks from 2 % to 0.05 % of the
    image.
    """
    lr: float = 1e-3
    """Peak learning rate of AdamW."""
    weight_decay: float = 0.05
    """AdamW's weight decay."""
    warmup: int = 150
    """Steps of linear warm-up before the cosine."""
    clip_norm: float = 1.0
    """Largest norm of all gradients together."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.steps < 1 or self.pixels < 256 * 256 or self.targets < 1:
            raise BadConfig(
                "steps and targets must be 1 or more, pixels 65536 or more",
                code="C02",
            )


_LEAST = (0.02, 0.0005)
_SMALL, _LARGE = (96, 112, 128, 144), (160, 192, 224, 256)
OTHERS = 0.4
"""Share of the loss that teaches all three masks: the one that is chosen by its score later is then
never far off.
"""
SCORED = 224
"""Side of the held-out images."""


def pretrain(
    config: PretrainConfig,
    out: Path,
    *,
    device: str | None = None,
    amp: bool = True,
    save_minutes: float = 2.0,
    score_every: int = 1000,
    progress: Callable[[ProgressEvent], None] = lambda state: None,
) -> Path:
    """Train, or go on with an unfinished run in `out`; returns `out/weights.safetensors` (half
    precision).

    `scores.csv` gets the Dice on 64 held-out scenes with true boxes every `score_every` steps.
    Raises `BadConfig` when `out` was made from another config, `Interrupted` after a signal,
    `TrainingFailed` when a loss is not a number.
    """
    out.mkdir(parents=True, exist_ok=True)
    place = choose_device(device)
    with folder_lock(out, "pretrain"):
        clean_parts(out)
        _claim(out, config, place)
        final = out / "weights.safetensors"
        if not final.exists():
            _Loop(config, States(out), place, amp, save_minutes, score_every, progress).go()
    return final


def _claim(out: Path, config: PretrainConfig, device: torch.device) -> None:
    path, record = out / "config.json", asdict(config)
    if not path.exists():
        write_json(out / "environment.json", describe(device))
        write_json(path, record)
        return
    before = read_json(path)
    changed = [
        f"{key}: {before.get(key)} -> {value}"
        for key, value in record.items()
        if before.get(key) != value
    ]
    if changed:
        raise BadConfig(
            "the folder was made from another request",
            where=[str(out), *changed],
            fix="use the first command again, or another folder with `out`",
            code="C06",
        )


class _Loop:
    """State of one pre-training while it runs."""

    def __init__(
        self,
        config: PretrainConfig,
        states: States,
        device: torch.device,
        amp: bool,
        save_minutes: float,
        score_every: int,
        tell: Callable[[ProgressEvent], None],
    ) -> None:
        self.config, self.states, self.device, self.tell = config, states, device, tell
        self.bf16, self.save_minutes, self.score_every = amp, save_minutes, score_every
        torch.manual_seed(seed_of(config.seed, "init") % 2**63)
        self.sam = build_sam(size_named(config.size)).to(device)
        self.sam.image_encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.AdamW(
            self.sam.parameters(), config.lr, betas=(0.9, 0.98), weight_decay=config.weight_decay
        )
        self.done = self.saved = 0

    def go(self) -> None:
        """Steps until the end or a signal."""
        self._resume()
        start = last_save = time.monotonic()
        first = self.done
        with listen() as asked:
            while self.done < self.config.steps:
                losses = self._step(self.done)
                self.done += 1
                if (
                    time.monotonic() - last_save > 60 * self.save_minutes
                    or asked.signal is not None
                ):
                    self._save()
                    last_save = time.monotonic()
                if asked.signal is not None:
                    raise Interrupted(
                        f"stopped by a signal after step {self.done} of {self.config.steps}",
                        where=str(self.states.path),
                        did="everything up to here is saved",
                        fix="the same command resumes from here",
                        exit_code=asked.exit_code,
                        code="F02",
                    )
                if self.done % self.score_every == 0 or self.done == self.config.steps:
                    self._write_scores(losses)
                rate = (time.monotonic() - start) / (self.done - first)
                self.tell(
                    ProgressEvent(
                        self.done,
                        self.config.steps,
                        rate,
                        rate * (self.config.steps - self.done),
                        losses,
                        self.saved,
                    )
                )
        self._save()
        half = {name: tensor.half() for name, tensor in self.sam.state_dict().items()}
        note = {f"pretrain.{key}": str(value) for key, value in asdict(self.config).items()}
        save_tensors(self.states.path / "weights.safetensors", half, note)

    def _step(self, index: int) -> dict[str, float]:
        step = Step(index, self.config.steps, self.config.seed)
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.lr * warm_cosine(step, self.config.warmup)
        self.sam.train()
        asked = draw_questions(self.config, step, self.device, self.sam.patch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            losses = answer_losses(self.sam, asked)
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        if not math.isfinite(float(total.detach())):
            raise TrainingFailed(
                f"the loss is not a number at step {index}",
                where=str(self.states.path),
                did=f"the last good state is of step {self.saved}",
                fix="try half of this lr",
                code="F17",
            )
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.sam.parameters(), self.config.clip_norm)
        self.optimiser.step()
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _save(self) -> None:
        tensors = {f"model.{name}": tensor for name, tensor in self.sam.state_dict().items()}
        tensors |= {
            f"optim.{name}": tensor for name, tensor in flatten_optimiser(self.optimiser).items()
        }
        self.states.save(self.done, tensors)
        self.saved = self.done

    def _resume(self) -> None:
        checkpoint = self.states.latest()
        if checkpoint is None:
            if self.config.start != "none":
                path = locate(self.config.start)
                fit_into(
                    self.sam,
                    {name: tensor.float() for name, tensor in load_tensors(path).items()},
                    path,
                )
            return
        fit_into(self.sam, _part(checkpoint.tensors, "model."), self.states.path)
        restore_optimiser(self.optimiser, _part(checkpoint.tensors, "optim."))
        self.done = self.saved = checkpoint.step

    def _write_scores(self, losses: Mapping[str, float]) -> None:
        scores = score_held_out(self.sam, self.device, self.bf16)
        row: dict[str, Any] = {
            "step": self.done,
            **{k: f"{v:.4f}" for k, v in {**scores, **losses}.items()},
        }
        append_csv(self.states.path / "scores.csv", list(row), [row])


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def draw_questions(
    config: PretrainConfig, step: Step, device: torch.device, patch: int
) -> Questions:
    """The images and prompts of one step: small images at first, large regions first."""
    rng = torch.Generator(device).manual_seed(step.torch_seed("scene"))
    luck = step.rng("pretrain")
    small = luck.random() < (1.0 if step.fraction < config.small_until else 0.4)
    side = int(luck.choice(_SMALL if small else _LARGE))
    tiles = int(luck.choice([2, 4])) if luck.random() < 0.1 else 1
    least = (
        _LEAST[0]
        * (_LEAST[1] / _LEAST[0]) ** min(1.0, step.fraction / config.large_until)
        / tiles**2
    )
    while True:  # once in thousands of steps nothing in the images can be asked for
        scenes = draw_scenes(max(1, config.pixels // side**2), side, rng, tiles)
        targets = choose_targets(scenes, config.targets, least, rng)
        if len(targets.rows):
            break
    return ask(scenes, targets, 4 * side // patch, rng, luck)


def answer_losses(sam: Sam, asked: Questions) -> dict[str, Tensor]:
    """SAM's losses on what was asked, at the side of its mask logits."""
    sam.image_size = asked.image.shape[-1]
    labels = (
        None if asked.points is None else torch.ones_like(asked.points[..., 0], dtype=torch.int64)
    )
    embedding = sam.encode(asked.image)[asked.rows]
    logits, scores = sam.decode(
        embedding, asked.boxes, sam.image_size, asked.coarse, asked.points, labels
    )
    return sam_mask_losses(logits, scores, _at(asked.mask, logits.shape[-1]), others=OTHERS)


def _at(mask: Tensor, side: int) -> Tensor:
    """The mask at the side of the logits: pixels that are covered by half or more."""
    return (
        torch.nn.functional.adaptive_avg_pool2d(mask[:, None].float(), side)[:, 0] >= 0.5
    ).float()


@torch.no_grad()
def score_held_out(sam: Sam, device: torch.device, bf16: bool) -> dict[str, float]:
    """Dice of the best-scored mask with a true box on 64 scenes no training step draws: all, small
    and large regions.
    """
    rng = torch.Generator(device).manual_seed(seed_of(0, "held-out") % 2**63)
    sam.eval()
    before, sam.image_size = sam.image_size, SCORED
    found: list[tuple[float, float]] = []
    for _ in range(8):
        scenes = draw_scenes(8, SCORED, rng)
        targets = choose_targets(scenes, 4, 0.0005, rng)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits, scores = sam.decode(
                sam.encode(scenes.image)[targets.rows], mask_boxes(targets.mask), SCORED
            )
        best = logits[torch.arange(len(logits)), scores.argmax(1)].float()
        full = (
            torch.nn.functional.interpolate(best[:, None], (SCORED, SCORED), mode="bilinear")[:, 0]
            > 0
        )
        both = 2 * (full & targets.mask).sum((1, 2)) / (full.sum((1, 2)) + targets.mask.sum((1, 2)))
        found += zip(both.tolist(), targets.mask.float().mean((1, 2)).tolist(), strict=True)
    sam.image_size = before
    mean = {
        "held_out": [dice for dice, _ in found],
        "held_out_small": [dice for dice, share in found if share < 0.01],
        "held_out_large": [dice for dice, share in found if share >= 0.01],
    }
    return {name: sum(values) / max(1, len(values)) for name, values in mean.items()}
