"""The only way to a mask in training."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from fewmask.core.budget import Budget
from fewmask.core.errors import LabelWithheld
from fewmask.io.prepared import Prepared


class LabelGuard:
    """Hands out masks that the budget grants, and no other."""

    def __init__(self, prepared: Prepared, budget: Budget) -> None:
        """A gate over `prepared` for one budget; only cases of the training part can pass, whatever
        the budget says.
        """
        self._prepared = prepared
        self._budget = budget
        self._train = set(prepared.split.train)

    def labels(self, case: str, slices: Sequence[int]) -> UInt8[np.ndarray, "n h w"]:
        """Class indices of these slices (d). Raises `LabelWithheld` if one of them is not granted,
        before anything is read.
        """
        for d in slices:
            if case not in self._train or not self._budget.grants(case, d):
                raise LabelWithheld(
                    f"the mask of {case} slice {d} is not part of the budget",
                    where=f"{self._budget.masks} {self._budget.kind}, draw {self._budget.draw}",
                    did="the mask was not read",
                    fix="train with a larger `slices` or `volumes`",
                    code="S03",
                )
        with self._prepared.case(case) as file:
            return file.labels(slices)

    def granted(self) -> list[tuple[str, int]]:
        """All (case, d) whose mask may be seen: the budget's slices, or the reviewed slices of its
        volumes.
        """
        if self._budget.kind == "slices":
            return list(self._budget.slices)
        used = {
            case: set(self._prepared.recipe.slices(self._prepared.cases[case].shape[0]))
            for case in self._budget.volumes
        }
        return [
            (case, d)
            for case in self._budget.volumes
            for d in sorted(self._prepared.reviewed[case] & used[case])
        ]
