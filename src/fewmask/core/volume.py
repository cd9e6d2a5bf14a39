"""Scans and label maps: voxels in (d, h, w) together with the grid of the file they came from.

d runs inferior to superior, h anterior to posterior, w right to left (patient), whatever the order
in the file; of scans outlined in another plane, d runs across that plane (`Plane`). The world is
RAS millimetres, as in NIfTI. `Grid` is the file's own array, so that a mask can be written back
exactly onto it.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import EllipsisType
from typing import Any, Literal, TypeVar

import numpy as np
from jaxtyping import Float, Integer, Shaped
from nibabel.nifti1 import Nifti1Image

from fewmask.core.errors import BadScan

Plane = Literal["axial", "sagittal", "coronal"]
"""Which slices of a scan are looked at: d leads across them."""

# World axis (0 R, 1 A, 2 S) and sign that d, h and w follow. Axial: superior, posterior, left;
# sagittal: left, inferior, posterior; coronal: posterior, inferior, left.
_CANONICAL = {
    "axial": ((2, 1), (1, -1), (0, -1)),
    "sagittal": ((0, -1), (2, -1), (1, -1)),
    "coronal": ((1, -1), (2, -1), (0, -1)),
}
_TOWARDS = (("S", "I"), ("P", "A"), ("L", "R"))
"""Where d, h and w lead, and where they lead turned round."""


@dataclass(frozen=True, eq=False)
class Grid:
    """The scanner's grid as the file has it: `affine` maps voxel (i, j, k, 1) to RAS mm."""

    shape: tuple[int, int, int]
    affine: Float[np.ndarray, "4 4"]
    plane: Plane = "axial"
    """What (d, h, w) means for this array."""

    def __post_init__(self) -> None:
        """Refuse what no scan can have: an empty axis, a non-finite or singular affine."""
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise BadScan(
                f"grid of shape {self.shape}: three axes of at least one voxel are needed",
                fix="give a scan of three axes",
                code="N12",
            )
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all():
            raise BadScan(
                "affine is not a finite 4 x 4 matrix", fix="export the image again", code="N19"
            )
        if (
            not np.array_equal(self.affine[3], (0, 0, 0, 1))
            or abs(np.linalg.det(self.affine[:3, :3])) < 1e-12
        ):
            raise BadScan(
                "affine is singular or has a last row other than 0 0 0 1",
                fix="export the image again",
                code="N19",
            )

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along i, j, k in mm."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @cached_property
    def corners_mm(self) -> Float[np.ndarray, "8 3"]:
        """World positions of the eight corner voxels' centres."""
        index = np.array([[*corner, 1] for corner in itertools.product((0, 1), repeat=3)], float)
        index[:, :3] *= np.array(self.shape, float) - 1
        result: Float[np.ndarray, "8 3"] = (index @ self.affine.T)[:, :3]
        return result

    def distance_voxels(self, other: "Grid") -> float:
        """Largest distance between corresponding corners, in units of this grid's smallest voxel
        side.
        """
        return float(np.abs(self.corners_mm - other.corners_mm).max() / min(self.spacing_mm))

    @cached_property
    def orientation(self) -> "Orientation":
        """How to bring this grid to (d, h, w)."""
        return Orientation.of(self.affine, self.plane)

    @property
    def axis_codes(self) -> str:
        """Where the file's axes i, j, k lead, such as `LPS`: left, posterior, superior."""
        codes = [""] * 3
        axial = Orientation.of(self.affine)
        turns = zip(axial.axes, axial.flips, _TOWARDS, strict=True)
        for axis, flip, (straight, back) in turns:
            codes[axis] = back if flip else straight
        return "".join(codes)

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON; `from_dict` is its exact inverse."""
        record: dict[str, object] = {"shape": list(self.shape), "affine": self.affine.tolist()}
        return record if self.plane == "axial" else {**record, "plane": self.plane}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Grid":
        """Rebuild from `as_dict`."""
        i, j, k = (int(n) for n in record["shape"])
        plane = record.get("plane", "axial")
        return cls((i, j, k), np.array(record["affine"], float), plane)


@dataclass(frozen=True)
class Orientation:
    """Which file axis becomes d, h and w, and which of them run backwards; only permutes and flips,
    so exactly invertible.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @classmethod
    def of(cls, affine: Float[np.ndarray, "4 4"], plane: Plane = "axial") -> "Orientation":
        """Assign file axes to world axes so that the summed cosines are largest; the slice axis is
        the one nearest to the direction across the plane (axial: superior).
        """
        canonical = _CANONICAL[plane]
        across, down, along = (world for world, _ in canonical)
        cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
        slice_axis = int(np.abs(cosines[across]).argmax())
        first, second = (axis for axis in range(3) if axis != slice_axis)
        straight = abs(cosines[down, first]) + abs(cosines[along, second])
        crossed = abs(cosines[down, second]) + abs(cosines[along, first])
        axes = (slice_axis, first, second) if straight > crossed else (slice_axis, second, first)
        flips = tuple(
            bool(cosines[world, axis] * sign < 0)
            for axis, (world, sign) in zip(axes, canonical, strict=True)
        )
        return cls(axes, flips)  # type: ignore[arg-type]

    def apply(self, array: Shaped[np.ndarray, "*more i j k"]) -> Shaped[np.ndarray, "*more d h w"]:
        """File order to (d, h, w); a view. Axes before the last three (classes) stay first."""
        more = array.ndim - 3
        turned = array.transpose(*range(more), *(more + axis for axis in self.axes))
        return turned[self._turns]

    def undo(self, array: Shaped[np.ndarray, "*more d h w"]) -> Shaped[np.ndarray, "*more i j k"]:
        """(d, h, w) to file order; a view, the exact inverse of `apply`."""
        more = array.ndim - 3
        back = (more + int(axis) for axis in np.argsort(self.axes))
        return array[self._turns].transpose(*range(more), *back)

    @property
    def _turns(self) -> tuple[EllipsisType | slice, ...]:
        """Indexes the last three axes, (d, h, w), so that flipped ones run the other way."""
        return (..., *(slice(None, None, -1 if flip else 1) for flip in self.flips))

    def slice_index(self, file_index: int, depth: int) -> int:
        """A slice number counted along the file's slice axis, as d (its own inverse)."""
        return depth - 1 - file_index if self.flips[0] else file_index


