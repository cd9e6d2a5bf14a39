"""`canvas_sam`: SAM on a montage of a patch's slices, with a class head and no prompts: CFR's first
two stages, alone.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fewmask.blocks.bezier import Bezier, bend
from fewmask.blocks.losses import masked_dice_ce
from fewmask.blocks.montage import Montage
from fewmask.blocks.nets.slice_context import SliceContext3d
from fewmask.blocks.sam import Sam, build_sam, size_named
from fewmask.blocks.sam.tuning import Tune, tune
from fewmask.core.batch import Batch, BatchSpec, Probabilities, Step, Task
from fewmask.core.config import Count, NotNegative, Positive
from fewmask.methods._method import HasSam, Method, MethodSpec, grouped
from fewmask.methods._volumetric import Patches, check_patches

_CENTRE, _SPREAD = 0.4, 0.2
"""Mean and standard deviation of a patch's grey levels as SAM sees them with `levels=patch`: most
of it within [0, 1].
"""
_FINE_MM = 2.5
"""Coarser mask logits blur the border (R3)."""


@dataclass(frozen=True)
class Config(Patches):
    """Settings of `canvas_sam` (R6)."""

    encoder: str = "compact"
    """SAM's size; the paper uses ViT-B."""
    weights: str = "auto"
    """Where SAM starts: `auto` = the encoder's own pretrained weights if it has any, `none` = at
    random, or a name or file.
    """
    canvas: Count = 448
    """Side of a canvas in pixels (paper: 1024); a patch that is too deep for one gets several.
    """
    montage: bool = True
    """Slices side by side; off, every slice is an image of its own (the ablation)."""
    tune: Tune = "auto"
    """Which of SAM's weights learn: all, LoRA + decoder (the paper), or the decoder only.

    `auto` = all for the compact and untrained sizes, LoRA for SAM's own (ViT) with pretrained
    weights.
    """
    lora_rank: Count = 4
    """Rank of the adapters on q and v (paper: 4)."""
    labelled: Count = 1
    """Labelled patches per step (paper: 2, and 1 with one labelled volume)."""
    levels: Literal["patch", "recipe"] = "patch"
    """Grey levels by each patch's own mean and deviation (ours), or as the recipe scaled the scan
    (paper: z-scores of the scan).

    One labelled scan teaches one scan's grey levels: docs/results/history.md.
    """
    bezier: Bezier = "scaled"
    """Grey-level curves on half of the slices: over all levels, as the release did it, or none."""
    augment: bool = True
    """Also turn patches a little, zoom, shift and shade them, as slices are for the 2D methods;
    ours, off = the paper.
    """
    across: bool = True
    """A small 3D network joins the slices: it sees SAM's logits of the whole patch, and the image;
    ours, off = the paper.
    """
    pseudo_weight: NotNegative = 0.0
    """Weight of patches that the 3D network is sure of (SFR+ only)."""
    lr: Positive = 1e-3
    """Learning rate of AdamW at the start; it falls as (1 - t)^0.9."""
    head_lr: Positive = 1e-2
    """The same for what starts from nothing: the class head and the network across slices."""
    weight_decay: NotNegative = 0.1
    """AdamW's weight decay."""


def build(config: Config, task: Task) -> "CanvasSam":
    """A fresh SAM with one logit per class and background. Raises `BadConfig` for a patch that
    cannot be turned.
    """
    check_patches(config)
    _, h, w = config.patch
    alone = Montage((1, h, w), 16 * math.ceil(max(h, w) / 16))
    montage = Montage(config.patch, config.canvas) if config.montage else alone
    sam = build_sam(size_named(config.encoder), montage.canvas, task.k + 1)
    tune(sam, config.tune, config.lora_rank, config.weights)
    context = SliceContext3d(task.k + 1) if config.across else None
    return CanvasSam(sam, context, montage, config, task.spacing_mm)


METHOD = MethodSpec(Config, build, least_steps=200)


