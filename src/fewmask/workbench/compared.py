"""Two rounds on the same outlined slices, in numbers and in words."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from fewmask.core.words import count
from fewmask.evaluate.scores import dice_of


@dataclass(frozen=True)
class Compared:
    """Two rounds on slices that a person outlined and neither learned from."""

    against: int
    slices: int
    better_by: float
    """Mean difference in Dice."""
    low: float
    high: float
    """95 % interval over scans; NaN with fewer than two."""

    @property
    def is_better(self) -> bool:
        """On these slices, on average; nothing is said of others."""
        return self.slices > 0 and self.better_by > 0

    def words(self) -> str:
        """What the page says."""
        if not self.slices:
            return (
                f"not compared with round {self.against} yet: correct some slices, and the page "
                "will know"
            )
        said = f"better by {self.better_by:.2f}" if self.is_better else "no better"
        known = not np.isnan(self.low)
        between = f" ({self.low:+.2f} to {self.high:+.2f})" if known else ""
        if not self.is_better:
            said += f" ({self.better_by:+.2f}{', ' + between.strip(' ()') if known else ''})"
            between = ""
        return (
            f"{said}{between} than round {self.against} on {count(self.slices, 'outlined slice')} "
            "that neither learned from"
        )


def mean_dice(mine: UInt8[np.ndarray, "h w"], truth: UInt8[np.ndarray, "h w"]) -> float:
    """Mean over the structures of either; 1 where both are empty."""
    held = set(np.unique(mine)) | set(np.unique(truth))
    values = [value for value in sorted(held) if value]
    if not values:
        return 1.0
    return float(np.mean([dice_of(mine == value, truth == value) for value in values]))
