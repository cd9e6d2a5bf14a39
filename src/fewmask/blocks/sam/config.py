"""How large a SAM is, as one value."""

from dataclasses import dataclass
from typing import Literal

from fewmask.core.errors import BadConfig


@dataclass(frozen=True)
class SamSize:
    """Everything needed to build a SAM except its weights."""

    name: str
    image_size: int
    """Side of the square input in pixels that positions are stored for; other sides interpolate
    them.
    """
    patch: int
    width: int
    depth: int
    heads: int
    window: int
    """Side of the attention windows in tokens; 0 = every layer attends to the whole image."""
    global_layers: tuple[int, ...]
    out_channels: int = 256
    decoder_heads: int = 8
    decoder_mlp: int = 2048
    stem: Literal["patch", "conv"] = "patch"
    """`patch`: one strided convolution (SAM); `conv`: a few small ones, which train from scratch on
    few slices.
    """
    relative_positions: bool = True
    """Attention biased by relative positions (SAM); without it attention is 2.7 times faster in
    training at 28 x 28 tokens.
    """
    decoder: Literal["two-way", "drawn"] = "two-way"
    """`two-way`: SAM's, prompts as tokens; `drawn`: convolutions over pictures of the prompts, and
    an encoder that keeps detail for them, which learn from random weights in a fraction of the
    prompts (docs/results/history.md).
    """


_VIT = {"image_size": 1024, "patch": 16, "window": 14}
SIZES: dict[str, SamSize] = {
    size.name: size
    for size in (
        SamSize("tiny", 64, 8, 48, 2, 2, 0, (0, 1), 32, 2, 64, "conv", False, "drawn"),
        SamSize("small", 224, 8, 192, 4, 6, 0, (0, 1, 2, 3), 128, 4, 256, "conv", False),
        SamSize(
            "compact", 224, 8, 192, 6, 6, 0, (0, 1, 2, 3, 4, 5), 128, 4, 256, "conv", False, "drawn"
        ),
        SamSize("vit-b", width=768, depth=12, heads=12, global_layers=(2, 5, 8, 11), **_VIT),  # type: ignore[arg-type]
        SamSize("vit-l", width=1024, depth=24, heads=16, global_layers=(5, 11, 17, 23), **_VIT),  # type: ignore[arg-type]
        SamSize("vit-h", width=1280, depth=32, heads=16, global_layers=(7, 15, 23, 31), **_VIT),  # type: ignore[arg-type]
    )
}
"""`tiny` for tests, `small` from scratch, `compact` for bundled weights, three official sizes (SAM
paper, appendix A).
"""


def size_named(name: str) -> SamSize:
    """Look a size up by its name. Raises `BadConfig` for a name that is not there."""
    if name not in SIZES:
        raise BadConfig(
            f"no encoder is called {name!r}",
            fix=f"use one of: {', '.join(SIZES)}",
            code="C02",
        )
    return SIZES[name]
