"""The literature's HDF5 files and this package's folders: for people who come from, or go to, the
papers' own pipelines.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from fewmask.core.budget import Split
from fewmask.core.errors import BadConfig, BadDataset
from fewmask.core.names import check_name
from fewmask.core.placement import Placement
from fewmask.core.recipe import RECIPES
from fewmask.core.volume import LabelMap, Volume
from fewmask.io.atomic import is_part, make_folder
from fewmask.io.image import case_id_of
from fewmask.io.nifti import write_labels, write_volume
from fewmask.io.outputs import check_file, check_folder
from fewmask.io.prepared import Prepared, write_split
from fewmask.io.samix import export_samix, read_samix
from fewmask.io.ssl4mis import LEFT_ATRIUM, LEFT_ATRIUM_MM, Order, find_volumes, read_h5_volume

_PAPER = RECIPES["sam-mix-paper"]


@dataclass(frozen=True)
class Imported:
    """What came out of a file."""

    case: str
    slices: int
    notes: tuple[str, ...]


def import_samix(path: Path, out: Path, spacing_mm: tuple[float, float, float] | None) -> Imported:
    """Write a SAM-Mix file as `out/images/NAME.nii.gz` and `out/labels/NAME.nii.gz`; all its slices
    become one case.

    The format holds neither patients nor pixel sizes nor directions: `spacing_mm` (w, h, d) must be
    said, slices are stacked in the order of their numbers, rows are taken to run front to back.
    Raises `BadConfig` without `spacing_mm` or when `out` holds that case already, and `BadDataset`
    for a bad file.
    """
    affine = _affine(spacing_mm, path)
    case = case_id_of(path.with_suffix(".nii"))
    check_name(case, "a case", str(path))
    targets = {part: out / part / f"{case}.nii.gz" for part in ("images", "labels")}
    for target in targets.values():
        check_file(target, [path])
    found = read_samix(path)
    for target in targets.values():
        make_folder(target.parent)
    write_volume(
        targets["images"], Volume.from_file_order(found.images.transpose(2, 1, 0).copy(), affine)
    )
    write_labels(
        targets["labels"], LabelMap.from_file_order(found.masks.transpose(2, 1, 0).copy(), affine)
    )
    notes = (
        "slices of unknown patients are one case now: no split by patient can be made of them",
    )
    return Imported(
        case, len(found.numbers), (*notes, *(problem.what for problem in found.problems))
    )


def _affine(spacing_mm: tuple[float, float, float] | None, where: Path) -> Float[np.ndarray, "4 4"]:
    """File order (w, h, d): towards left, back, head. Raises `BadConfig` if nobody said the voxel
    sizes.
    """
    if spacing_mm is None or min(spacing_mm) <= 0:
        raise BadConfig(
            "HDF5 files of the literature hold no voxel sizes",
            where=str(where),
            did="nothing was written",
            fix=(
                "say them: `spacing_mm=(0.8,0.8,5)`, or `spacing_mm=(1,1,1)` to count distances in "
                "voxels"
            ),
            code="C02",
        )
    w, h, d = spacing_mm
    return np.diag([-w, -h, d, 1.0])


def import_volumes(
    folder: Path,
    out: Path,
    spacing_mm: tuple[float, float, float] | None,
    order: Order | None = None,
) -> list[str]:
    """Write a folder of HDF5 volumes (left atrium, SSL4MIS) as `out/images` and `out/labels`;
    returns the case ids.

    The files hold neither voxel sizes nor names of their axes: `spacing_mm` (w, h, d) and `order`
    must be said, except for `mri_norm2.h5`, which is 0.625 mm and `whd`. Lists become
    `out/split.toml`, in their order. Raises `BadConfig` without them or if `out` holds files,
    `BadDataset` for a bad file.
    """
    found = find_volumes(folder)
    if all(path.name == LEFT_ATRIUM for path in found.files.values()):
        spacing_mm, order = spacing_mm or (LEFT_ATRIUM_MM,) * 3, order or "whd"
    affine = _affine(spacing_mm, folder)
    if order is None:
        raise BadConfig(
            "HDF5 volumes do not say which of their axes are the slices",
            where=str(folder),
            did="nothing was written",
            fix=(
                "say it: `order=dhw` for slices first (ACDC of SSL4MIS), `order=whd` for slices "
                "last"
            ),
            code="C02",
        )
    check_folder(out, [folder], owns=is_part)
    for part in ("images", "labels"):
        make_folder(out / part)
    for case, path in found.files.items():
        image, label = read_h5_volume(path, order)
        write_volume(out / "images" / f"{case}.nii.gz", Volume.from_file_order(image, affine))
        write_labels(out / "labels" / f"{case}.nii.gz", LabelMap.from_file_order(label, affine))
    if found.lists:
        write_split(
            out / "split.toml",
            Split(*(tuple(found.lists.get(part, ())) for part in ("train", "val", "test"))),
        )
    return list(found.files)


def export_prepared(prepared: Prepared, out: Path, cases: list[str]) -> int:
    """Write every reviewed slice of `cases` as the paper's preprocessing leaves it (256 x 256);
    returns how many.

    Masks hold class indices of the prepared dataset. The export reads masks: it is for other
    programs, not for training here. Raises `BadDataset` if no slice of these cases is reviewed.
    """
    check_file(out, prepared.inputs)
    make_folder(out.parent)
    return export_samix(out, (pair for case in cases for pair in _slices(prepared, case)))


def _slices(
    prepared: Prepared, case: str
) -> Iterator[tuple[Float[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]]:
    slices = sorted(prepared.reviewed[case])
    if not slices:
        return
    row = prepared.cases[case]
    placement = Placement.of(row.shape, row.spacing_mm, _PAPER)
    with prepared.case(case) as file:
        for d in slices:
            # Outside the scan lies the window's floor, not 0 HU; a stretched slice has no outside,
            # so nothing is added.
            yield (
                placement.place(file.intensities([d]))[0],
                placement.place_mask(file.labels([d]))[0],
            )


def cases_of(prepared: Prepared, part: str) -> list[str]:
    """Case ids of `train`, `val` or `test`. Raises `BadDataset` for an empty part."""
    cases = list(getattr(prepared.split, part))
    if not cases:
        raise BadDataset(
            f"the split has no {part} cases",
            where=str(prepared.folder),
            did="nothing was written",
            fix="name cases for this part in split.toml",
            code="S04",
        )
    return cases
