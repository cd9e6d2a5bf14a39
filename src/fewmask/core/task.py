"""What a method is built for. Needs no torch, so that a run's record can be read without it."""

from dataclasses import dataclass

DEFAULT_METHOD = "lite_unet"
"""What `train` and `demo` use where no method is named."""


@dataclass(frozen=True)
class Task:
    """What a method is built for."""

    classes: tuple[str, ...]
    """Names of the structures, without background; class index = position + 1."""
    size: int
    """Side of the square image in pixels."""
    modality: str = "ct"
    spacing_mm: float = 0.0
    """Size of the pixels; 0 = unknown."""

    @property
    def k(self) -> int:
        """Number of structures."""
        return len(self.classes)
