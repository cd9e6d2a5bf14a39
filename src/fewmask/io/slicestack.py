"""From the positions of single slices to one grid: order, gaps, duplicates, tilt. Pure geometry, in
DICOM's LPS millimetres.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fewmask.core.errors import BadScan
from fewmask.core.words import count

_SAME_MM = 1e-3
_UNEVEN = 0.05  # of a step
_ROUNDING_MM = 0.11  # positions written with one decimal, at both ends of the line
_WHOLE = 0.25  # how far from a whole number of steps a gap may be
_TILT_DEG = 0.5
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices of one series as their headers place them; all have the same orientation and pixel
    spacing.
    """

    positions: Float[np.ndarray, "n 3"]
    """Centre of the first pixel of each slice (Image Position (Patient)), LPS mm."""
    orientation: Float[np.ndarray, " 6"]
    """Direction cosines of growing column, then of growing row (Image Orientation (Patient))."""
    spacing_mm: tuple[float, float]
    """Between rows, between columns, as Pixel Spacing has it."""
    thickness_mm: float | None
    """Distance to the next slice where there is only one, else unused."""
    names: tuple[str, ...]
    """File names, for messages."""
    ranks: tuple[int, ...]
    """Instance numbers: which of several files at one position comes first."""

    def place(self, keep_first: bool = False) -> tuple[list[int], Float[np.ndarray, "4 4"]]:
        """Indices of the slices along the normal, and the affine from (column, row, slice) to RAS
        mm.

        Raises `BadScan`: orientation or spacing unusable (N16, N19), duplicates unless `keep_first`
        (D02), a gap or uneven distances (D01), tilt or sideways shifts (D03).
        """
        column, row, normal = self._axes()
        along = self.positions @ normal
        order = sorted(
            range(len(along)),
            key=lambda n: (round(float(along[n]) / _SAME_MM), self.ranks[n], self.names[n]),
        )
        order = self._without_duplicates(order, along, keep_first)
        step = self._step(order, along, normal)
        affine = np.eye(4)
        affine[:3, 0] = column * self.spacing_mm[1]
        affine[:3, 1] = row * self.spacing_mm[0]
        affine[:3, 2] = step
        affine[:3, 3] = self.positions[order[0]]
        return order, _LPS_TO_RAS @ affine

    def _axes(
        self,
    ) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"], Float[np.ndarray, " 3"]]:
        column, row = self.orientation[:3], self.orientation[3:]
        lengths = np.linalg.norm([column, row], axis=1)
        finite = np.isfinite(self.orientation).all()
        if not finite or abs(lengths - 1).max() > 1e-2 or abs(float(column @ row)) > 1e-2:
            what = "image orientation is not two perpendicular unit vectors"
            raise _refuse(what, f"{self.orientation.tolist()}", "N19")
        plausible = all(math.isfinite(mm) and 0.01 <= mm <= 100 for mm in self.spacing_mm)
        if not plausible or not np.isfinite(self.positions).all():
            what = "pixel spacing or position is not usable"
            raise _refuse(what, f"spacing {self.spacing_mm} mm", "N16")
        return column, row, np.cross(column, row)

    def _without_duplicates(
        self, order: list[int], along: Float[np.ndarray, " n"], keep_first: bool
    ) -> list[int]:
        steps = np.diff(along[order])
        doubles = [n for n, step in enumerate(steps) if step < 10 * _SAME_MM]
        if keep_first or not doubles:
            # Number n doubles its successor in `order`, which is the one that goes.
            return [n for rank, n in enumerate(order) if rank - 1 not in doubles]
        n = doubles[0]
        lines = [
            f"{self.names[order[n]]} and {self.names[order[n + 1]]} are both at "
            f"{along[order[n]]:g} mm along the slice axis"
        ]
        if 2 * len(doubles) >= len(order):
            lines.append(
                "most positions appear more than once: several acquisitions or phases in one series"
            )
        raise _refuse(
            f"{count(len(doubles), 'slice stands', 'slices stand')} where another one is",
            lines,
            "D02",
            "remove the copies, or keep the first of each with `keep_first=True`",
        )

    def _step(
        self, order: list[int], along: Float[np.ndarray, " n"], normal: Float[np.ndarray, " 3"]
    ) -> Float[np.ndarray, " 3"]:
        """The vector from slice to slice."""
        if len(order) == 1:
            if not self.thickness_mm or not 0.01 <= self.thickness_mm <= 100:
                raise _refuse(
                    "one slice without a usable thickness",
                    self.names[0],
                    "D08",
                    "add SliceThickness to its header",
                )
            return normal * self.thickness_mm
        self._check_gaps(along[order])
        sorted_positions = self.positions[order]
        step = (sorted_positions[-1] - sorted_positions[0]) / (len(order) - 1)
        tilt = math.degrees(math.acos(min(1.0, float(step @ normal) / float(np.linalg.norm(step)))))
        if tilt > _TILT_DEG:
            what = (
                f"slices are tilted by {tilt:.1f} degrees against their stacking direction (gantry "
                "tilt)"
            )
            fix = (
                "correct the shear with dcm2niix, which writes an extra file ending in _Tilt, and "
                "use that file"
            )
            raise _refuse(
                what, "measured from the positions of the slices, not from the tilt tag", "D03", fix
            )
        even = sorted_positions[0] + np.arange(len(order))[:, None] * step
        off = np.linalg.norm(sorted_positions - even, axis=1)
        if off.max() > 0.5 * min(*self.spacing_mm, float(np.linalg.norm(step))):
            worst = int(off.argmax())
            what = f"slice {worst} stands {off[worst]:.2f} mm beside the line of the others"
            raise _refuse(
                what, self.names[order[worst]], "D03", "export the series again from the archive"
            )
        result: Float[np.ndarray, " 3"] = step
        return result

    def _check_gaps(self, along: Float[np.ndarray, " n"]) -> None:
        """No step may be a multiple of the commonest one, and no position off an even spacing by
        more than rounding explains.
        """
        steps = np.diff(along)
        # The commonest distance, and the smaller of equally common ones: gaps are multiples, never
        # fractions.
        counted = Counter(np.round(steps, 2).tolist())
        usual = float(min(counted, key=lambda mm: (-counted[mm], mm)))
        n = int(steps.argmax())
        missing = round(steps[n] / usual) - 1
        if missing > 0 and abs(steps[n] / usual - missing - 1) < _WHOLE:
            n = int(np.flatnonzero(steps > (2 - _WHOLE) * usual)[0])
            raise self._gap(n, round(steps[n] / usual) - 1, steps, usual, along)
        even = np.linspace(along[0], along[-1], len(along))
        if abs(along - even).max() > max(_UNEVEN * usual, _ROUNDING_MM):
            what = (
                f"slice distances vary from {steps.min():g} to {steps.max():g} mm, the commonest "
                f"is {usual:g} mm"
            )
            raise _refuse(
                what,
                f"largest after slice {n} of {len(along)}",
                "D01",
                "resample the series evenly, for example with dcm2niix",
            )

    def _gap(
        self,
        n: int,
        missing: int,
        steps: Float[np.ndarray, " m"],
        usual: float,
        along: Float[np.ndarray, " n"],
    ) -> BadScan:
        absent = (
            f"slice {n + 1} absent" if missing == 1 else f"slices {n + 1} to {n + missing} absent"
        )
        what = (
            f"gap of {steps[n]:g} mm between z={along[n]:g} and z={along[n + 1]:g}, step is "
            f"{usual:g} mm; {absent}"
        )
        return _refuse(
            what,
            f"{len(along)} slices, z measured along the slice axis",
            "D01",
            "copy the missing slices from the archive",
        )


def _refuse(
    what: str,
    where: str | Sequence[str],
    code: str,
    fix: str = "export the series again from the archive",
) -> BadScan:
    return BadScan(what, where=where, did="the series was not read", fix=fix, code=code)
