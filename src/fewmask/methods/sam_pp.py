"""`sam_pp`: SAM as post-processing of a coarse mask. Our reading of the abbreviation, which its
table never spells out (A23).

With outlined slices a small U-Net learns a coarse mask from them, and SAM learns from the same
slices with jittered true boxes; at test time the box of the coarse mask's largest part prompts SAM.
With none (`--set coarse=cam`, N = 0 of the table) the coarse mask is the class activation of a
classifier that learned from tags, and SAM stays as it came.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from fewmask.blocks.cam import activation_mask, class_activation
from fewmask.blocks.losses import Choose, batch_dice_ce, focal, sam_mask_losses
from fewmask.blocks.masks import decode_classes, resize, training_boxes
from fewmask.blocks.nets.resnet import ResNet
from fewmask.blocks.nets.unet import build_unet
from fewmask.blocks.presence import Presence, TagClassifier, judge, scan_cost
from fewmask.blocks.prompts import Rule, has_box, main_component, mask_boxes
from fewmask.blocks.ramp import warm_cosine
from fewmask.blocks.sam import Sam, build_sam, size_named
from fewmask.blocks.sam.tuning import Tune, tune
from fewmask.core.batch import Batch, BatchSpec, Labelled, Probabilities, Step, Task
from fewmask.core.config import Count, NotNegative, Number, Positive, Share
from fewmask.methods._method import HasSam, Method, MethodSpec


@dataclass(frozen=True)
class Config:
    """Settings of `sam_pp`."""

    coarse: Literal["unet", "cam"] = "unet"
    """Where the coarse mask comes from: a U-Net on the outlined slices, or the activation of a
    tag-trained classifier (N = 0).
    """
    presence: Literal[Presence, "auto"] = "auto"
    """Which slices get a mask: `none` = those with a coarse mask; `slice` = those that a classifier
    judges to hold the structure, P(present) >= 0.5; `scan` = the same, judged with their
    neighbours.

    `auto` = `slice` with `coarse=cam`, whose classifier is there anyway, and `none` with the U-Net,
    which gets one beside it, trained from image tags, for the other two.
    """
    presence_cost: NotNegative = 2.0
    """In log-odds, what a structure's every begin and end along the scan must be worth
    (`presence=scan`); 0 = `slice`.
    """
    encoder: str = "compact"
    """SAM's size."""
    weights: str = "auto"
    """Where SAM starts: `auto` = the encoder's own pretrained weights if it has any, `none` = at
    random, or a name or file.
    """
    image_size: Number = 0
    """Side in pixels at which SAM sees the slice; 0 = the side of the prepared slices."""
    tune: Literal[Tune, "none"] = "auto"
    """Which of SAM's weights learn; with `coarse=cam` none do.

    `auto` = all for the compact and untrained sizes, LoRA for SAM's own (ViT) with pretrained
    weights.
    """
    lora_rank: Count = 8
    """Rank of the adapters on q and v."""
    channels: tuple[Count, ...] = (16, 32, 64, 128, 192)
    """Channels of the coarse U-Net; ours."""
    classifier_width: Count = 32
    """Channels in the first stage of the classifier, if there is one."""
    labelled: Number = 4
    """Outlined slices per step."""
    weak: Number = 8
    """Tagged slices per step, for the classifier, if there is one."""
    cam_cut: Share = 0.7
    """Part of the activation's peak kept (`coarse=cam`). At `sam_mix`'s 50/255 its few large cells
    cover the whole body.
    """
    component: Rule = "largest"
    """Which part of the coarse mask gives the box."""
    jitter: NotNegative = 0.1
    """Largest shift of a true box's edge in training, as a part of its width or height."""
    choose: Choose = "least"
    """Which of the three masks is taught (A9)."""
    lr: Positive = 5e-4
    """Peak learning rate of AdamW; ours."""
    weight_decay: NotNegative = 0.01
    """AdamW's weight decay; its usual value."""
    warmup: Number = 50
    """Steps of linear warm-up before the cosine."""


def build(config: Config, task: Task) -> "SamPP":
    """A fresh coarse network and a fresh SAM for `task`."""
    sam = build_sam(size_named(config.encoder), config.image_size or task.size)
    if config.coarse == "cam" or config.tune == "none":
        sam.requires_grad_(False)
    else:
        tune(sam, config.tune, config.lora_rank, config.weights)
    if config.coarse == "cam":
        return SamPP(ResNet(width=config.classifier_width, outputs=task.k), sam, None, config)
    coarse, classifier = build_unet(task.k + 1, config.channels), None
    if presence_of(config) != "none":
        classifier = TagClassifier(task.k, config.classifier_width)
    return SamPP(coarse, sam, classifier, config)


def presence_of(config: Config) -> Presence:
    """`presence`, where `auto` is settled."""
    if config.presence != "auto":
        return config.presence
    return "slice" if config.coarse == "cam" else "none"


# `presence` decides whether the U-Net gets a classifier, so it matters in training too.
METHOD = MethodSpec(Config, build, inference_only=("presence_cost",), least_steps=370)


