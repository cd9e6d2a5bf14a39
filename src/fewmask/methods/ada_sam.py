"""`ada_sam`: one SAM encoder for classifier and mask, and segmentation gradients that correct where
the classifier looks.

ADA-SAM (Ward and colleagues). An MLP head on SAM's embedding learns image tags; its class
activation gives a box, which prompts SAM. Then the gradient of the segmentation loss with
respect to the embedding is a query that attends over the features; the attended features, gated,
give a second classification and a second activation, whose box gives the mask that counts. The loss
that makes the gradient is the mask's distance to its own threshold, in training as at test time.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from fewmask.blocks.cam import attention_pool, class_activation, class_attention
from fewmask.blocks.losses import Choose, attention_guide, sam_mask_losses, soft_dice, tag_entropy
from fewmask.blocks.masks import (
    add_class_embedding,
    best_mask,
    decode_classes,
    resize,
    training_boxes,
)
from fewmask.blocks.presence import judge, scan_cost
from fewmask.blocks.prompts import Rule, has_box, main_component, mask_boxes
from fewmask.blocks.ramp import linear_ramp, warm_cosine
from fewmask.blocks.sam import Sam
from fewmask.core.batch import Batch, BatchSpec, Labelled, Probabilities, Step, Task
from fewmask.core.config import Count, NotNegative, Number, Positive, Share
from fewmask.core.errors import BadConfig
from fewmask.methods._method import HasSam, Method, MethodSpec, grouped
from fewmask.methods._presence import PresenceSettings
from fewmask.methods._sam import SamSettings, build_tuned

_SHARPNESS = 10.0
"""Queries that point as a key does outweigh those at right angles by e^10 at the start; learned."""


@dataclass(frozen=True)
class Config(PresenceSettings, SamSettings):
    """Settings of `ada_sam`. D-numbers are decisions where the paper is silent;
    docs/methods/ada_sam.md says why.
    """

    feedback: bool = True
    """Gradient feedback; off is one of the settings of the released notebook's model (all:
    docs/methods/ada_sam.md).
    """
    feedback_query: Literal["gradient", "features"] = "gradient"
    """What asks: the gradient (the paper), or the features themselves: the same attention without
    any feedback, as a control.
    """
    feedback_side: Count = 16
    """Side of the grid on which gradient and features attend (32 in the paper's figure, for an
    embedding of 64).
    """
    feedback_width: Count = 128
    """Width of the attention (ours; 256 would suit ViT-B, A28)."""
    feedback_heads: Count = 4
    """Heads of the attention (A28: 4 to 8)."""
    gate_lr: Positive = 0.03
    """Peak learning rate of the feedback's gate: one number that starts at 0, and at `lr` would
    still be there after minutes.
    """
    surrogate_share: Share = 1.0
    """Part of the outlined slices on which the label-free loss makes the gradient in training too,
    as it will at test time.

    Below 1 (A28 began at 0.5) a true mask makes some gradients, and the head learns that such a
    gradient means a positive tag.
    """
    labelled: Count = 4
    """Outlined slices per step; they cycle (A15)."""
    weak: Number = 4
    """Tagged slices per step; each costs an encoder pass here, since the encoder is shared (A27).
    """
    head: Literal["places", "pooled"] = "places"
    """The head looks at every place of the embedding and answers from where it looks (ours), or
    sees the average (notebook).
    """
    guide_weight: NotNegative = 0.5
    """Weight of a loss that draws the look on outlined slices to the outline; ours, needs
    `head=places`.

    With it, outlines alone teach where to look and tags alone what is there; at 0 the tags teach
    both.
    """
    hidden: Count = 256
    """Width of the head (notebook)."""
    dropout: Share = 0.3
    """Dropout of the head (notebook)."""
    first_weight: NotNegative = 0.5
    """Weight of the classification before feedback (A28)."""
    cam_cut: Share = 0.4
    """Part of the activation's peak that is kept, on the embedding's grid (notebook)."""
    component: Rule = "union"
    """Which part of the cut map gives the box: all of it (notebook), or its largest component."""
    warmup_prompts: Share = 0.2
    """Fraction of training in which prompts move from jittered true boxes to activation boxes
    (A13).
    """
    jitter: NotNegative = 0.1
    """Largest shift of a true box's edge, as a part of its width or height."""
    choose: Choose = "least"
    """Which of the three masks is taught (A9; the notebook has one mask)."""
    seg_weight: NotNegative = 0.5
    """Weight of soft Dice (notebook)."""
    ce_weight: NotNegative = 0.5
    """Weight of cross-entropy on the mask; 0 = the notebook. See `sam_mix`."""
    score_weight: NotNegative = 0.5
    """Weight of the squared error of the predicted IoUs (SAM's recipe)."""
    lr: Positive = 1e-3
    """Peak learning rate of AdamW (notebook: Adam, 1e-4); on training patients 3e-4 learned boxes
    and tags too slowly.
    """
    head_lr: Positive = 1e-2
    """The same for the head, which alone starts from nothing: at `lr` it has hardly learned the
    tags after 155 steps.
    """
    weight_decay: NotNegative = 0.01
    """AdamW's weight decay; its usual value."""
    warmup: Number = 50
    """Steps of linear warm-up before the cosine."""


