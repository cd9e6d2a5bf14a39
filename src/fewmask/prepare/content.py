"""What scans and masks show, as opposed to what their headers say. Warnings stop nothing; a scan in
the place of a mask is refused.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from fewmask.core.errors import BadScan
from fewmask.core.volume import LabelMap, Plane, Volume
from fewmask.prepare.intensity import intensity_ends, looks_like_ct

_LOOK = 4096
_FEW_VALUES, _LARGEST_LABEL = 32, 255
"""What a label map holds at most that goes by the name of a scan. Scans hold hundreds of values,
and those of 8 bits, scaled to show something, more than 32.
"""


def scan_warnings(volume: Volume) -> list[str]:
    """N18 slices far apart or taken in another plane, N40 padding and metal."""
    warnings = _plane_warnings(volume)
    if looks_like_ct(volume):
        low, high = intensity_ends(volume)
        if low < -1500:
            warnings.append(
                f"N40: voxels at {low:g} HU look like padding outside the scanner's circle; the "
                "window clips them"
            )
        if high > 10000:
            warnings.append(f"N40: voxels up to {high:g} HU look like metal; the window clips them")
    return warnings


def label_values(volume: Volume) -> tuple[int, ...]:
    """The values of a file that is no scan but a label map: whole numbers from 0, few of them.
    Empty for anything else.
    """
    stored = volume.voxels
    if volume.slope != 1 or volume.inter != 0:
        return ()
    # Nearly every scan is told by a few thousand voxels.
    if np.unique(stored.ravel()[:: max(1, stored.size // _LOOK)]).size > _FEW_VALUES:
        return ()
    values = np.unique(stored)
    if values.size > _FEW_VALUES or values[0] != 0 or not (values == np.rint(values)).all():
        return ()
    return tuple(int(value) for value in values) if values[-1] <= _LARGEST_LABEL else ()


def refuse_grey(labels: LabelMap, where: str) -> None:
    """Raise `BadScan` (M21) for a label map that is a scan: it holds more values than a person
    draws structures, and they change from voxel to voxel, where structures go on.
    """
    voxels = labels.voxels
    if np.unique(voxels.ravel()[:: max(1, voxels.size // _LOOK)]).size <= _FEW_VALUES:
        return
    held = voxels[..., 1:] != 0
    goes_on = int((held & (voxels[..., 1:] == voxels[..., :-1])).sum())
    number = np.unique(voxels).size
    if 2 * goes_on < int(held.sum()):
        raise BadScan(
            f"a scan, not a label map: {number} values, which change from voxel to voxel",
            where=where,
            fix="give the file of its mask",
            code="M21",
        )


def stand_alone(outlined: Bool[np.ndarray, " d"]) -> bool:
    """Do most outlined slices have no outlined neighbour, and at least two? So few outlines are
    drawn; whole ones go on from slice to slice.
    """
    beside = np.zeros_like(outlined)
    beside[1:] |= outlined[:-1]
    beside[:-1] |= outlined[1:]
    alone = int((outlined & ~beside).sum())
    return alone >= 2 and 2 * alone > int(outlined.sum())


def drawn_across(label_map: LabelMap, several: bool = False) -> Plane | None:
    """The other plane in which single slices (`several`: more than one) seem to be outlined; None:
    nothing speaks for one.

    Across their own plane outlines stand alone, or are one slice; across any other they go on from
    slice to slice.
    """
    planes: tuple[Plane, ...] = ("axial", "sagittal", "coronal")
    outlined = {plane: np.asarray(label_map.in_plane(plane).voxels.any((1, 2))) for plane in planes}
    own = outlined.pop(label_map.grid.plane)
    if own.sum() < 3 or stand_alone(own):
        return None
    found = [
        plane
        for plane, slices in outlined.items()
        if stand_alone(slices) or (not several and slices.sum() == 1 and len(slices) > 1)
    ]
    return found[0] if len(found) == 1 else None


def taken_in(volume: Volume) -> Plane | None:
    """The plane that a scan was plainly taken in: its slices lie more than 2.5 times as far apart
    as the pixels of the plane; None where that is not plain.
    """
    d, h, w = volume.in_plane("axial").spacing_mm
    apart: dict[Plane, tuple[float, float]] = {
        "axial": (d, max(h, w)),
        "coronal": (h, max(d, w)),
        "sagittal": (w, max(d, h)),
    }
    return next((plane for plane, (far, near) in apart.items() if far > 2.5 * near), None)


def _plane_warnings(volume: Volume) -> list[str]:
    warnings = []
    d, h, w = volume.in_plane("axial").spacing_mm
    if max(h, w) > 1.5 * max(d, min(h, w)) and volume.grid.plane == "axial":
        plane = "coronal" if h > w else "sagittal"
        shown = f"voxels of {d:g} x {h:g} x {w:g} mm, head-feet first"
        warnings.append(
            f"N18: a {plane} scan? ({shown}) Outlines and tags are taken as axial; if they are "
            f"{plane}, say `plane={plane}`"
        )
    d, h, w = volume.spacing_mm
    if d / min(h, w) > 10:
        warnings.append(
            f"N18: slices are {d:g} mm apart, pixels {min(h, w):g} mm: only slice-wise methods "
            "will do"
        )
    return warnings


def mask_warnings(
    intensities: Float[np.ndarray, "d h w"], labels: UInt8[np.ndarray, "d h w"], ct: bool
) -> list[str]:
    """M04 mask mostly outside the body, M11 mask full of one label, M13 single voxels."""
    inside = labels > 0
    count = int(inside.sum())
    if not count:
        return []
    warnings = []
    if count > 0.95 * labels.size:
        warnings.append("M11: the mask covers the whole scan")
    body = intensities > (-300 if ct else float(np.percentile(intensities, 50)) * 0.5)
    overlap = float((body & inside).sum()) / count
    if overlap < 0.5:
        warnings.append(
            f"M04: only {overlap:.0%} of the mask lies on the body: is it flipped or of "
            "another scan?"
        )
    _, pieces = ndimage.label(inside)
    if count == 1 or (pieces > 50 and count / pieces < 10):
        warnings.append(f"M13: the mask is {count} voxels in {pieces} pieces: stray clicks?")
    return warnings