class SamPP(Method, HasSam):
    """A coarse mask, its box, SAM."""

    def __init__(
        self, coarse: nn.Module, sam: Sam, classifier: TagClassifier | None, config: Config
    ) -> None:
        """`coarse` is a U-Net, or a `ResNet` for `coarse=cam`; `classifier` stands beside a U-Net
        if it is to be told which slices hold a structure.
        """
        super().__init__()
        self.coarse = coarse
        self.sam = sam
        self.classifier = classifier
        self.config = config
        self.presence = presence_of(config)
        self.neighbours = scan_cost(self.presence, config.presence_cost)
        cam = config.coarse == "cam"
        self.batch_spec = BatchSpec(
            labelled=0 if cam else config.labelled,
            weak=config.weak if cam or classifier else 0,
            presence=self.presence != "none",
        )

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """`coarse_ce`, `coarse_dice`, and SAM's `dice`, `ce`, `score`, with a classifier also
        `classify`; with `coarse=cam` only `classify`.
        """
        if self.config.coarse == "cam":
            assert batch.weak is not None
            return {"classify": focal(self.coarse(batch.weak.image)[1], batch.weak.present)}
        assert batch.labelled is not None
        coarse = batch_dice_ce(self.coarse(batch.labelled.image), batch.labelled.mask)
        losses = {f"coarse_{name}": loss for name, loss in coarse.items()}
        if self.config.tune != "none":
            losses |= self._mask_losses(batch.labelled, step)
        if self.classifier is not None and batch.weak is not None:
            losses |= self.classifier.losses(batch.weak)
        return losses

    def predict(self, image: Float[Tensor, "b 1 h w"]) -> Probabilities:
        """SAM's masks in the boxes of the coarse masks."""
        return self._predict(image, None)

    def predict_present(
        self, image: Float[Tensor, "b 1 h w"], present: Bool[Tensor, "b k"]
    ) -> Probabilities:
        """The same with what each slice holds given, judged together with its neighbours."""
        return self._predict(image, present)

    def _predict(
        self, image: Float[Tensor, "b 1 h w"], wanted: Bool[Tensor, "b k"] | None
    ) -> Probabilities:
        boxes, present, heat = self._coarse(image)
        if wanted is None:
            # Without a classifier `present` is the coarse mask's own word, part of how it is drawn.
            own = self.config.coarse == "unet" and self.classifier is None
            wanted = judge(present, "slice" if own else self.presence)
        prompted = has_box(boxes)
        selected = wanted & prompted
        probs = self._segment(image, boxes, selected)
        boxes = torch.where(selected[..., None], boxes, torch.nan)
        return Probabilities(probs, present, boxes, heat, (wanted & ~prompted).long())

    def segment(
        self, image: Float[Tensor, "b 1 h w"], boxes: Float[Tensor, "b k 4"]
    ) -> Probabilities:
        """The same with these boxes instead of the coarse masks' (NaN = no mask): the oracle-box
        bound.
        """
        _, present, heat = self._coarse(image)
        selected = has_box(boxes)
        probs = self._segment(image, boxes, selected)
        return Probabilities(probs, present, boxes, heat, torch.zeros_like(selected).long())

    def optimiser(self) -> torch.optim.Optimizer:
        """AdamW on what learns."""
        weights = [weight for weight in self.parameters() if weight.requires_grad]
        return torch.optim.AdamW(weights, self.config.lr, weight_decay=self.config.weight_decay)

    def schedule(self, step: Step) -> float:
        """Warm-up, then cosine."""
        return warm_cosine(step, self.config.warmup)

    def _coarse(self, image: Float[Tensor, "b 1 h w"]) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (b, k, 4), P(present) (b, k) and coarse maps (b, k, gh, gw) in [0, 1]."""
        side = image.shape[-1]
        if self.config.coarse == "cam":
            features, logits = self.coarse(image)
            heat = class_activation(features, self.coarse.head.weight)  # type: ignore[union-attr, arg-type]
            masks = activation_mask(heat, side, self.config.cam_cut)
            present = torch.sigmoid(logits.float())
        else:
            probs = torch.softmax(self.coarse(image).float(), 1)
            classes = torch.arange(1, probs.shape[1], device=image.device)
            masks = probs.argmax(1)[:, None] == classes[:, None, None]
            present = probs[:, 1:].amax((2, 3))
            heat = functional.adaptive_avg_pool2d(probs[:, 1:], max(1, side // 16))
        if self.classifier is not None:
            present = torch.sigmoid(self.classifier(image))
        hot = functional.interpolate(heat, (side, side), mode="bilinear")
        part = main_component(masks.flatten(0, 1), hot.flatten(0, 1), self.config.component)
        return mask_boxes(part).view(*masks.shape[:2], 4), present, heat

    def _segment(
        self,
        image: Float[Tensor, "b 1 h w"],
        boxes: Float[Tensor, "b k 4"],
        selected: Bool[Tensor, "b k"],
    ) -> Float[Tensor, "b c h w"]:
        embedding = self.sam.encode(image)
        return decode_classes(self.sam, embedding, boxes, None, selected, image.shape[-1])

    def _mask_losses(self, labelled: Labelled, step: Step) -> dict[str, Tensor]:
        rows, classes = torch.nonzero(labelled.present == 1, as_tuple=True)
        if not len(rows):
            return {}
        side = labelled.image.shape[-1]
        truth = labelled.mask[rows] == (classes + 1)[:, None, None]
        nothing = torch.full((len(rows), 4), torch.nan, device=labelled.image.device)
        boxes = training_boxes(nothing, truth, 0.0, self.config.jitter, step.rng("prompts"))
        logits, scores = self.sam.decode(self.sam.encode(labelled.image)[rows], boxes, side)
        return sam_mask_losses(resize(logits, side), scores, truth.float(), self.config.choose)
