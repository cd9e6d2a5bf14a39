"""`multimix`: classification and segmentation in one U-Net, joined by a saliency bridge (Haque,
Imran et al. 2021).

The encoder's bottom says which structures are there; the gradient of that with respect to the image
(saliency) goes back in beside the image, is brought down to the bottom, and helps the decoder.
Classifier pseudo-labels on strong views and agreement of masks between views need images alone,
drawn from all training slices. The released agreement term is a softmax over one channel, so it is
identically zero; here it is the divergence between the two views' label maps, which has a gradient.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from fewmask.blocks.losses import batch_dice_ce, tag_entropy
from fewmask.blocks.nets.unet_parts import Decoder, Encoder
from fewmask.blocks.presence import gate, judge, scan_cost
from fewmask.blocks.ramp import warm_cosine
from fewmask.core.batch import Batch, BatchSpec, Probabilities, Step, Task, Unlabelled
from fewmask.core.config import Count, NotNegative, Number, Positive, Share
from fewmask.methods._method import Method, MethodSpec
from fewmask.methods._presence import PresenceSettings


@dataclass(frozen=True)
class Config(PresenceSettings):
    """Settings of `multimix`; weights are those of the released code unless said."""

    channels: tuple[Count, ...] = (16, 32, 64, 128, 192)
    """Channels per level; ours, for minutes on a CPU."""
    labelled: Count = 4
    """Outlined slices per step."""
    weak: Number = 4
    """Tagged slices per step."""
    unlabelled: Number = 4
    """Slices per step whose image alone is used; drawn from all training slices, outlined and
    tagged ones too.
    """
    dice_weight: NotNegative = 5.0
    """Weight of Dice (released: 5)."""
    ce_weight: NotNegative = 1.0
    """Weight of cross-entropy on the mask; ours, since Dice alone from scratch stalls (0 = as
    released).
    """
    pseudo_weight: NotNegative = 0.25
    """Weight of classifier pseudo-labels on strong views (released: 0.25)."""
    pseudo_confidence: Share = 0.7
    """Confidence from which a pseudo-label counts (released: 0.7)."""
    consistency_weight: NotNegative = 0.01
    """Weight of the agreement of masks between weak and strong views (released: 0.01, without
    effect).
    """
    lr: Positive = 1e-3
    """Peak learning rate of AdamW; ours."""
    weight_decay: NotNegative = 0.01
    """AdamW's weight decay; its usual value."""
    warmup: Number = 50
    """Steps of linear warm-up before the cosine."""


def build(config: Config, task: Task) -> "MultiMix":
    """A fresh network for `task`."""
    c = config.channels[-1]
    bridge = Encoder(config.channels, inputs=1 + task.k)
    return MultiMix(
        Encoder(config.channels),
        nn.Linear(c, task.k),
        bridge,
        nn.Conv2d(2 * c, c, 1),
        Decoder(config.channels, task.k + 1),
        config,
    )


METHOD = MethodSpec(Config, build, inference_only=("presence", "presence_cost"), least_steps=190)