def build(config: Config, task: Task) -> "AdaSam":
    """A fresh SAM with its head and feedback for `task`. Raises `BadConfig` for a guide without a
    head that can be guided.
    """
    if config.head == "pooled" and config.guide_weight:
        raise BadConfig(
            "head=pooled classifies the whole slice, so no outline can say where it should attend",
            fix="use `guide_weight=0` with it",
            code="C02",
        )
    sam = build_tuned(config, task)
    c = sam.channels
    outputs = 2 * task.k if config.head == "places" else task.k
    head = nn.Sequential(
        nn.Linear(c, config.hidden),
        nn.ReLU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.hidden, outputs),
    )
    feedback = None
    if config.feedback:
        feedback = Feedback(c, config.feedback_width, config.feedback_heads, config.feedback_side)
    # One structure needs no embedding; with several, the same box must not mean the same mask for
    # each (ours).
    class_embeddings = nn.Parameter(torch.zeros(task.k, c)) if task.k > 1 else None
    return AdaSam(sam, head, feedback, class_embeddings, config)


METHOD = MethodSpec(Config, build, inference_only=("presence", "presence_cost"), least_steps=155)


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
        self, features: Float[Tensor, "b c g g"], gradient: Float[Tensor, "b c g g"]
    ) -> Float[Tensor, "b c g g"]:
        """Corrected features; a gradient of zeros (no mask, so nothing to learn from) leaves them
        as they are.
        """
        b, _, g, _ = features.shape
        # Gradients shrink as masks improve, by orders of magnitude: only their pattern is a query,
        # so each image's is divided by its root mean square. Zeros stay zeros, and are masked out
        # at the end, since the learned places alone would make a query of them.
        has_gradient = gradient.flatten(1).any(1)
        size = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
        query_tokens = self._tokens(gradient / size.clamp_min(1e-12))
        feature_tokens = self.norm(self._tokens(features))
        # Learned places let a query find its own surroundings; values carry none.
        q = self._split(self.query(query_tokens) + self.place)
        k = self._split(self.key(feature_tokens) + self.place)
        v = self._split(self.value(feature_tokens))
        # Cosine attention: the learned sharpness stands in for 1 / sqrt(width), hence scale=1.
        q = self.sharpness * functional.normalize(q, dim=-1)
        k = functional.normalize(k, dim=-1)
        attended = functional.scaled_dot_product_attention(q, k, v, scale=1.0)
        change = self.out(attended.transpose(1, 2).flatten(2)).transpose(1, 2)
        change = change.reshape(b, -1, self.side, self.side)
        change = functional.interpolate(change, (g, g), mode="bilinear", align_corners=False)
        return features + self.gate * change * has_gradient[:, None, None, None]

    def _tokens(self, x: Float[Tensor, "b c g g"]) -> Float[Tensor, "b t c"]:
        return functional.adaptive_avg_pool2d(x, self.side).flatten(2).transpose(1, 2)

    def _split(self, x: Float[Tensor, "b t w"]) -> Float[Tensor, "b n t e"]:
        """One slice of the width per head."""
        return x.view(len(x), self.side**2, self.heads, -1).transpose(1, 2)


