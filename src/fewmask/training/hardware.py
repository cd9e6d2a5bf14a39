"""What the machine is, how fast it is, and whether 16 bits pay on it."""

import hashlib
import itertools
import math
import os
import platform
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy
import torch
from torch import nn

from fewmask.blocks.device import half_type
from fewmask.version import __version__


def describe(device: torch.device) -> dict[str, Any]:
    """Versions, device and threads: the scope within which a resumed run is bit-identical."""
    return {
        "fewmask": __version__,
        "code": digest_code(Path(__file__).parents[1]),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
    }


@cache
def digest_code(package: Path) -> str:
    """Twelve digits of the SHA-256 of a package's Python files: in a checkout, code changes and the
    version does not.
    """
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        code = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()}\0{len(code)}\0".encode() + code)
    return digest.hexdigest()[:12]


def halves(device: torch.device, half: bool) -> tuple[bool, bool]:
    """(bfloat16?, float16?) where 16 bits pay or do not."""
    own = half_type(device) == torch.bfloat16
    return half and own, half and not own


def choose_half(
    amp: Literal["auto", "on", "off"], device: torch.device, step: Callable[[bool], None]
) -> bool:
    """Are 16 bits (`half_type`) at least a tenth faster here? `step(half)` runs one throw-away
    training step; probed for about a second.

    Turn by turn, and the quickest of each counts: what else the machine does only ever adds time.
    On a GPU too: where kernels take longer to launch than to run, casts cost more than they save.
    There `step` must wait for the device.
    """
    if amp != "auto":
        return amp == "on"
    step(False)
    step(True)
    quickest = {False: math.inf, True: math.inf}
    begun, rounds = time.perf_counter(), 0
    while rounds < 2 or (rounds < 10 and time.perf_counter() - begun < 1):
        for half in quickest:
            start = time.perf_counter()
            step(half)
            quickest[half] = min(quickest[half], time.perf_counter() - start)
        rounds += 1
    return quickest[True] < 0.9 * quickest[False]


_COMPILED = ("VNet", "UNet")
"""Networks whose kernels torch.compile may write; MONAI, whose the second is, is slow to import."""


def compile_networks(method: nn.Module, backend: str = "inductor") -> None:
    """Let torch.compile write kernels for the method's V-Nets and U-Nets, for the shapes they see;
    weights keep their names.
    """
    for part in method.modules():
        if type(part).__name__ in _COMPILED:
            part.compile(dynamic=False, backend=backend)


def mean_step(step: Callable[[int], None], steps: int, places: int = 10) -> float:
    """Mean seconds of `step(index)` over a run of `steps`: at some places of it, since later ones
    may do more than the first.

    At each place the quicker of two counts: what else the machine does only ever adds time.
    """
    quickest = []
    for place in range(places):
        index = (2 * place + 1) * steps // (2 * places)
        stamps = [time.perf_counter()]
        for offset in range(2):
            step(index + offset)
            stamps.append(time.perf_counter())
        quickest.append(min(after - before for before, after in itertools.pairwise(stamps)))
    return sum(quickest) / places