class MultiMix(Method):
    """Encoder, classifier on its bottom, saliency bridge, decoder."""

    def __init__(
        self,
        encoder: Encoder,
        classifier: nn.Module,
        bridge: Encoder,
        join: nn.Module,
        decoder: Decoder,
        config: Config,
    ) -> None:
        """`bridge` encodes image and saliency maps; `join` brings both bottoms back to one."""
        super().__init__()
        self.encoder = encoder
        self.classifier = classifier
        self.bridge = bridge
        self.join = join
        self.decoder = decoder
        self.config = config
        self.neighbours = scan_cost(config.presence, config.presence_cost)
        extra = config.unlabelled if config.pseudo_weight or config.consistency_weight else 0
        self.batch_spec = BatchSpec(
            labelled=config.labelled,
            weak=config.weak,
            presence=config.presence != "none",
            unlabelled=extra,
            strong=bool(extra),
        )

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """`classify` on tags, `dice` and `ce` on outlined slices, `pseudo` and `consistency` on
        images alone.
        """
        assert batch.labelled is not None
        levels, tags = self._encode(batch.labelled.image)
        present = batch.labelled.present
        if batch.weak is not None:
            # Outlined slices hold the structure; how common it is, only tagged slices say, which
            # are drawn from all.
            _, tags = self._encode(batch.weak.image)
            present = batch.weak.present
        losses = {"classify": tag_entropy(tags, present)}
        masks = batch_dice_ce(self._decode(batch.labelled.image, levels), batch.labelled.mask)
        weights = {"dice": self.config.dice_weight, "ce": self.config.ce_weight}
        losses |= {name: weight * masks[name] for name, weight in weights.items() if weight}
        if batch.unlabelled is not None:
            losses |= self.unlabelled_losses(batch.unlabelled)
        return losses

    def predict(self, image: Float[Tensor, "b 1 h w"]) -> Probabilities:
        """Softmax of the logits; what a class would get where the classifier says no goes to the
        background.
        """
        return self._predict(image, None)

    def predict_present(
        self, image: Float[Tensor, "b 1 h w"], present: Bool[Tensor, "b k"]
    ) -> Probabilities:
        """The same with what each slice holds given, judged together with its neighbours."""
        return self._predict(image, present)

    def _predict(
        self, image: Float[Tensor, "b 1 h w"], held: Bool[Tensor, "b k"] | None
    ) -> Probabilities:
        levels, tags = self._encode(image)
        probs = torch.softmax(self._decode(image, levels).float(), 1)
        present = torch.sigmoid(tags.float())
        if held is None:
            held = judge(present, self.config.presence)
        return Probabilities(gate(probs, held), present)

    def optimiser(self) -> torch.optim.Optimizer:
        """AdamW on everything."""
        return torch.optim.AdamW(
            self.parameters(), self.config.lr, weight_decay=self.config.weight_decay
        )

    def schedule(self, step: Step) -> float:
        """Warm-up, then cosine."""
        return warm_cosine(step, self.config.warmup)

    def _encode(self, image: Float[Tensor, "b 1 h w"]) -> tuple[list[Tensor], Float[Tensor, "b k"]]:
        levels = self.encoder(image)
        return levels, self.classifier(levels[-1].mean((2, 3)))

    def _decode(
        self, image: Float[Tensor, "b 1 h w"], levels: list[Tensor]
    ) -> Float[Tensor, "b c h w"]:
        salient = self.bridge(torch.cat([image, self.saliency(image)], 1))[-1]
        bottom = self.join(torch.cat([levels[-1], salient], 1))
        result: Float[Tensor, "b c h w"] = self.decoder(bottom, levels[:-1])
        return result

    def saliency(self, image: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b k h w"]:
        """|d logit_k / d image| per class, scaled to a peak of 1 per map; no gradient passes
        through it.
        """
        with torch.enable_grad():
            leaf = image.detach().requires_grad_()
            logits = self._encode(leaf)[1].float()
            slopes = []
            for logit in logits.unbind(1):
                slopes.append(torch.autograd.grad(logit.sum(), leaf, retain_graph=True)[0])
        maps = torch.cat(slopes, 1).abs()
        return (maps / maps.amax((2, 3), keepdim=True).clamp_min(1e-12)).detach()

    def unlabelled_losses(self, unlabelled: Unlabelled) -> dict[str, Tensor]:
        """`pseudo` and `consistency`, those of them that have a weight."""
        assert unlabelled.strong is not None
        with torch.no_grad():
            levels, tags = self._encode(unlabelled.image)
            belief = torch.sigmoid(tags.float())
            target = torch.softmax(self._decode(unlabelled.image, levels).float(), 1)
        strong_levels, strong_tags = self._encode(unlabelled.strong)
        losses = {}
        if self.config.pseudo_weight:
            sure = torch.maximum(belief, 1 - belief) >= self.config.pseudo_confidence
            entropy = functional.binary_cross_entropy_with_logits(
                strong_tags.float(), (belief >= 0.5).float(), reduction="none"
            )
            losses["pseudo"] = self.config.pseudo_weight * (entropy * sure).mean()
        if self.config.consistency_weight:
            strong = self._decode(unlabelled.strong, strong_levels).float()
            guess = functional.log_softmax(strong, 1)
            divergence = functional.kl_div(guess, target, reduction="none").sum(1).mean()
            losses["consistency"] = self.config.consistency_weight * divergence
        return losses