_Held = TypeVar("_Held", bound="_OnGrid")


@dataclass(frozen=True, eq=False)
class _OnGrid:
    """What scans and label maps share: voxels in (d, h, w) and the file's grid."""

    voxels: Shaped[np.ndarray, "d h w"]
    grid: Grid

    def __post_init__(self) -> None:
        """Check that the voxels are the grid's voxels, re-ordered."""
        wanted = tuple(self.grid.shape[axis] for axis in self.grid.orientation.axes)
        if self.voxels.shape != wanted:
            raise BadScan(
                f"voxels are {self.voxels.shape} in (d, h, w), but the grid gives {wanted}",
                fix="give voxels and grid of one scan",
                code="M01",
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(d, h, w)."""
        d, h, w = self.voxels.shape
        return d, h, w

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along d, h, w in mm."""
        d, h, w = (self.grid.spacing_mm[axis] for axis in self.grid.orientation.axes)
        return d, h, w

    @cached_property
    def affine(self) -> Float[np.ndarray, "4 4"]:
        """Maps voxel (d, h, w, 1) to RAS mm."""
        turn = np.zeros((4, 4))
        turn[3, 3] = 1
        for row, (axis, flip) in enumerate(
            zip(self.grid.orientation.axes, self.grid.orientation.flips, strict=True)
        ):
            turn[axis, row] = -1 if flip else 1
            turn[axis, 3] = self.grid.shape[axis] - 1 if flip else 0
        return self.grid.affine @ turn

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.grid.affine[:3, :3])) / 1000)

    def to_file_order(self) -> Shaped[np.ndarray, "i j k"]:
        """The voxels as they are stored, in the file's own axis order (i, j, k); a view."""
        return self.grid.orientation.undo(self.voxels)

    def in_plane(self: _Held, plane: Plane) -> _Held:
        """The same voxels with (d, h, w) as this plane has it; the file's order stays."""
        if plane == self.grid.plane:
            return self
        grid = replace(self.grid, plane=plane)
        return replace(self, voxels=grid.orientation.apply(self.to_file_order()), grid=grid)

    def _describe(self, *more: str) -> str:
        """`LabelMap(shape: (8, 32, 32); ...)`, without a single voxel."""
        spacing = ", ".join(f"{side:.2f}" for side in self.spacing_mm)
        parts = [
            f"shape: {self.shape} (d, h, w)",
            f"spacing: ({spacing}) mm",
            f"file: {self.grid.shape} {self.grid.axis_codes}",
            *more,
        ]
        return f"{type(self).__name__}({'; '.join(parts)})"


