"""The mask of one scan, as it comes back from `predict`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from fewmask.api.arguments import File, checked
from fewmask.cleanup.rule import Change
from fewmask.core.errors import BadConfig
from fewmask.core.volume import LabelMap
from fewmask.io.image import write_labels
from fewmask.io.segments import coloured
from fewmask.quality.tables import Judged


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PredictedMask(LabelMap):
    """A predicted mask: `voxels` holds class numbers in (d, h, w), 0 is background.

    `numpy.asarray(mask)`, `to_file_order()`, `to_nibabel()` and `probabilities` are in the axis
    order of the scan that was given, so that they lie on it voxel by voxel.
    """

    classes: tuple[str, ...]
    """Names of the classes 1, 2, ..."""
    prompts: dict[str, Any] | None = None
    """Per slice: presence, boxes, where the classifier looked; None for methods without prompts."""
    no_prompt: int = 0
    """Slices and classes judged present for which no prompt could be made, so their mask is empty.
    """
    probabilities: Float[np.ndarray, "c i j k"] | None = field(default=None)
    """Probability of background and of each class; if it was asked for."""
    quality: dict[str, Judged] | None = field(default=None)
    """Class name -> the Dice it probably has (`quality["liver"].estimate.dice`, `low`, `high`), and
    `reasons` to doubt it; see `docs/quality.md`.
    """

    cleaned: dict[str, Change] | None = None
    """Class name -> what clean-up removed and filled, in voxels and mL; None where it was not
    asked for. `prompts` and `probabilities` stay the network's.
    """

    @property
    def volumes_ml(self) -> dict[str, float]:
        """Class name -> volume in millilitres."""
        counts = np.bincount(self.voxels.ravel(), minlength=len(self.classes) + 1)
        return {
            name: float(counts[index]) * self.voxel_ml for index, name in enumerate(self.classes, 1)
        }

    @checked
    def save(self, path: File, overwrite: bool = False) -> Path:
        """Write the mask on the grid of its scan, and return the path.

        Parameters
        ----------
        path
            A name that ends in `.nii.gz`, `.nii`, `.nrrd`, `.seg.nrrd` (3D Slicer, with names) or
            `.mha`.
        overwrite
            Replace a file that is there.

        Raises
        ------
        BadConfig
            A file is there and `overwrite` is False (F11), or the name ends in something else.
        """
        target = Path(path)
        if target.exists() and not overwrite:
            raise BadConfig(
                "there is a file already",
                where=str(target),
                did="nothing was written",
                fix="choose another path, or say overwrite=True",
                code="F11",
            )
        write_labels(target, self, segments=coloured(self.classes))
        return target

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Shaped[np.ndarray, "i j k"]:
        """Class numbers in the file's own axis order."""
        return np.array(self.to_file_order(), dtype, copy=copy)

    def __repr__(self) -> str:
        """Shape, spacing, orientation, and millilitres per class."""
        volumes = ", ".join(f"{name}: {ml:.1f} mL" for name, ml in self.volumes_ml.items())
        asked = () if self.probabilities is None else ("with probabilities",)
        return self._describe(volumes, *asked)
