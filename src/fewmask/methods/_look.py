"""Settings of methods that may be shown images with another look than the scans have."""

from dataclasses import dataclass

from fewmask.core.errors import BadConfig


@dataclass(frozen=True)
class LookSettings:
    """Both are ours and off by default; they go with any other augmentation, and with none."""

    random_convolution: float = 0.0
    """Part of images that a small random network gives another contrast; masks stay (after GIN,
    arXiv 2111.12525).
    """
    frequency_swap: float = 0.0
    """Part of images that take the lowest frequencies of another training scan, labelled or not:
    its brightness and shading; masks stay.
    """


def check_looks(config: LookSettings, prefix: str = "") -> None:
    """Raise `BadConfig` for a part below 0 or above 1; `prefix` as in `check_patches`."""
    for name in ("random_convolution", "frequency_swap"):
        if not 0 <= (part := getattr(config, name)) <= 1:
            raise BadConfig(
                f"{prefix}{name}={part:g} is no part of the images",
                fix=f"use a number from 0 to 1, such as `{prefix}{name}=0.5`",
                code="C02",
            )
