"""`ada_sam`: one SAM encoder for classifier and mask, and segmentation gradients that correct where
the classifier looks.

Ward, Owen, Coleman, Noehren and Imran (ADA-SAM). An MLP head on SAM's embedding learns image tags;
its class activation gives a box; SAM's decoder draws the mask. Then the gradient of the
segmentation loss with respect to the embedding is a query that attends over the features; the
attended features, gated, give a second classification and a second activation, whose box gives the
mask that counts. The loss that makes the gradient is the mask's distance to its own threshold, in
training as at test time.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from fewmask.blocks.cam import attention_logits, class_activation, class_attention
from fewmask.blocks.losses import Choose, attention_guide, sam_mask_losses, soft_dice, tag_entropy
from fewmask.blocks.masks import best_mask, class_embeddings, decode_classes, resize, training_boxes
from fewmask.blocks.prompts import Rule, main_component, mask_boxes
from fewmask.blocks.ramp import linear_ramp, warm_cosine
from fewmask.blocks.sam import Sam, build_sam, size_named
from fewmask.blocks.sam.tuning import Tune, tune
from fewmask.core.batch import Batch, BatchSpec, Labelled, Probabilities, Step, Task
from fewmask.core.errors import BadConfig
from fewmask.methods._method import Method, grouped

_SHARPNESS = 10.0
"""Queries that point as a key does outweigh those at right angles by e^10 at the start; learned."""
inference_only = ("gate", "neighbours")
"""Settings that no weight depends on: runs that differ in nothing else are trained once in a sweep.
"""


@dataclass(frozen=True)
class Config:
    """Settings of `ada_sam`. A-numbers (docs/decisions.md) are decisions where the paper is silent;
    docs/methods/ada_sam.md says why.
    """

    encoder: str = "compact"
    """SAM's size; the paper uses ViT-B."""
    weights: str = "auto"
    """Where SAM starts: `auto` = the encoder's own pretrained weights if it has any, `none` = at
    random, or a name or file.
    """
    image_size: int = 0
    """Side in pixels at which SAM sees the slice; 0 = the side of the prepared slices (released
    notebook: 1024).
    """
    tune: Tune = "auto"
    """Which of SAM's encoder weights learn: all, LoRA (the paper), or none; prompt encoder and
    decoder always do.

    `auto` = all for the compact and untrained sizes, LoRA for SAM's own (ViT) with pretrained
    weights.
    """
    lora_rank: int = 8
    """Rank of the adapters on q and v (paper: 8)."""
    feedback: bool = True
    """Gradient feedback; off is one of the settings of the released notebook's model (all:
    docs/methods/ada_sam.md).
    """
    feedback_query: Literal["gradient", "features"] = "gradient"
    """What asks: the gradient (the paper), or the features themselves: the same attention without
    any feedback, as a control.
    """
    feedback_side: int = 16
    """Side of the grid on which gradient and features attend (32 in the paper's figure, for an
    embedding of 64).
    """
    feedback_width: int = 128
    """Width of the attention (ours; 256 would suit ViT-B, A28)."""
    feedback_heads: int = 4
    """Heads of the attention (A28: 4 to 8)."""
    gate_lr: float = 0.03
    """Peak learning rate of the feedback's gate: one number that starts at 0, and at `lr` would
    still be there after minutes.
    """
    surrogate_share: float = 1.0
    """Part of the outlined slices on which the label-free loss makes the gradient in training too,
    as it will at test time.

    Below 1 (A28 began at 0.5) a true mask makes some gradients, and the head learns that such a
    gradient means a positive tag.
    """
    labelled: int = 4
    """Outlined slices per step; they cycle (A15)."""
    weak: int = 4
    """Tagged slices per step; each costs an encoder pass here, since the encoder is shared (A27).
    """
    head: Literal["places", "pooled"] = "places"
    """The head looks at every place of the embedding and answers from where it looks (ours), or
    sees the average (notebook).
    """
    guide_weight: float = 0.5
    """Weight of a loss that draws the look on outlined slices to the outline; ours, needs
    `head=places`.

    With it, outlines alone teach where to look and tags alone what is there; at 0 the tags teach
    both.
    """
    hidden: int = 256
    """Width of the head (notebook)."""
    dropout: float = 0.3
    """Dropout of the head (notebook)."""
    first_weight: float = 0.5
    """Weight of the classification before feedback (A28)."""
    cam_cut: float = 0.4
    """Part of the activation's peak that is kept, on the embedding's grid (notebook)."""
    component: Rule = "union"
    """Which part of the cut map gives the box: all of it (notebook), or its largest component."""
    gate: bool = True
    """Slices judged not to hold it, P(present) < 0.5, get an empty mask (A22)."""
    neighbours: float = 0.0
    """In log-odds, what a structure's every begin and end along the scan must be worth; 0 = each
    slice by itself (the paper).

    `sam_mix` takes 2.
    """
    warmup_prompts: float = 0.2
    """Fraction of training in which prompts move from jittered true boxes to activation boxes
    (A13).
    """
    jitter: float = 0.1
    """Largest shift of a true box's edge, as a part of its width or height."""
    choose: Choose = "least"
    """Which of the three masks is taught (A9; the notebook has one mask)."""
    seg_weight: float = 0.5
    """Weight of soft Dice (notebook)."""
    ce_weight: float = 0.5
    """Weight of cross-entropy on the mask; 0 = the notebook. See `sam_mix`."""
    score_weight: float = 0.5
    """Weight of the squared error of the predicted IoUs (SAM's recipe)."""
    lr: float = 1e-3
    """Peak learning rate of AdamW (notebook: Adam, 1e-4); on training patients 3e-4 learned boxes
    and tags too slowly.
    """
    head_lr: float = 1e-2
    """The same for the head, which alone starts from nothing: at `lr` it has hardly learned the
    tags after 155 steps.
    """
    weight_decay: float = 0.01
    """AdamW's weight decay; its usual value."""
    warmup: int = 50
    """Steps of linear warm-up before the cosine."""