@dataclass(frozen=True)
class HeadOutput:
    """What the head makes of features."""

    logits: Float[Tensor, "b k"]
    """Of the tags."""
    heat: Float[Tensor, "b k g g"]
    """Activation in [0, 1]; no gradient passes."""
    boxes: Float[Tensor, "b k 4"]
    """Of the activation, in pixel edges of the image; NaN = none."""
    attention: Float[Tensor, "b k g g"] | None
    """Attention logits, before the softmax over places; None for a head that sees the average
    only.
    """


class AdaSam(Method, HasSam):
    """SAM with a head on its embedding and the feedback of its own gradient."""

    def __init__(
        self,
        sam: Sam,
        head: nn.Module,
        feedback: Feedback | None,
        class_embeddings: nn.Parameter | None,
        config: Config,
    ) -> None:
        """Parts come ready-made; `config` holds the numbers of this file only."""
        super().__init__()
        self.sam = sam
        self.head = head
        self.feedback = feedback
        self.kinds = class_embeddings  # under this name it lies in weight files
        self.config = config
        self.neighbours = scan_cost(config.presence, config.presence_cost)
        self.batch_spec = BatchSpec(
            labelled=config.labelled, weak=config.weak, presence=config.presence != "none"
        )

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """`classify`, `classify_first` on tags; `guide`, `dice`, `ce`, `score` on
        outlined slices.
        """
        assert batch.labelled is not None
        images, tags, first_tagged = batch.labelled.image, batch.labelled.present, 0
        if batch.weak is not None:
            # Outlined slices hold the structure; how common it is, only tagged slices say, which
            # are drawn from all.
            images = torch.cat([images, batch.weak.image])
            tags, first_tagged = batch.weak.present, len(batch.labelled.image)
        embedding = self.sam.encode(images).float()
        side = images.shape[-1]
        output = first = self.classify(embedding, side)
        losses: dict[str, Tensor] = {}
        if self.feedback is not None:
            # For every slice, whatever its tag: a gradient for the positive ones only would tell
            # the head what it is to guess.
            query = self.feedback_query(embedding.detach(), first.boxes, side, batch.labelled, step)
            output = self.classify(self.feedback(embedding, query), side)
            entropy = tag_entropy(first.logits[first_tagged:], tags)
            losses["classify_first"] = self.config.first_weight * entropy
        losses["classify"] = tag_entropy(output.logits[first_tagged:], tags)
        losses |= self._guide_losses(batch.labelled, output)
        return losses | self._mask_losses(batch.labelled, embedding, output.boxes, step)

    def predict(self, image: Float[Tensor, "b 1 h w"]) -> Probabilities:
        """Masks from the model's own prompts, after feedback; gradients are taken inside, even
        where none are recorded.
        """
        return self._predict(image, None)

    def predict_present(
        self, image: Float[Tensor, "b 1 h w"], present: Bool[Tensor, "b k"]
    ) -> Probabilities:
        """The same with what each slice holds given, judged together with its neighbours."""
        return self._predict(image, present)

    def _predict(
        self, image: Float[Tensor, "b 1 h w"], wanted: Bool[Tensor, "b k"] | None
    ) -> Probabilities:
        embedding, output = self._corrected(image)
        present = torch.sigmoid(output.logits)
        if wanted is None:
            wanted = judge(present, self.config.presence)
        prompted = has_box(output.boxes)
        selected = wanted & prompted
        probs = self._decode(embedding, output.boxes, selected, image.shape[-1])
        boxes = torch.where(selected[..., None], output.boxes, torch.nan)
        return Probabilities(probs, present, boxes, output.heat, (wanted & ~prompted).long())

    def segment(
        self, image: Float[Tensor, "b 1 h w"], boxes: Float[Tensor, "b k 4"]
    ) -> Probabilities:
        """The same with these boxes instead of the model's own (NaN = no mask): the oracle-box
        bound.
        """
        embedding, output = self._corrected(image)
        selected = has_box(boxes)
        probs = self._decode(embedding, boxes, selected, image.shape[-1]).detach()
        present = torch.sigmoid(output.logits).detach()
        return Probabilities(probs, present, boxes, output.heat, torch.zeros_like(selected).long())

    def optimiser(self) -> torch.optim.Optimizer:
        """AdamW on what learns; the head and the gate have rates of their own."""
        apart: list[dict[str, Any]] = [
            {"params": list(self.head.parameters()), "lr": self.config.head_lr}
        ]
        if self.feedback is not None:
            gate = [self.feedback.gate]
            apart.append({"params": gate, "lr": self.config.gate_lr, "weight_decay": 0.0})
        groups = grouped(self, *apart)
        return torch.optim.AdamW(groups, self.config.lr, weight_decay=self.config.weight_decay)

    def schedule(self, step: Step) -> float:
        """Warm-up, then cosine."""
        return warm_cosine(step, self.config.warmup)

    def classify(self, features: Float[Tensor, "b c g g"], side: int) -> HeadOutput:
        """Logits of the tags, activation of each class and its box, on images of `side` pixels. No
        gradient passes through the activation; dropout does not touch it.
        """
        run_head = self._attend_places if self.config.head == "places" else self._average_places
        logits, heat, attention = run_head(features)
        cut = ((heat >= self.config.cam_cut) & (heat > 0)).flatten(0, 1)
        kept = main_component(cut, heat.flatten(0, 1), self.config.component)
        boxes = mask_boxes(kept).view(*heat.shape[:2], 4) * (side / heat.shape[-1])
        return HeadOutput(logits.float(), heat, boxes, attention)

    def feedback_query(
        self,
        embedding: Float[Tensor, "b c g g"],
        boxes: Float[Tensor, "b k 4"],
        side: int,
        labelled: Labelled | None = None,
        step: Step | None = None,
    ) -> Float[Tensor, "b c g g"]:
        """d L_seg / d embedding of the first masks, in training and at test time against their own
        threshold; with `surrogate_share` below 1 some of those in `labelled`, the first images of
        the batch, against the truth.

        Each image's gradient depends on its own masks only; an image without a prompt has zeros.
        With `feedback_query=features` it is the embedding itself.
        """
        if self.config.feedback_query == "features":
            return embedding
        rows, classes = torch.nonzero(has_box(boxes), as_tuple=True)
        if not len(rows):
            return torch.zeros_like(embedding)
        # A graph of its own, on a leaf: prediction runs without gradients, and in training nothing
        # of this may reach the encoder.
        with torch.enable_grad():
            leaf = embedding.detach().requires_grad_()
            prompted = add_class_embedding(leaf[rows], self.kinds, classes)
            best = best_mask(*self.sam.decode(prompted, boxes[rows, classes], side))
            z = resize(best[:, None], side)[:, 0]
            # The mask's own threshold as target: it needs no label, so that the gradient means the
            # same at test time.
            target = (z > 0).float()
            if labelled is not None and step is not None:
                target = self._with_truth(target, rows, classes, labelled, step)
            # A sum, not a mean: no image's gradient depends on how many masks the others have.
            loss = soft_dice(torch.sigmoid(z), target).sum()
            return torch.autograd.grad(loss, leaf)[0].detach()

    def _with_truth(
        self,
        target: Float[Tensor, "n h w"],
        rows: Int[Tensor, " n"],
        classes: Int[Tensor, " n"],
        labelled: Labelled,
        step: Step,
    ) -> Float[Tensor, "n h w"]:
        """The same, but the true masks for all outlined images except `surrogate_share` of them;
        `rows` are places in a batch that begins with the outlined images.
        """
        count = len(labelled.mask)
        numbers = torch.from_numpy(step.rng("feedback").random(count)).to(target)
        pairs = torch.nonzero(rows < count)[:, 0]
        pairs = pairs[numbers[rows[pairs]] >= self.config.surrogate_share]
        truth = labelled.mask[rows[pairs]] == (classes[pairs] + 1)[:, None, None]
        return target.index_put((pairs,), truth.float())

    def _decode(
        self,
        embedding: Float[Tensor, "b c g g"],
        boxes: Float[Tensor, "b k 4"],
        selected: Bool[Tensor, "b k"],
        side: int,
    ) -> Float[Tensor, "b c2 side side"]:
        return decode_classes(self.sam, embedding, boxes, None, selected, side, self.kinds)

    def _corrected(
        self, image: Float[Tensor, "b 1 h w"]
    ) -> tuple[Float[Tensor, "b c g g"], HeadOutput]:
        """Embedding, and the head's output after feedback."""
        embedding = self.sam.encode(image).float()
        side = image.shape[-1]
        output = self.classify(embedding, side)
        if self.feedback is not None:
            query = self.feedback_query(embedding, output.boxes, side)
            output = self.classify(self.feedback(embedding, query), side)
        return embedding, output

    def _attend_places(
        self, features: Float[Tensor, "b c g g"]
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k g g"], Float[Tensor, "b k g g"]]:
        """Half of the head's outputs are attention logits, which are the activation, half are
        values.
        """
        places = features.movedim(1, -1)
        attention, value = self.head(places).movedim(-1, 1).float().chunk(2, 1)
        with torch.no_grad():
            outputs = self._without_dropout(places.detach()).movedim(-1, 1).float()
            heat = class_attention(outputs.chunk(2, 1)[0], _own_channel(attention))
        # Where outlines teach where to attend, tags do not.
        attended = attention.detach() if self.config.guide_weight else attention
        return attention_pool(attended, value), heat, attention

    def _average_places(
        self, features: Float[Tensor, "b c g g"]
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k g g"], None]:
        """The head sees the mean over the grid, so every place has the same gradient: Grad-CAM is a
        weighted sum of channels, with weights of each image's own.
        """
        with torch.enable_grad():
            pooled = features.detach().mean((2, 3)).requires_grad_()
            weights = []
            for logit in self._without_dropout(pooled).unbind(1):
                weights.append(torch.autograd.grad(logit.sum(), pooled, retain_graph=True)[0])
        maps = []
        for image, weight in zip(features.detach(), torch.stack(weights, 1), strict=True):
            maps.append(class_activation(image[None], weight))
        return self.head(features.mean((2, 3))), torch.cat(maps), None

    def _without_dropout(self, x: Float[Tensor, "*places c"]) -> Float[Tensor, "*places outputs"]:
        """The head as in eval mode: dropout would make the map depend on the draw."""
        training = self.head.training
        outputs: Float[Tensor, "*places outputs"] = self.head.eval()(x)
        self.head.train(training)
        return outputs

    def _guide_losses(self, labelled: Labelled, output: HeadOutput) -> dict[str, Tensor]:
        """`guide`, where the head attends to places and an outlined slice holds a structure."""
        if output.attention is None or not self.config.guide_weight:
            return {}
        if not bool((labelled.present == 1).any()):
            return {}
        outlined = output.attention[: len(labelled.image)]
        weight = _own_channel(outlined)
        guide = attention_guide(outlined, weight, labelled.mask, labelled.present)
        return {"guide": self.config.guide_weight * guide}

    def _mask_losses(
        self,
        labelled: Labelled,
        embedding: Float[Tensor, "b c g g"],
        boxes: Float[Tensor, "b k 4"],
        step: Step,
    ) -> dict[str, Tensor]:
        """Losses of the mask that counts, over the (image, class) pairs that are present."""
        rows, classes = torch.nonzero(labelled.present == 1, as_tuple=True)
        if not len(rows):
            return {}
        side = labelled.image.shape[-1]
        truth = labelled.mask[rows] == (classes + 1)[:, None, None]
        share = linear_ramp(step, self.config.warmup_prompts)
        prompts = training_boxes(
            boxes[rows, classes], truth, share, self.config.jitter, step.rng("prompts")
        )
        prompted = add_class_embedding(embedding[rows], self.kinds, classes)
        logits, scores = self.sam.decode(prompted, prompts, side)
        losses = sam_mask_losses(resize(logits, side), scores, truth.float(), self.config.choose)
        weights = {
            "dice": self.config.seg_weight,
            "ce": self.config.ce_weight,
            "score": self.config.score_weight,
        }
        return {name: weight * losses[name] for name, weight in weights.items() if weight}


def _own_channel(attention: Float[Tensor, "b k g g"]) -> Float[Tensor, "k k"]:
    """Weights under which every class attends by its own channel."""
    return torch.eye(attention.shape[1], device=attention.device)