class CanvasSam(Method, HasSam):
    """A SAM that labels every pixel of a canvas."""

    def __init__(
        self,
        sam: Sam,
        slice_context: SliceContext3d | None,
        montage: Montage,
        config: Config,
        spacing_mm: float,
    ) -> None:
        """Parts come ready-made; `spacing_mm` of the patches' pixels (0 = unknown)."""
        super().__init__()
        self.sam = sam
        self.across = slice_context  # under this name it lies in weight files
        self._montage, self._config = montage, config
        with_pseudo = bool(config.pseudo_weight)
        self.batch_spec = BatchSpec(
            patch=config.patch,
            labelled=config.labelled,
            unlabelled=config.labelled if with_pseudo else 0,
            turns=config.turns,
            centred=config.centred,
            pseudo="only" if with_pseudo else "off",
            augment=config.augment,
            random_convolution=config.random_convolution,
            frequency_swap=config.frequency_swap,
        )
        self.random_prefixes = sam.class_head
        fine = spacing_mm * montage.canvas / sam.mask_side
        if fine > _FINE_MM:
            self.note = (
                f"one mask logit covers {fine:.1f} mm, more than {_FINE_MM} mm: borders will be "
                "blurred; use a finer encoder"
            )

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """`ce` and `dice` of labelled patches, half each; `pseudo` of patches that the 3D network
        is sure of.
        """
        assert batch.labelled is not None
        image = bend(batch.labelled.image, self._config.bezier, step.rng("bezier"))
        true = masked_dice_ce(self._logits(image), batch.labelled.mask)
        losses = {name: 0.5 * loss for name, loss in true.items()}
        if batch.unlabelled is not None and batch.unlabelled.pseudo is not None:
            pseudo = masked_dice_ce(self._logits(batch.unlabelled.image), batch.unlabelled.pseudo)
            losses["pseudo"] = self._config.pseudo_weight * 0.5 * (pseudo["ce"] + pseudo["dice"])
        return losses

    def predict(self, image: Float[Tensor, "b 1 d h w"]) -> Probabilities:
        """Softmax of the class logits, put back into the patch."""
        return Probabilities(torch.softmax(self._logits(image).float(), 1))

    def optimiser(self) -> torch.optim.Optimizer:
        """AdamW on what learns; what starts from nothing has a rate of its own."""
        named = self.sam.named_parameters()
        new = [weight for name, weight in named if name.startswith(self.random_prefixes)]
        if self.across is not None:
            new += self.across.parameters()
        groups = grouped(self, {"params": new, "lr": self._config.head_lr})
        return torch.optim.AdamW(groups, self._config.lr, weight_decay=self._config.weight_decay)

    def schedule(self, step: Step) -> float:
        """(1 - t)^0.9."""
        result: float = (1 - step.fraction) ** 0.9
        return result

    def _logits(self, image: Float[Tensor, "b 1 d h w"]) -> Float[Tensor, "b c d h w"]:
        b, _, d, h, w = image.shape
        image = even_levels(image) if self._config.levels == "patch" else image
        # Without a montage every slice is a patch of depth 1, with a canvas of its own.
        patches = image[:, 0] if self._config.montage else image.reshape(b * d, 1, h, w)
        canvases = self._montage.stitch(patches)[:, None]
        logits = self._montage.unstitch(self._classes(canvases))
        if not self._config.montage:
            logits = logits[:, :, 0].unflatten(0, (b, d)).transpose(1, 2).contiguous()
        return logits if self.across is None else self.across(logits, image)

    def _classes(self, canvas: Float[Tensor, "n 1 s s"]) -> Float[Tensor, "n c m m"]:
        return self.sam.decode(self.sam.encode(canvas), None, canvas.shape[-1])[0]


def even_levels(image: Float[Tensor, "b 1 d h w"]) -> Float[Tensor, "b 1 d h w"]:
    """Every patch brought to the same mean and standard deviation; an even one is grey."""
    mean, spread = image.mean((2, 3, 4), keepdim=True), image.std((2, 3, 4), keepdim=True)
    return _CENTRE + _SPREAD * (image - mean) / spread.clamp_min(1e-4)
