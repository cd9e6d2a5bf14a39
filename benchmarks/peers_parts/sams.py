"""What papers do with ViT-B at 1024 pixels, and what we do instead. Weights are random: time does
not depend on them.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import retrain
import torch
from encoders import use_original_attention
from gpu_parts.job import phantoms
from gpu_parts.kernels import plain_vnet
from gpu_parts.speed import random_batch
from torch.nn import functional

from fewmask.blocks.memory import channels_last
from fewmask.blocks.sam import Sam, build_sam, size_named
from fewmask.blocks.sam.tuning import tune
from fewmask.core.batch import Step
from fewmask.predict import Predictor
from fewmask.training import TrainRequest, train
from fewmask.training.jobs import MethodJob
from fewmask.training.loop import take_step
from peers_parts import reading, steps
from peers_parts.turns import Call, Cost, Match, Side, here

SIDE, BOX = 1024, torch.tensor([[200.0, 200, 700, 700]])


def _vit_b(toy: bool) -> Sam:
    """As the releases have it: `transformers`' attention."""
    sam = build_sam(size_named("tiny" if toy else "vit-b"), 64 if toy else SIDE)
    if not toy:
        use_original_attention(sam)
    return sam


def volume(toy: bool = False) -> Iterator[Match]:
    """A whole scan with the default method, against one slice times their number."""
    folder = Path(mkdtemp(prefix="peers-"))
    prepared = phantoms(folder, toy)
    run = train(TrainRequest(prepared.folder, folder / "run", slices=8, steps=1))
    scan = reading.scan(15 if toy else 300, 64 if toy else 512)
    predictor = Predictor.load(run)
    sam = _vit_b(toy).eval()
    image = torch.rand(1, 1, sam.image_size, sam.image_size)

    @torch.no_grad()
    def slice_by_slice() -> object:
        return sam.decode(sam.encode(image), BOX, sam.image_size)

    side = here(slice_by_slice)
    depth = scan.shape[0]
    note = f"{depth} slices of {scan.shape[1]} px; of ViT-B one slice in float32, times {depth}"
    yield Match(
        "volume",
        "ViT-B at 1024 px",
        here(lambda: predictor.volume(scan)),
        lambda: side().times(depth),
        note,
    )


def sam_mix(toy: bool = False) -> Iterator[Match]:
    """A step per outlined slice that SAM sees in it; ours counts the classifier's work too."""
    prepared = phantoms(Path(mkdtemp(prefix="peers-")), toy)
    with ExitStack() as stack:
        ours = steps.our_loop(prepared, "sam_mix", (), stack)
        yield _sam_mix_match(
            ours, steps.method_for(prepared, "sam_mix", ()).batch_spec.labelled, toy
        )


def _sam_mix_match(ours: Call, seen: int, toy: bool) -> Match:
    sam = _vit_b(toy)
    tune(sam, "lora", 8, "vit-b")
    optimiser = torch.optim.Adam([w for w in sam.parameters() if w.requires_grad], 1e-4)
    image = torch.rand(1, 1, sam.image_size, sam.image_size)

    def step() -> None:
        optimiser.zero_grad()
        logits = sam.decode(sam.encode(image), BOX, sam.image_size)[0][:, 0]
        found = torch.sigmoid(functional.interpolate(logits[:, None], image.shape[-2:]))
        target = (image > 0.5).float()
        dice = 1 - (2 * (found * target).sum() + 1) / (found.sum() + target.sum() + 1)
        dice.backward()
        optimiser.step()

    note = f"per outlined slice, ours {seen} a step; the peer in float32, without its classifier"
    side: Side = here(ours)
    return Match("sam-mix", "release", lambda: side().times(1 / seen), here(step), note)


def cfr(toy: bool = False) -> Iterator[Match]:
    """A re-training step on stored labels, against SAM in every step: ours, and as released."""
    parts = retrain.prepare("small" if toy else "paper")

    def online() -> None:
        parts.label()
        parts.retrain()

    yield Match("cfr", "SAM online, ours", here(parts.retrain), here(online), "both in bfloat16")
    peer = retrain.prepare("small" if toy else "paper", plain=True)

    def released() -> None:
        peer.label()
        peer.retrain()

    note = "the peer in float32, channels outermost, `transformers`' attention"
    yield Match("cfr", "release", here(parts.retrain), here(released), note)


def rate(toy: bool = False) -> Iterator[Match]:
    """Share of a matrix product's rate: the peer is the time that the same operations would take
    at that rate.
    """
    from torch.utils.flop_counter import FlopCounterMode

    n = 256 if toy else 4096
    factor = torch.rand(n, n, dtype=torch.bfloat16)
    product = here(lambda: factor @ factor)

    sam = build_sam(size_named("tiny" if toy else "vit-b"), 64 if toy else 448).eval()
    image = torch.rand(1, 1, sam.image_size, sam.image_size)

    @torch.no_grad()
    def encode() -> object:
        with torch.autocast("cpu", torch.bfloat16):
            return sam.encode(image)

    patch = (16, 32, 32) if toy else (48, 64, 64)
    net = channels_last(plain_vnet(patch, 1))
    batch = random_batch(patch, 1, steps.CPU)
    job = MethodJob(net, lambda index: batch, total=100, seed=0, device=steps.CPU, bf16=True)
    for work, call in (
        ("rate, SAM's encoder", encode),
        ("rate, V-Net step", lambda: take_step(job, batch, Step(0, 100))),
    ):
        with FlopCounterMode(display=False) as counter:
            call()
        share = counter.get_total_flops() / (2 * n**3)
        note = f"{counter.get_total_flops() / 1e9:.0f} GFLOP"
        yield Match(work, "matrix product", here(call), partial(_share, product, share), note)


def _share(side: Side, share: float) -> Cost:
    return side().times(share)
