"""Which of SAM's weights learn."""

from typing import Literal

from fewmask.blocks.sam.lora import add_lora
from fewmask.blocks.sam.model import Sam

Tune = Literal["auto", "all", "lora", "decoder"]
"""Prompt encoder and decoder always learn; of the image encoder all, adapters of low rank, or
nothing.

`auto` = `lora` for SAM's own sizes (ViT) with pretrained weights, else `all`.
"""


def tune(sam: Sam, how: Tune, rank: int, weights: str) -> None:
    """Freeze what `how` leaves out. `rank` of the adapters; `weights` as a method's config names
    them, "none" = a random start.

    What the official weights know, a few slices would only undo; an encoder that starts at random,
    or is small and was trained on made-up images, has yet to learn what a scan looks like.
    """
    if how == "auto":
        how = "lora" if sam.official and weights != "none" else "all"
    if how != "all":
        sam.image_encoder.requires_grad_(False)
    if how == "lora":
        add_lora(sam, rank)
