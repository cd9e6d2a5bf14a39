"""What the methods share whose SAM is prompted by a classifier's activation."""

from dataclasses import dataclass

from fewmask.blocks.sam import Sam, build_sam, size_named
from fewmask.blocks.sam.tuning import Tune, tune
from fewmask.core.batch import Task
from fewmask.core.config import Count, Number


@dataclass(frozen=True)
class SamSettings:
    """Which SAM, where it starts, and which of its weights learn."""

    encoder: str = "compact"
    """SAM's size; `small` trains from scratch on a CPU, the papers use ViT-B."""
    weights: str = "auto"
    """Where SAM starts: `auto` = the encoder's own pretrained weights if it has any, `none` = at
    random, or a name or file.
    """
    image_size: Number = 0
    """Side in pixels at which SAM sees the slice; 0 = the side of the prepared slices (ADA-SAM's
    released notebook: 1024).
    """
    tune: Tune = "auto"
    """Which of SAM's encoder weights learn: all, LoRA (the papers), or none; prompt encoder and
    decoder always do.

    `auto` = all for the compact and untrained sizes, LoRA for SAM's own (ViT) with pretrained
    weights.
    """
    lora_rank: Count = 8
    """Rank of the adapters on q and v (papers: 8)."""


def build_tuned(config: SamSettings, task: Task) -> Sam:
    """A fresh SAM of which learns what `tune` says."""
    sam = build_sam(size_named(config.encoder), config.image_size or task.size)
    tune(sam, config.tune, config.lora_rank, config.weights)
    return sam