def build(config: Config, task: Task) -> "AdaSam":
    """A fresh SAM with its head and feedback for `task`. Raises `BadConfig` for a guide without a
    head that can be guided.
    """
    if config.head == "pooled" and config.guide_weight:
        raise BadConfig(
            "head=pooled answers for the whole slice, so no outline can say where it should look",
            fix="use `guide_weight=0` with it",
            code="C02",
        )
    sam = build_sam(size_named(config.encoder), config.image_size or task.size)
    tune(sam, config.tune, config.lora_rank, config.weights)
    c = sam.channels
    answers = 2 * task.k if config.head == "places" else task.k
    head = nn.Sequential(
        nn.Linear(c, config.hidden),
        nn.ReLU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.hidden, answers),
    )
    feedback = (
        Feedback(c, config.feedback_width, config.feedback_heads, config.feedback_side)
        if config.feedback
        else None
    )
    # One structure needs no name; with several, boxes of the same place must not mean the same mask
    # (ours).
    kinds = nn.Parameter(torch.zeros(task.k, c)) if task.k > 1 else None
    return AdaSam(sam, head, feedback, kinds, config)


class Feedback(nn.Module):
    """F' = F + gate * attention(query = gradient, key = value = F); the gate starts at 0 (spec
    5.1).

    Features are normed before they attend, and queries meet keys by their angle: products of plain
    projections are so small at the start that every place gets the mean over all, whatever the
    gradient says.
    """

    def __init__(self, channels: int, width: int, heads: int, side: int) -> None:
        """Gradient and features are pooled to `side` x `side` before they attend."""
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.query, self.key, self.value = (nn.Linear(channels, width) for _ in range(3))
        self.out = nn.Linear(width, channels)
        self.place = nn.Parameter(0.02 * torch.randn(1, side * side, width))
        self.sharpness = nn.Parameter(torch.full((heads, 1, 1), _SHARPNESS))
        self.gate = nn.Parameter(torch.zeros(()))
        self.heads = heads
        self.side = side

    def forward(
        self, features: Float[Tensor, "b c g g"], query: Float[Tensor, "b c g g"]
    ) -> Float[Tensor, "b c g g"]:
        """Corrected features; a query of zeros (no mask, so nothing to learn from) leaves them as
        they are.
        """
        b, _, g, _ = features.shape
        some = query.flatten(1).any(1)
        size = query.square().mean((1, 2, 3), keepdim=True).sqrt()
        q_tokens = self._tokens(query / size.clamp_min(1e-12))
        f_tokens = self.norm(self._tokens(features))
        q, k, v = (
            self.query(q_tokens) + self.place,
            self.key(f_tokens) + self.place,
            self.value(f_tokens),
        )

        def split(x: Float[Tensor, "b t w"]) -> Float[Tensor, "b n t e"]:
            return x.view(b, self.side**2, self.heads, -1).transpose(1, 2)

        q, k = (
            self.sharpness * functional.normalize(split(q), dim=-1),
            functional.normalize(split(k), dim=-1),
        )
        mixed = (
            functional.scaled_dot_product_attention(q, k, split(v), scale=1.0)
            .transpose(1, 2)
            .flatten(2)
        )
        change = self.out(mixed).transpose(1, 2).reshape(b, -1, self.side, self.side)
        change = functional.interpolate(change, (g, g), mode="bilinear", align_corners=False)
        return features + self.gate * change * some[:, None, None, None]

    def _tokens(self, x: Float[Tensor, "b c g g"]) -> Float[Tensor, "b t c"]:
        return functional.adaptive_avg_pool2d(x, self.side).flatten(2).transpose(1, 2)


