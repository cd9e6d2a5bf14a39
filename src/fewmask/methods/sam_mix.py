"""`sam_mix`: a classifier that learns from image tags prompts SAM with its class-activation map
(Ward and Imran, ISBI 2025).

Two branches see the slice. A ResNet-38 learns from image-level tags which structures are in it; the
class activation of each is cut at 50/255 of its peak, its largest part gives a box (and, if asked
for, a dense mask prompt); SAM decodes three masks with scores and is taught by soft Dice on the few
outlined slices. At test time the prompts are the model's own.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from fewmask.blocks.cam import activation_mask, attention_pool, class_activation, class_attention
from fewmask.blocks.losses import (
    Choose,
    attention_guide,
    bernoulli_consistency,
    focal,
    sam_mask_losses,
    tag_entropy,
)
from fewmask.blocks.masks import best_mask, decode_classes, resize, training_boxes
from fewmask.blocks.nets.resnet import ResNet
from fewmask.blocks.presence import Presence, enlarge, judge, scan_cost
from fewmask.blocks.prompts import Rule, centre_box, has_box, main_component, mask_boxes
from fewmask.blocks.ramp import linear_ramp, warm_cosine
from fewmask.blocks.sam import Sam
from fewmask.core.batch import Batch, BatchSpec, Labelled, Probabilities, Step, Task, Unlabelled
from fewmask.core.config import Count, NotNegative, Number, Positive, Share
from fewmask.methods._method import HasSam, Method, MethodSpec
from fewmask.methods._presence import PresenceSettings
from fewmask.methods._sam import SamSettings, build_tuned


@dataclass(frozen=True)
class Config(PresenceSettings, SamSettings):
    """Settings of `sam_mix`. A-numbers (docs/decisions.md) are decisions where the paper is silent;
    docs/methods/sam_mix.md says why.
    """

    presence: Presence = "scan"
    """Which slices get a mask: `none` = all with a prompt (the paper scores positive slices only);
    `slice` = those judged to hold the structure, P(present) >= 0.5 (A22); `scan` = the same, judged
    with their neighbours.

    One slice alone is silent or called now and then: docs/results/history.md.
    """
    classifier_width: Count = 32
    """Channels in the first stage of ResNet-38; the standard 64 (A1) costs four times as much."""
    classifier_side: Count = 256
    """Smaller slices are enlarged to this side for the classifier, at most twofold: 8 cells per
    side, as in the figure.
    """
    augment: bool = True
    """Turn, zoom, shift and shade the slices; off, a frozen encoder (`tune=decoder`) sees each
    slice once and for all.
    """
    labelled: Number = 4
    """Outlined slices per step; they cycle, since 50 slices once per epoch would hardly move SAM
    (A15).
    """
    weak: Number = 8
    """Tagged slices per step, for the classifier only."""
    outlined_as_tags: bool = True
    """Outlined slices, which hold the structure, also count as tagged; off = how common it is, only
    tagged slices say, which are drawn from all. With `pool=attention` they never count.
    """
    tag_loss: Literal["entropy", "focal"] = "entropy"
    """What tags cost: plain cross-entropy (ours), or the focal loss (the paper), which stays silent
    too often.
    """
    focal_alpha: Share = 0.25
    """Weight of positive tags in the focal loss (A3, Lin et al.)."""
    focal_gamma: NotNegative = 2.0
    """Focusing exponent (A3)."""
    guide_weight: NotNegative = 0.5
    """Weight of a loss that draws the activation of outlined slices to the outline; ours, 0 = the
    paper: tags alone teach it.
    """
    pool: Literal["average", "attention"] = "average"
    """The classifier answers from the average of its features (ResNet-38, the paper), or from where
    it looks.

    With `attention` and a guide, outlines alone teach where to look, and tagged slices alone what
    is there.
    """
    cam_cut: Share = 50 / 255
    """Part of the activation's peak that is kept: exact from the paper's figure (A4)."""
    component: Rule = "largest"
    """Which part of the cut map prompts: its largest component (the figure) or all of it (A5)."""
    dense_prompt: bool = False
    """Also hand SAM the part of the cut map that gives the box as its mask prompt, in {0, 1} (the
    paper's figure; A8).

    Off = the box alone (ours). The map has 8 x 8 cells; with it masks in true boxes were worse in
    every patient set aside: docs/results/history.md.
    """
    missing_prompt: Literal["empty", "centre"] = "empty"
    """Without activation: no mask, counted (ours), or the central half box of the released notebook
    (A7).
    """
    warmup_prompts: Share = 0.2
    """Fraction of training in which prompts move from jittered true boxes to activation boxes
    (A13).
    """
    jitter: NotNegative = 0.1
    """Largest shift of a true box's edge, as a part of its width or height."""
    choose: Choose = "least"
    """Which of the three masks is taught: the least wrong one (SAM's recipe) or the one with the
    best score (A9).
    """
    seg_weight: NotNegative = 0.5
    """Weight of soft Dice on the mask (released notebook; A11)."""
    ce_weight: NotNegative = 0.5
    """Weight of binary cross-entropy on the mask; 0 = the notebook. From scratch Dice alone
    saturates and stops learning.
    """
    score_weight: NotNegative = 0.5
    """Weight of the squared error of the predicted IoUs (SAM's recipe)."""
    pseudo_weight: NotNegative = 0.0
    """Classifier pseudo-labels on strong views of slices drawn from all, weight (ancestor: 0.25;
    off, A12).
    """
    pseudo_confidence: Share = 0.7
    """Confidence from which a pseudo-label counts (ancestor: 0.7)."""
    consistency_weight: NotNegative = 0.0
    """Agreement of masks between weak and strong views, weight (ancestor: 0.01; off, A12)."""
    unlabelled: Number = 4
    """Unlabelled slices per step, if one of the two weights above is on."""
    lr: Positive = 3e-4
    """Peak learning rate of AdamW; the paper's lab uses 1e-4 with pretrained weights, from scratch
    that is too slow.
    """
    weight_decay: NotNegative = 0.01
    """AdamW's weight decay; its usual value."""
    warmup: Number = 50
    """Steps of linear warm-up before the cosine."""


def build(config: Config, task: Task) -> "SamMix":
    """A fresh classifier and a fresh SAM for `task`."""
    sam = build_tuned(config, task)
    classifier = ResNet(width=config.classifier_width, outputs=task.k)
    value_head = None
    if config.pool == "attention":
        value_head = nn.Linear(classifier.head.in_features, task.k)
    return SamMix(classifier, value_head, sam, config)


METHOD = MethodSpec(Config, build, inference_only=("presence", "presence_cost"), least_steps=235)


@dataclass(frozen=True)
class _Prompts:
    """One prompt per (image, class): boxes in pixel edges (NaN = none), dense masks at SAM's mask
    side.
    """

    boxes: Float[Tensor, "b k 4"]
    dense: Float[Tensor, "b k m m"]
    heat: Float[Tensor, "b k gh gw"]


class SamMix(Method, HasSam):
    """Classifier and SAM, side by side."""

    def __init__(
        self, classifier: ResNet, value_head: nn.Linear | None, sam: Sam, config: Config
    ) -> None:
        """Parts come ready-made; with `value_head`, the classifier's own head gives attention
        logits only.
        """
        super().__init__()
        self.classifier = classifier
        self.finds = value_head  # under this name it lies in weight files
        self.sam = sam
        self.config = config
        self.neighbours = scan_cost(config.presence, config.presence_cost)
        extra = config.unlabelled if config.pseudo_weight or config.consistency_weight else 0
        self.batch_spec = BatchSpec(
            labelled=config.labelled,
            weak=config.weak,
            presence=config.presence != "none",
            unlabelled=extra,
            strong=bool(extra),
            augment=config.augment,
        )

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """`classify` on tags; `guide`, `dice`, `ce`, `score` on outlined slices; `pseudo`,
        `consistency` if switched on.
        """
        assert batch.labelled is not None
        images, tags, first_tagged = batch.labelled.image, batch.labelled.present, 0
        if batch.weak is not None:
            images = torch.cat([images, batch.weak.image])
            tags = torch.cat([tags, batch.weak.present])
            if self.finds is not None or not self.config.outlined_as_tags:
                first_tagged = len(batch.labelled.image)
        features, logits = self.classify(images)
        losses = {"classify": self._tag_loss(logits[first_tagged:], tags[first_tagged:])}
        outlined = features[: len(batch.labelled.image)]
        losses |= self._guide_losses(batch.labelled, outlined)
        losses |= self._mask_losses(batch.labelled, outlined, step)
        if batch.unlabelled is not None:
            losses |= self._unlabelled_losses(batch.unlabelled)
        return losses

    def predict(self, image: Float[Tensor, "b 1 h w"]) -> Probabilities:
        """Masks from the model's own prompts."""
        return self._predict(image, None)

    def predict_present(
        self, image: Float[Tensor, "b 1 h w"], present: Bool[Tensor, "b k"]
    ) -> Probabilities:
        """The same with what each slice holds given, judged together with its neighbours."""
        return self._predict(image, present)

    def _predict(
        self, image: Float[Tensor, "b 1 h w"], wanted: Bool[Tensor, "b k"] | None
    ) -> Probabilities:
        features, logits = self.classify(image)
        prompts = self._prompts(features, image.shape[-1])
        present = torch.sigmoid(logits.float())
        if wanted is None:
            wanted = judge(present, self.config.presence)
        boxes = prompts.boxes
        if self.config.missing_prompt == "centre":
            boxes = torch.where(boxes.isnan(), centre_box(image.shape[-1]).to(boxes), boxes)
        prompted = has_box(boxes)
        selected = wanted & prompted
        probs = self._segment(image, boxes, prompts.dense, selected)
        boxes = torch.where(selected[..., None], boxes, torch.nan)
        return Probabilities(probs, present, boxes, prompts.heat, (wanted & ~prompted).long())

    def segment(
        self, image: Float[Tensor, "b 1 h w"], boxes: Float[Tensor, "b k 4"]
    ) -> Probabilities:
        """The same with these boxes instead of the model's own (NaN = no mask): the oracle-box
        bound.
        """
        features, logits = self.classify(image)
        prompts = self._prompts(features, image.shape[-1])
        selected = has_box(boxes)
        probs = self._segment(image, boxes, prompts.dense, selected)
        present = torch.sigmoid(logits.float())
        return Probabilities(probs, present, boxes, prompts.heat, torch.zeros_like(selected).long())

    def optimiser(self) -> torch.optim.Optimizer:
        """AdamW on what learns."""
        weights = [weight for weight in self.parameters() if weight.requires_grad]
        return torch.optim.AdamW(weights, self.config.lr, weight_decay=self.config.weight_decay)

    def schedule(self, step: Step) -> float:
        """Warm-up, then cosine."""
        return warm_cosine(step, self.config.warmup)

    def classify(
        self, image: Float[Tensor, "b 1 h w"]
    ) -> tuple[Float[Tensor, "b c gh gw"], Float[Tensor, "b k"]]:
        """Features of the classifier and logits of the tags."""
        features, logits = self.classifier(enlarge(image, self.config.classifier_side))
        if self.finds is not None:
            attention = torch.einsum("bchw,kc->bkhw", features, self.classifier.head.weight)
            value = self.finds(features.movedim(1, -1)).movedim(-1, 1)
            # Where outlines teach where to attend, tags do not.
            attended = attention.detach() if self.config.guide_weight else attention
            logits = attention_pool(attended, value)
        return features, logits

    def _tag_loss(
        self, logits: Float[Tensor, "b k"], present: Int[Tensor, "b k"]
    ) -> Float[Tensor, ""]:
        if self.config.tag_loss == "entropy":
            return tag_entropy(logits, present)
        return focal(logits, present, self.config.focal_alpha, self.config.focal_gamma)

    def _guide_losses(
        self, labelled: Labelled, features: Float[Tensor, "b c gh gw"]
    ) -> dict[str, Tensor]:
        """`guide`, where an outlined slice holds a structure."""
        if not self.config.guide_weight or not bool((labelled.present == 1).any()):
            return {}
        weight = self.classifier.head.weight
        guide = attention_guide(features, weight, labelled.mask, labelled.present)
        return {"guide": self.config.guide_weight * guide}

    def _mask_losses(
        self, labelled: Labelled, features: Float[Tensor, "b c gh gw"], step: Step
    ) -> dict[str, Tensor]:
        """Losses of the taught mask and of the scores, over the (image, class) pairs that are
        present.
        """
        rows, classes = torch.nonzero(labelled.present == 1, as_tuple=True)
        if not len(rows):
            return {}
        side = labelled.image.shape[-1]
        truth = labelled.mask[rows] == (classes + 1)[:, None, None]
        prompts = self._prompts(features, side)
        predicted, share = (
            prompts.boxes[rows, classes],
            linear_ramp(step, self.config.warmup_prompts),
        )
        boxes = training_boxes(predicted, truth, share, self.config.jitter, step.rng("prompts"))
        dense = prompts.dense[rows, classes][:, None] if self.config.dense_prompt else None
        logits, scores = self.sam.decode(self.sam.encode(labelled.image)[rows], boxes, side, dense)
        losses = sam_mask_losses(resize(logits, side), scores, truth.float(), self.config.choose)
        weights = {
            "dice": self.config.seg_weight,
            "ce": self.config.ce_weight,
            "score": self.config.score_weight,
        }
        return {name: weight * losses[name] for name, weight in weights.items() if weight}

    def _unlabelled_losses(self, unlabelled: Unlabelled) -> dict[str, Tensor]:
        """FixMatch on the classifier and consistency of masks between the two views (A12)."""
        assert unlabelled.strong is not None
        losses = {}
        with torch.no_grad():
            features, logits = self.classify(unlabelled.image)
            belief = torch.sigmoid(logits.float())
        if self.config.pseudo_weight:
            sure = torch.maximum(belief, 1 - belief) >= self.config.pseudo_confidence
            _, strong = self.classify(unlabelled.strong)
            entropy = functional.binary_cross_entropy_with_logits(
                strong.float(), (belief >= 0.5).float(), reduction="none"
            )
            losses["pseudo"] = self.config.pseudo_weight * (entropy * sure).mean()
        if self.config.consistency_weight:
            divergence = self._consistency(unlabelled, features)
            losses["consistency"] = self.config.consistency_weight * divergence
        return losses

    def _consistency(
        self, unlabelled: Unlabelled, features: Float[Tensor, "b c gh gw"]
    ) -> Float[Tensor, ""]:
        """Masks of the strong view follow those of the weak view under the same prompts; 0 where
        there is no prompt.
        """
        assert unlabelled.strong is not None
        side = unlabelled.image.shape[-1]
        prompts = self._prompts(features, side)
        rows, classes = torch.nonzero(has_box(prompts.boxes), as_tuple=True)
        if not len(rows):
            return unlabelled.image.new_zeros(())
        boxes = prompts.boxes[rows, classes]
        dense = prompts.dense[rows, classes][:, None] if self.config.dense_prompt else None
        with torch.no_grad():
            embedding = self.sam.encode(unlabelled.image)[rows]
            target, scores = self.sam.decode(embedding, boxes, side, dense)
        embedding = self.sam.encode(unlabelled.strong)[rows]
        logits, _ = self.sam.decode(embedding, boxes, side, dense)
        # The same of the three masks in both views: the one with the best score in the weak view.
        target = torch.sigmoid(best_mask(target, scores).float())
        return bernoulli_consistency(best_mask(logits, scores), target)

    def _prompts(self, features: Float[Tensor, "b c gh gw"], side: int) -> _Prompts:
        """Activation -> cut map -> component -> box and dense prompt, per class; no gradient
        passes.
        """
        activation = class_attention if self.config.guide_weight else class_activation
        heat = activation(features.detach(), self.classifier.head.weight.detach())
        b, k = heat.shape[:2]
        cut = activation_mask(heat, side, self.config.cam_cut).flatten(0, 1)
        hot = functional.interpolate(heat, (side, side), mode="bilinear").flatten(0, 1)
        part = main_component(cut, hot, self.config.component)
        boxes = mask_boxes(part)
        m = self.sam.mask_side
        dense = functional.interpolate(part[:, None].float(), (m, m), mode="area")[:, 0].round()
        return _Prompts(boxes.view(b, k, 4), dense.view(b, k, m, m), heat)

    def _segment(
        self,
        image: Float[Tensor, "b 1 h w"],
        boxes: Float[Tensor, "b k 4"],
        dense: Float[Tensor, "b k m m"],
        selected: Bool[Tensor, "b k"],
    ) -> Float[Tensor, "b c h w"]:
        """Masks of the selected (image, class) pairs; the encoder runs only on images that have
        one.
        """
        with_mask = selected.any(1)
        probs = image.new_zeros(len(image), selected.shape[1] + 1, *image.shape[2:])
        probs[:, 0] = 1
        if bool(with_mask.any()):
            embedding = self.sam.encode(image[with_mask])
            masks = dense[with_mask] if self.config.dense_prompt else None
            probs[with_mask] = decode_classes(
                self.sam, embedding, boxes[with_mask], masks, selected[with_mask], image.shape[-1]
            )
        return probs