BURNED_IN = "warning: text is burned into the pixels (BurnedInAnnotation) and may identify a person"
"""The note of scans that no picture is shown of."""


@dataclass(frozen=True, eq=False)
class Volume(_OnGrid):
    """A scan: stored voxels, with intensity = voxel * slope + inter (HU for CT)."""

    voxels: Shaped[np.ndarray, "d h w"]
    grid: Grid
    slope: float = 1.0
    inter: float = 0.0
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Check grid, dtype and scaling."""
        super().__post_init__()
        if self.voxels.dtype.kind not in "iuf":
            raise BadScan(
                f"voxel type {self.voxels.dtype} is not a grey value",
                fix="convert it to grey values",
                code="N27",
            )
        if not (math.isfinite(self.slope) and math.isfinite(self.inter) and self.slope != 0):
            raise BadScan(
                f"scaling slope {self.slope}, inter {self.inter} cannot be applied",
                fix="export the image again with finite scaling",
                code="N37",
            )

    @classmethod
    def from_file_order(
        cls,
        array: Shaped[np.ndarray, "i j k"],
        affine: Float[np.ndarray, "4 4"],
        slope: float = 1.0,
        inter: float = 0.0,
        notes: tuple[str, ...] = (),
    ) -> "Volume":
        """From an array in the file's own axis order."""
        i, j, k = array.shape
        grid = Grid((i, j, k), np.asarray(affine, float))
        return cls(grid.orientation.apply(array), grid, slope, inter, notes)

    def __repr__(self) -> str:
        """Shape, spacing, orientation, type and scaling."""
        scaling = (
            () if (self.slope, self.inter) == (1, 0) else (f"x {self.slope:g} + {self.inter:g}",)
        )
        return self._describe(f"dtype: {self.voxels.dtype}", *scaling)

    def intensities(self, slices: slice | list[int] = slice(None)) -> Float[np.ndarray, "n h w"]:
        """Intensities of the chosen slices as float32."""
        return scale_voxels(self.voxels[slices], self.slope, self.inter)


@dataclass(frozen=True, eq=False)
class LabelMap(_OnGrid):
    """Integer labels per voxel, 0 = background (or unknown, see `reviewed.csv`)."""

    voxels: Integer[np.ndarray, "d h w"]
    grid: Grid
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Check grid and that labels are whole, non-negative numbers."""
        super().__post_init__()
        if self.voxels.dtype.kind not in "iu":
            raise BadScan(
                f"labels of type {self.voxels.dtype}: whole numbers are needed",
                fix="save the labels as whole numbers",
                code="M06",
            )
        if self.voxels.size and self.voxels.dtype.kind == "i" and int(self.voxels.min()) < 0:
            raise BadScan(
                f"negative label {int(self.voxels.min())}",
                fix="give every structure a positive number",
                code="M08",
            )

    @classmethod
    def from_file_order(
        cls, array: Integer[np.ndarray, "i j k"], affine: Float[np.ndarray, "4 4"]
    ) -> "LabelMap":
        """From an array in the file's own axis order."""
        i, j, k = array.shape
        grid = Grid((i, j, k), np.asarray(affine, float))
        return cls(grid.orientation.apply(array), grid)

    def __repr__(self) -> str:
        """Shape, spacing, orientation, and voxels per label."""
        values, counts = np.unique(self.voxels, return_counts=True)
        labels = [f"{v}: {n}" for v, n in zip(values, counts, strict=True) if v]
        shown = ", ".join(labels[:8]) + (" ..." if len(labels) > 8 else "")
        return self._describe(f"voxels per label: {shown}" if labels else "empty")

    def to_nibabel(self) -> Nifti1Image:
        """A NIfTI image in the file's own axis order, under its affine (mm), in the smallest
        unsigned type.
        """
        stored = self.to_file_order()
        image = Nifti1Image(stored.astype(np.min_scalar_type(int(stored.max()))), self.grid.affine)
        image.header.set_xyzt_units("mm")
        return image

    def outlined_slices(self) -> list[int]:
        """d of every slice with at least one labelled voxel."""
        return [int(d) for d in np.flatnonzero(self.voxels.any(axis=(1, 2)))]


def scale_voxels(
    voxels: Shaped[np.ndarray, "*any"], slope: float, inter: float
) -> Float[np.ndarray, "*any"]:
    """Stored voxels to intensities: float32, computed without a float64 copy."""
    out = voxels.astype(np.float32)
    if slope != 1.0:
        out *= np.float32(slope)
    if inter != 0.0:
        out += np.float32(inter)
    return out
