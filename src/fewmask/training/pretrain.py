"""Pre-training of a promptable SAM on procedural images: its settings, the images and prompts of a
step (the same for the same seed and step), and what SAM is scored on.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fewmask.blocks.losses import sam_mask_losses
from fewmask.blocks.prompts import mask_boxes
from fewmask.blocks.sam import Sam, build_sam, size_named
from fewmask.core.batch import Step
from fewmask.core.config import Count, NotNegative, Number, Positive, Share
from fewmask.core.errors import BadConfig
from fewmask.core.randomness import seed_of
from fewmask.synth.prompt import Questions, ask, choose_targets
from fewmask.synth.scene import draw_scenes


@dataclass(frozen=True)
class PretrainConfig:
    """What pre-training depends on; saved beside the weights."""

    size: str = "compact"
    """Name of the SAM to train."""
    steps: Count = 5_500
    """Optimiser steps."""
    seed: int = 0
    """Initialisation, images and prompts."""
    start: str = "none"
    """Weights to start from, a name or file (the optimiser starts afresh); `none` = at random."""
    pixels: Count = 125_000
    """Pixels per step: as many images as fit, so that small images come in large batches."""
    targets: Count = 14
    """Most prompted regions per image; an encoder pass costs as much as some ten prompts."""
    small_until: Share = 0.5
    """Part of the steps on small images (96 to 144 px) before large ones (160 to 256 px) join: four
    times as many prompts.
    """
    large_until: Share = 0.3
    """Part of the steps in which the smallest region asked for shrinks from 2 % to 0.05 % of the
    image.
    """
    lr: Positive = 1e-3
    """Peak learning rate of AdamW."""
    weight_decay: NotNegative = 0.05
    """AdamW's weight decay."""
    warmup: Number = 150
    """Steps of linear warm-up before the cosine."""
    clip_norm: Positive = 1.0
    """Largest norm of all gradients together."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.steps < 1 or self.pixels < 256 * 256 or self.targets < 1:
            raise BadConfig(
                "steps and targets must be 1 or more, pixels 65536 or more",
                fix="give larger numbers",
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
HELD_OUT = 8
"""Batches of eight that SAM is scored on."""


def fresh_sam(config: PretrainConfig) -> Sam:
    """An untrained SAM of the config's size, the same for the same seed."""
    torch.manual_seed(seed_of(config.seed, "init") % 2**63)
    sam = build_sam(size_named(config.size))
    sam.image_encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return sam


def draw_questions(
    config: PretrainConfig, step: Step, device: torch.device, patch: int
) -> Questions:
    """The images and prompts of one step: small images at first, large regions first."""
    rng = torch.Generator(device).manual_seed(step.torch_seed("scene"))
    luck = step.rng("pretrain")
    side = _draw_side(config, step, luck)
    tiles = int(luck.choice([2, 4])) if luck.random() < 0.1 else 1
    least = (
        _LEAST[0]
        * (_LEAST[1] / _LEAST[0]) ** min(1.0, step.fraction / config.large_until)
        / tiles**2
    )
    while True:  # once in thousands of steps nothing in the images can be asked for
        scenes = draw_scenes(_images_of(config, side), side, rng, tiles)
        targets = choose_targets(scenes, config.targets, least, rng)
        if len(targets.rows):
            break
    return ask(scenes, targets, 4 * side // patch, rng, luck)


def count_images(config: PretrainConfig, step: Step) -> int:
    """How many images the step learns from, without drawing them."""
    return _images_of(config, _draw_side(config, step, step.rng("pretrain")))


def _draw_side(config: PretrainConfig, step: Step, luck: np.random.Generator) -> int:
    small = luck.random() < (1.0 if step.fraction < config.small_until else 0.4)
    return int(luck.choice(_SMALL if small else _LARGE))


def _images_of(config: PretrainConfig, side: int) -> int:
    return max(1, config.pixels // side**2)


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
    """Dice of the best-scored mask with a true box on 64 (`HELD_OUT` x 8) scenes no training step
    draws: all, small and large regions.
    """
    rng = torch.Generator(device).manual_seed(seed_of(0, "held-out") % 2**63)
    sam.eval()
    before, sam.image_size = sam.image_size, SCORED
    found: list[tuple[float, float]] = []
    for _ in range(HELD_OUT):
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
