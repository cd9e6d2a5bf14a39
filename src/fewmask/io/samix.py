"""SAM-Mix's own HDF5 files, both ways: groups `Slice{i}` with `Slice`, `Segmentation` and the
attribute `ImageLabel`.

The paper's script windows CT to [-160, 240] HU, resizes to 256 x 256, casts to float16 and only
then maps -3055..5811 to 0..1 (specs/sam-mix-ada-sam.md, 1.7). float16 has no 8866: the script
divides by 8864, and so do both directions here. About 186 grey levels survive, so an image read
back is within 2.5 HU of the original.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float16, Float32, Int64, Num, UInt8

from fewmask.core.errors import BadDataset, FewmaskError
from fewmask.io.apart import survive
from fewmask.io.hdf5 import open_guarded
from fewmask.io.hdf5write import writing_hdf5

WINDOW_HU = (-160.0, 240.0)
_LOW = np.float16(3055)
_SPAN = np.float16(5811 + 3055)
_MAX_SIDE = 4096
_FIX = "write the file again, or leave it out"


@dataclass(frozen=True, eq=False)
class SamMixFile:
    """The usable slices of one file, in order of their numbers. Patients are unknown: slice-level
    use only.
    """

    numbers: tuple[int, ...]
    """i of `Slice{i}`."""
    images: Float32[np.ndarray, "n h w"]
    """HU (window -160..240), to 2.5 HU."""
    masks: UInt8[np.ndarray, "n h w"]
    """Label values as stored: 0 background, 1 liver, 2 tumour in the paper's files."""
    image_labels: Int64[np.ndarray, " n"]
    """1 if the structure is in the slice before it was resized, else 0, -1 where the file does not
    say.
    """
    problems: tuple[FewmaskError, ...] = ()
    """What is wrong, by slice (H05)."""


