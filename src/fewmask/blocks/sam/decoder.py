"""What SAM asks of a mask decoder, so that it need not know which one it has."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True)
class Prompts:
    """One prompt set per image; what is None is not given."""

    side: int
    """Side in pixels of the square images in which boxes and points are measured."""
    boxes: Float[Tensor, "b 4"] | None = None
    """(x0, y0, x1, y1) in pixel edges."""
    points: Float[Tensor, "b n 2"] | None = None
    """(x, y)."""
    point_labels: Int[Tensor, "b n"] | None = None
    """1 inside the structure, 0 outside."""
    masks: Float[Tensor, "b 1 m m"] | None = None
    """The dense prompt, at the side of the mask logits."""


@runtime_checkable
class MaskDecoder(Protocol):
    """Masks from embeddings and prompts."""

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Its modules, under the names that their weights have in a SAM's weight file."""

    @property
    def class_head(self) -> tuple[str, ...]:
        """Beginnings of the names of weights whose shape depends on the number of masks."""

    def decode(
        self, embedding: Float[Tensor, "b c g g"], prompts: Prompts
    ) -> tuple[Float[Tensor, "b k m m"], Float[Tensor, "b k"]]:
        """Mask logits at four times the embedding's side, and their predicted IoU; b > 0."""
