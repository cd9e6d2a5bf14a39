"""Pictures for SAM: slices of scans in [0, 1], as a person would window them."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
from jaxtyping import Float

from fewmask.core.errors import FewmaskError
from fewmask.workbench.voxels import Voxels

_CT_HU = (-160.0, 240.0)
"""Soft tissue."""


class Grey:
    """The scans of an opened workbench as `Assist` asks for them."""

    def __init__(self, voxels: Voxels, cases: Sequence[str], done: Callable[[str], bool]) -> None:
        """`done(case)`: nobody will outline it any more, so that SAM need not look ahead there."""
        self._voxels, self._cases, self._done = voxels, cases, done

    def grey(self, case: str, d: int) -> Float[np.ndarray, "h w"]:
        """CT in the window of soft tissue; MR between its 1st and 99th percentile."""
        info = self._voxels.info(case)
        values = self._voxels.slice(case, 0, d).astype(np.float32) * info.scale + info.offset
        low, high = _CT_HU if info.ct else (info.percentiles[0], info.percentiles[2])
        grey: Float[np.ndarray, "h w"] = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
        return grey

    def depth(self, case: str) -> int:
        """Slices of a scan."""
        return self._voxels.info(case).shape[0]

    def pixel_mm(self, case: str) -> tuple[float, float]:
        """Along h and w."""
        _, h, w = self._voxels.info(case).spacing_mm
        return h, w

    def order(self) -> Sequence[str]:
        """Scans that were read already and are not done with, in the order of the folder."""
        with suppress(FewmaskError):
            return [one for one in self._cases if self._voxels.known(one) and not self._done(one)]
        return []
