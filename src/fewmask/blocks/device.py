"""The device that networks run on."""

import difflib

import torch

from fewmask.core.errors import BadConfig

_KINDS = ("cpu", "cuda", "mps")
_MEANT = {"gpu": "cuda", "nvidia": "cuda", "metal": "mps", "apple": "mps"}
"""What people say -> what torch calls it."""


def choose_device(wanted: str | None) -> torch.device:
    """The device called `wanted` (`cpu`, `cuda`, `cuda:1`, `mps`); None = a CUDA GPU if there is
    one, else the CPU.

    Raises `BadConfig` for a name that torch does not know (C02) and for a device that this machine
    does not have (F08).
    """
    if wanted is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = wanted.partition(":")
    if kind not in _KINDS or (number and not number.isdecimal()):
        meant = _MEANT.get(kind.lower()) or next(
            iter(difflib.get_close_matches(kind.lower(), _KINDS, n=1)), ""
        )
        raise BadConfig(
            f"device {wanted!r} is not known",
            fix=f"did you mean {meant!r}?" if meant else "use cpu, cuda, cuda:1 or mps",
            code="C02",
        )
    found = _count(kind)
    if int(number or 0) >= found:
        raise BadConfig(
            f"this machine has no device {wanted!r}",
            where=_why(kind, found),
            fix="use cpu, or leave the device out",
            code="F08",
        )
    return torch.device(wanted)


def half_type(device: torch.device) -> torch.dtype:
    """The 16-bit numbers this device computes with by itself: bfloat16, but float16 on a GPU that
    would only emulate it (T4, V100, RTX 20).
    """
    if device.type != "cuda":
        return torch.bfloat16
    with torch.cuda.device(device):  # the one that is asked for
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float16


def in_half(device: torch.device, bf16: bool, fp16: bool = False) -> torch.autocast:
    """Compute the block in bfloat16 or float16 where it pays, or in neither."""
    kind = torch.float16 if fp16 else torch.bfloat16
    return torch.autocast(device.type, kind, enabled=bf16 or fp16)


def _count(kind: str) -> int:
    """How many devices of this kind can be used here."""
    if kind == "cuda":
        return torch.cuda.device_count()
    return 1 if kind == "cpu" else int(torch.backends.mps.is_available())


def _why(kind: str, found: int) -> str:
    if kind == "cuda" and torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} here is built for CPUs only"
    return f"usable {kind} devices: {found}"