def export_samix(
    path: Path, slices: Iterable[tuple[Num[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]]
) -> int:
    """Write slices (image in HU, mask) as the paper's preprocessing leaves them, numbered from 0;
    returns how many.

    Resizing to 256 x 256 is the caller's; the window is applied here. No slice raises `BadDataset`;
    the write is atomic.
    """
    count = 0
    with writing_hdf5(path) as file:
        for count, (image, mask) in enumerate(slices, start=1):
            if image.shape != mask.shape:
                raise BadDataset(
                    f"slice {count - 1}: image is {image.shape}, mask {mask.shape}",
                    where=path.name,
                    fix="give image and mask of one slice",
                    code="M01",
                )
            group = file.create_group(f"Slice{count - 1}")
            grey = _normalise(image)
            group.create_dataset("Slice", data=grey, fletcher32=True, chunks=image.shape)
            group.create_dataset("Segmentation", data=mask, fletcher32=True, chunks=mask.shape)
            group.attrs["ImageLabel"] = np.int64(mask.any())
        if not count:
            raise BadDataset(
                "no slice to export",
                where=path.name,
                did="nothing was written",
                fix="choose scans that have outlined slices",
            )
    return count


def read_samix(path: Path) -> SamMixFile:
    """Read a file of the paper's script or of `export_samix`.

    `problems` lists by slice (H05): missing numbers, missing parts, `ImageLabel` missing or at odds
    with the mask, shapes that differ, values that are not normalised; only slices whose image and
    mask are usable are in the arrays. Raises `BadDataset` if the file itself is refused (H01-H04,
    see `open_guarded`) or no slice is left.
    """
    survive(parse_samix, path, fix=_FIX)
    return parse_samix(path)


def parse_samix(path: Path) -> SamMixFile:
    """`read_samix` in one process, which a damaged file may end."""
    images: list[Float32[np.ndarray, "h w"]] = []
    masks: list[UInt8[np.ndarray, "h w"]] = []
    labels: list[int] = []
    numbers: list[int] = []
    problems: list[FewmaskError] = []
    with open_guarded(path, fix=_FIX) as file:
        groups = _groups(file)
        problems += _missing(path, groups)
        for number in sorted(groups):
            try:
                image, mask = _read_slice(path, groups[number], images[0].shape if images else None)
            except BadDataset as problem:
                problems.append(problem)
                continue
            label = _image_label(groups[number])
            problems += _disagreement(path, groups[number], label, mask)
            numbers.append(number)
            images.append(image)
            masks.append(mask)
            labels.append(label)
    if not images:
        raise BadDataset(
            "no usable slice in the SAM-Mix file",
            where=[path.name, *(problem.what for problem in problems[:10])],
            did="nothing was imported",
            fix="groups named Slice0, Slice1, ... with Slice and Segmentation are needed",
            code="H05",
        )
    return SamMixFile(
        tuple(numbers),
        np.stack(images),
        np.stack(masks),
        np.array(labels, np.int64),
        tuple(problems),
    )


def _normalise(image: Num[np.ndarray, "h w"]) -> Float16[np.ndarray, "h w"]:
    """Exactly as the script does it: cast to float16 first, then shift and divide in float16."""
    if not np.isfinite(image).all():
        raise BadDataset(
            "image holds values that are not finite", fix="export the image again", code="N31"
        )
    windowed = np.clip(image, *WINDOW_HU).astype(np.float16)
    result: Float16[np.ndarray, "h w"] = ((windowed + _LOW) / _SPAN).astype(np.float16)
    return result


def _groups(file: h5py.File) -> dict[int, h5py.Group]:
    groups: dict[int, h5py.Group] = {}
    for key in file:
        name = re.fullmatch(r"Slice(\d{1,6})", key)
        if name and isinstance(file[key], h5py.Group):
            groups[int(name[1])] = file[key]
    return groups


def _missing(path: Path, groups: dict[int, h5py.Group]) -> list[FewmaskError]:
    """Numbers absent between the first (0 or 1) and the last one."""
    absent = [n for n in range(0 if 0 in groups else 1, max(groups, default=0)) if n not in groups]
    return [_problem(path, f"Slice{n}", "missing", "the other slices were read") for n in absent]


def _read_slice(
    path: Path, group: h5py.Group, shape: tuple[int, ...] | None
) -> tuple[Float32[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]:
    name = group.name.strip("/")
    parts = [group.get(part) for part in ("Slice", "Segmentation")]
    for part, dataset in zip(("Slice", "Segmentation"), parts, strict=True):
        if not isinstance(dataset, h5py.Dataset):
            raise _problem(path, name, f"{part} is missing")
        usable = dataset.ndim == 2 and 0 < max(dataset.shape) <= _MAX_SIDE
        if not usable or dataset.shape != (shape or parts[0].shape):
            what = f"{part} has shape {dataset.shape}, not that of the other slices"
            raise _problem(path, name, what)
    try:
        image, mask = (dataset[()] for dataset in parts)
    except OSError as error:
        what = f"is damaged ({type(error).__name__}: checksum or filter)"
        raise _problem(path, name, what, code="H02") from error
    grey = image.dtype.kind == "f" and np.isfinite(image).all()
    if not grey or image.min() < 0 or image.max() > 1:
        raise _problem(path, name, "image is not normalised to 0..1")
    whole = np.rint(mask)
    exact = mask.dtype.kind in "iuf" and np.array_equal(whole, mask)
    if not exact or whole.min() < 0 or whole.max() > 255:
        raise _problem(path, name, "mask values are not whole numbers from 0 to 255", code="M06")
    return image.astype(np.float32) * np.float32(_SPAN) - np.float32(_LOW), whole.astype(np.uint8)


def _image_label(group: h5py.Group) -> int:
    """The attribute, on the group or on one of its two datasets; -1 if it is nowhere or no single 0
    or 1.
    """
    for item in (group, group["Slice"], group["Segmentation"]):
        if "ImageLabel" in item.attrs:
            value = np.asarray(item.attrs["ImageLabel"])
            single = value.size == 1 and value.dtype.kind in "iufb"
            return int(value.item()) if single and value.item() in (0, 1) else -1
    return -1


def _disagreement(
    path: Path, group: h5py.Group, label: int, mask: UInt8[np.ndarray, "h w"]
) -> list[FewmaskError]:
    name, filled = group.name.strip("/"), bool(mask.any())
    if label < 0:
        what = "ImageLabel is missing or neither 0 nor 1"
        return [_problem(path, name, what, "it was read as unknown")]
    if label == filled:
        return []
    # A structure of a few pixels may vanish when the mask is resized; the script took its label
    # before that (M13).
    what = f"ImageLabel is {label}, but the mask is {'not empty' if filled else 'empty'}"
    return [_problem(path, name, what, "both were read as they are")]


def _problem(
    path: Path, name: str, what: str, did: str = "the slice was skipped", code: str = "H05"
) -> BadDataset:
    return BadDataset(f"{name}: {what}", where=path.name, did=did, fix=_FIX, code=code)
