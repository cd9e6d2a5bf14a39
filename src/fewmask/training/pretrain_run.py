"""From the settings of a pre-training to SAM's weights: claim the folder or resume, then loop."""

from dataclasses import asdict
from pathlib import Path

import torch

from fewmask.blocks.device import choose_device
from fewmask.blocks.memory import memory_in_words
from fewmask.core.errors import BadConfig
from fewmask.core.progress import OnProgress, ignore_progress
from fewmask.io.atomic import is_part, make_folder
from fewmask.io.ledger import locate
from fewmask.io.lock import LOCK, folder_lock
from fewmask.io.outputs import check_folder, claim
from fewmask.io.run import States
from fewmask.io.text import write_json
from fewmask.io.weights import fit_into, load_tensors, save_tensors
from fewmask.training.hardware import describe, halves
from fewmask.training.jobs import PretrainJob
from fewmask.training.loop import Loop, SaveClock
from fewmask.training.pretrain import PretrainConfig


def pretrain(
    config: PretrainConfig,
    out: Path,
    *,
    device: str | None = None,
    amp: bool = True,
    save_minutes: float = 2.0,
    score_every: int = 1000,
    on_progress: OnProgress = ignore_progress,
) -> Path:
    """Pre-train SAM, or resume an unfinished run in `out`; returns `out/weights.safetensors`
    (half precision).

    `scores.csv` gets the Dice on 64 held-out scenes with true boxes every `score_every` steps.
    Raises `BadConfig` when `out` was made from another config, `NoRoom` where memory does not
    suffice (F07), and what `Loop.run` raises.
    """
    if not (out / "config.json").exists():
        known = (LOCK, "environment.json")
        check_folder(out, owns=lambda path: path.name in known or is_part(path))
    make_folder(out)
    final = out / "weights.safetensors"
    place = choose_device(device)
    no_memory = memory_in_words(place, "the last save is whole", PretrainJob.memory_advice)
    with folder_lock(out, "pretrain"), no_memory:
        _claim_pretraining(out, config, place)
        if final.exists():
            return final
        bf16, fp16 = halves(place, amp)
        job = PretrainJob(config, place, bf16, out / "scores.csv", score_every, fp16)
        loop = Loop(job, States(out), SaveClock(save_minutes), on_progress)
        resumed = loop.resume()
        if not loop.done and config.start != "none":
            path = locate(config.start)
            weights = {name: tensor.float() for name, tensor in load_tensors(path).items()}
            fit_into(job.network, weights, path)
        loop.run(resumed)
        half = {name: tensor.half() for name, tensor in job.network.state_dict().items()}
        note = {f"pretrain.{key}": str(value) for key, value in asdict(config).items()}
        save_tensors(final, half, note)
        States(out).drop()
    return final


def _claim_pretraining(out: Path, config: PretrainConfig, device: torch.device) -> None:
    path = out / "config.json"
    if not path.exists():
        write_json(out / "environment.json", describe(device))
    changed = claim(path, asdict(config))
    if changed:
        raise BadConfig(
            "the folder was made from another request",
            where=[str(out), *changed],
            fix="use the first command again, or another `out`",
            code="C06",
        )
