"""What SAM costs on this machine: encoder time per slice, decoder time per prompt, memory, with and
without folded attention.

    python benchmarks/encoders.py  # every row, each in a process of its own, as a markdown table
    python benchmarks/encoders.py one vit-b 448 folded   # one row as JSON

Weights are random: time and memory do not depend on them. `original` is the attention of
`transformers`, `folded` ours, `openvino` the optional engine (`fewmask[openvino]`). Times are
medians of at least three calls on one slice in bfloat16 and float32; memory is the growth of the
process's peak over the loaded model; `file` is the checkpoint in float32, or the bundled file.
Ratios between rows are worth more than the rows: machines are shared.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import torch
from transformers import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionSdpaAttention

from fewmask.blocks.sam import Sam, build_sam, size_named
from fewmask.blocks.sam.engine import use_openvino
from fewmask.io.ledger import bundled
from fewmask.io.weights import count_weights

ROWS = [("compact", 224, "folded"), ("compact", 448, "folded")]
ROWS += [("compact", 224, "openvino"), ("vit-b", 448, "openvino")]
ROWS += [
    ("vit-b", side, kind) for side in (224, 256, 448, 512, 1024) for kind in ("folded", "original")
]


def use_original_attention(sam: Sam) -> None:
    """Put `transformers`' own attention back, with the same weights."""
    for layer in sam.image_encoder.layers:  # type: ignore[union-attr]
        ours = layer.attn
        config = SamVisionConfig(
            hidden_size=ours.qkv.in_features, num_attention_heads=ours.heads, use_rel_pos=True
        )
        old = SamVisionSdpaAttention(config, window_size=layer.window_size)
        old.qkv, old.proj, old.rel_pos_h, old.rel_pos_w = (
            ours.qkv,
            ours.proj,
            ours.rel_pos_h,
            ours.rel_pos_w,
        )
        layer.attn = old


def median_seconds(call: Callable[[], object], least: int = 3, seconds: float = 3.0) -> float:
    """Median over at least `least` calls and about `seconds`, after one."""
    call()
    stamps: list[float] = []
    while len(stamps) < least or (sum(stamps) < seconds and len(stamps) < 50):
        start = time.perf_counter()
        call()
        stamps.append(time.perf_counter() - start)
    return statistics.median(stamps)


def peak_mib() -> float:
    """Peak resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def autocast(on: bool) -> AbstractContextManager[object]:
    """bfloat16, or nothing."""
    return torch.autocast("cpu", torch.bfloat16, enabled=on)


@torch.no_grad()
def measure(name: str, side: int, attention: str) -> dict[str, object]:
    """One row."""
    sam = build_sam(size_named(name), side).eval()
    if attention == "original":
        use_original_attention(sam)
    image = torch.rand(1, 1, side, side)
    before = peak_mib()
    row: dict[str, object] = {"encoder": name, "side": side, "attention": attention}
    box = torch.tensor([[9.0, 9, 90, 90]])
    row["weights_m"] = round(count_weights(sam.state_dict()) / 1e6, 1)
    row["file_mb"] = round(
        (bundled().stat().st_size if name == "compact" else 4 * count_weights(sam.state_dict()))
        / 1e6
    )
    encoder = sam.image_encoder
    for kind, bf16 in (("bf16", True), ("f32", False)):
        if attention == "openvino":
            sam.image_encoder = encoder
            use_openvino(sam, bf16)
        with autocast(bf16):
            row[f"encode_{kind}_s"] = round(median_seconds(lambda: sam.encode(image)), 3)
            embedding = sam.encode(image)
            decode = partial(sam.decode, embedding, box, side)
            row[f"decode_{kind}_s"] = round(median_seconds(decode), 4)
    row["growth_mib"] = round(peak_mib() - before)
    return row


def main() -> None:
    """One row, or all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("one", nargs="*", help="one NAME SIDE folded|original")
    words = parser.parse_args().one
    if words:
        print(json.dumps(measure(words[1], int(words[2]), words[3])))
        return
    for name, side, kind in ROWS:
        command = [sys.executable, __file__, "one", name, str(side), kind]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        row = json.loads(done.stdout)
        if (name, side, kind) == ROWS[0]:
            print("| " + " | ".join(row) + " |\n" + "|---" * len(row) + "|")
        print("| " + " | ".join(map(str, row.values())) + " |", flush=True)


if __name__ == "__main__":
    main()