@dataclass(frozen=True)
class _Look:
    """What the head sees in features."""

    logits: Float[Tensor, "b k"]
    heat: Float[Tensor, "b k g g"]
    boxes: Float[Tensor, "b k 4"]
    looks: Float[Tensor, "b k g g"] | None
    """How much each place is looked at, before the softmax; None for a head that sees the average
    only.
    """


class AdaSam(Method):
    """SAM with a head on its embedding and the feedback of its own gradient."""

    promptable = True

    def __init__(
        self,
        sam: Sam,
        head: nn.Module,
        feedback: Feedback | None,
        kinds: nn.Parameter | None,
        config: Config,
    ) -> None:
        """Parts come ready-made; `config` holds the numbers of this file only."""
        super().__init__()
        self.sam = sam
        self.head = head
        self.feedback = feedback
        self.kinds = kinds
        self.config = config
        self.neighbours = config.neighbours if config.gate else 0.0
        self.batch_spec = BatchSpec(labelled=config.labelled, weak=config.weak)

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """`classify`, `classify_first` on tags; `guide`, `dice`, `ce`, `score` on
        outlined slices.
        """
        assert batch.labelled is not None
        images, tags, start = batch.labelled.image, batch.labelled.present, 0
        if batch.weak is not None:
            # Outlined slices hold the structure; how common it is, only tagged slices say, which
            # are drawn from all.
            images, tags, start = (
                torch.cat([images, batch.weak.image]),
                batch.weak.present,
                len(images),
            )
        embedding = self.sam.encode(images).float()
        side = images.shape[-1]
        first = self._look(embedding, side)
        if self.feedback is None:
            losses, look = {}, first
        else:
            # For every slice, whatever its tag: a gradient for the positive ones only would hand
            # the head the answer.
            query = self._query(embedding.detach(), first.boxes, side, batch.labelled, step)
            look = self._look(self.feedback(embedding, query), side)
            losses = {
                "classify_first": self.config.first_weight * tag_entropy(first.logits[start:], tags)
            }
        losses["classify"] = tag_entropy(look.logits[start:], tags)
        if (
            look.looks is not None
            and self.config.guide_weight
            and bool((batch.labelled.present == 1).any())
        ):
            outlined = look.looks[: len(batch.labelled.image)]
            drawn = attention_guide(
                outlined, self._each(outlined), batch.labelled.mask, batch.labelled.present
            )
            losses["guide"] = self.config.guide_weight * drawn
        return losses | self._mask_losses(batch.labelled, embedding, look.boxes, step)

    def predict(self, image: Float[Tensor, "b 1 h w"]) -> Probabilities:
        """Masks from the model's own prompts, after feedback; gradients are taken inside, even
        where none are recorded.
        """
        return self._predict(image, None)

    def predict_present(
        self, image: Float[Tensor, "b 1 h w"], present: Bool[Tensor, "b k"]
    ) -> Probabilities:
        """The same where what each slice holds has been settled with its neighbours."""
        return self._predict(image, present)

    def _predict(
        self, image: Float[Tensor, "b 1 h w"], wanted: Bool[Tensor, "b k"] | None
    ) -> Probabilities:
        embedding, look = self._corrected(image)
        present = torch.sigmoid(look.logits)
        if wanted is None:
            wanted = (
                present >= 0.5 if self.config.gate else torch.ones_like(present, dtype=torch.bool)
            )
        there = ~look.boxes.isnan().any(-1)
        probs = decode_classes(
            self.sam, embedding, look.boxes, None, wanted & there, image.shape[-1], self.kinds
        )
        shown = torch.where((wanted & there)[..., None], look.boxes, torch.nan)
        return Probabilities(probs, present, shown, look.heat, (wanted & ~there).long())

    def segment(
        self, image: Float[Tensor, "b 1 h w"], boxes: Float[Tensor, "b k 4"]
    ) -> Probabilities:
        """The same with these boxes instead of the model's own (NaN = no mask): the oracle-box
        bound.
        """
        embedding, look = self._corrected(image)
        there = ~boxes.isnan().any(-1)
        probs = decode_classes(self.sam, embedding, boxes, None, there, image.shape[-1], self.kinds)
        return Probabilities(
            probs.detach(),
            torch.sigmoid(look.logits).detach(),
            boxes,
            look.heat,
            torch.zeros_like(there).long(),
        )

    def optimiser(self) -> torch.optim.Optimizer:
        """AdamW on what learns; the head and the gate have rates of their own."""
        apart: list[dict[str, Any]] = [
            {"params": list(self.head.parameters()), "lr": self.config.head_lr}
        ]
        if self.feedback is not None:
            apart.append(
                {"params": [self.feedback.gate], "lr": self.config.gate_lr, "weight_decay": 0.0}
            )
        return torch.optim.AdamW(
            grouped(self, *apart), self.config.lr, weight_decay=self.config.weight_decay
        )

    def schedule(self, step: Step) -> float:
        """Warm-up, then cosine."""
        return warm_cosine(step, self.config.warmup)

    def _corrected(self, image: Float[Tensor, "b 1 h w"]) -> tuple[Float[Tensor, "b c g g"], _Look]:
        """Embedding, and what the head sees after feedback."""
        embedding = self.sam.encode(image).float()
        side = image.shape[-1]
        first = self._look(embedding, side)
        if self.feedback is None:
            return embedding, first
        return embedding, self._look(
            self.feedback(embedding, self._query(embedding, first.boxes, side)), side
        )

    def _look(self, features: Float[Tensor, "b c g g"], side: int) -> _Look:
        """Logits, activation of each class and its box. No gradient passes through the activation;
        dropout does not touch it.
        """
        see = self._see_places if self.config.head == "places" else self._see_average
        logits, heat, looks = see(features)
        cut = ((heat >= self.config.cam_cut) & (heat > 0)).flatten(0, 1)
        cells = mask_boxes(main_component(cut, heat.flatten(0, 1), self.config.component))
        return _Look(
            logits.float(), heat, cells.view(*heat.shape[:2], 4) * (side / heat.shape[-1]), looks
        )

    def _see_places(
        self, features: Float[Tensor, "b c g g"]
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k g g"], Float[Tensor, "b k g g"]]:
        """Half of the head's answers say where to look, which is the activation, half what is
        there.
        """
        looks, finds = self.head(features.movedim(1, -1)).movedim(-1, 1).float().chunk(2, 1)
        with torch.no_grad():
            calm = (
                self._without_dropout(features.detach().movedim(1, -1))
                .movedim(-1, 1)
                .float()
                .chunk(2, 1)[0]
            )
        logits = attention_logits(looks.detach() if self.config.guide_weight else looks, finds)
        return logits, class_attention(calm, self._each(calm)), looks

    def _see_average(
        self, features: Float[Tensor, "b c g g"]
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k g g"], None]:
        """The head sees the mean over the grid, so every place has the same gradient: Grad-CAM is a
        weighted sum of channels.
        """
        with torch.enable_grad():
            pooled = features.detach().mean((2, 3)).requires_grad_()
            scores = self._without_dropout(pooled)
            weights = torch.stack(
                [
                    torch.autograd.grad(s.sum(), pooled, retain_graph=True)[0]
                    for s in scores.unbind(1)
                ],
                1,
            )
        heat = torch.cat(
            [
                class_activation(one[None], weight)
                for one, weight in zip(features.detach(), weights, strict=True)
            ]
        )
        return self.head(features.mean((2, 3))), heat, None

    def _without_dropout(self, x: Float[Tensor, "*places c"]) -> Float[Tensor, "*places answers"]:
        """The head as in eval mode: dropout would make the map depend on the draw."""
        training = self.head.training
        scores = self.head.eval()(x)
        self.head.train(training)
        result: Float[Tensor, "*places answers"] = scores
        return result

    @staticmethod
    def _each(looks: Float[Tensor, "b k g g"]) -> Float[Tensor, "k k"]:
        """Weights under which every class looks at its own channel."""
        return torch.eye(looks.shape[1], device=looks.device)

    def _query(
        self,
        embedding: Float[Tensor, "b c g g"],
        boxes: Float[Tensor, "b k 4"],
        side: int,
        labelled: Labelled | None = None,
        step: Step | None = None,
    ) -> Float[Tensor, "b c g g"]:
        """d L_seg / d embedding of the first masks: against the truth where training has it, else
        against their own threshold.

        Each image's gradient depends on its own masks only; an image without a prompt has zeros.
        With `feedback_query=features` it is the embedding itself.
        """
        if self.config.feedback_query == "features":
            return embedding
        rows, classes = torch.nonzero(~boxes.isnan().any(-1), as_tuple=True)
        if not len(rows):
            return torch.zeros_like(embedding)
        with torch.enable_grad():
            leaf = embedding.detach().requires_grad_()
            asked_for = class_embeddings(leaf[rows], self.kinds, classes)
            z = resize(
                best_mask(*self.sam.decode(asked_for, boxes[rows, classes], side))[:, None], side
            )[:, 0]
            target = (z > 0).float()
            if labelled is not None and step is not None:
                true = torch.zeros_like(target)
                here = rows < len(labelled.mask)
                true[here] = (
                    labelled.mask[rows[here]] == (classes[here] + 1)[:, None, None]
                ).float()
                drawn = (
                    torch.from_numpy(step.rng("feedback").random(len(embedding))).to(z)
                    >= self.config.surrogate_share
                )
                target = torch.where((here & drawn[rows])[:, None, None], true, target)
            loss = soft_dice(torch.sigmoid(z), target).sum()
            return torch.autograd.grad(loss, leaf)[0].detach()

    def _mask_losses(
        self,
        labelled: Labelled,
        embedding: Float[Tensor, "b c g g"],
        boxes: Float[Tensor, "b k 4"],
        step: Step,
    ) -> dict[str, Tensor]:
        """Losses of the mask that counts, over the (image, class) pairs that are there."""
        rows, classes = torch.nonzero(labelled.present == 1, as_tuple=True)
        if not len(rows):
            return {}
        side = labelled.image.shape[-1]
        truth = labelled.mask[rows] == (classes + 1)[:, None, None]
        share_own = linear_ramp(step, self.config.warmup_prompts)
        prompts = training_boxes(
            boxes[rows, classes], truth, share_own, self.config.jitter, step.rng("prompts")
        )
        logits, scores = self.sam.decode(
            class_embeddings(embedding[rows], self.kinds, classes), prompts, side
        )
        losses = sam_mask_losses(resize(logits, side), scores, truth.float(), self.config.choose)
        weights = {
            "dice": self.config.seg_weight,
            "ce": self.config.ce_weight,
            "score": self.config.score_weight,
        }
        return {name: weight * losses[name] for name, weight in weights.items() if weight}
