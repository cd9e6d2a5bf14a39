"""The one door to image files: whatever format a file has, scans and labels come out of here.

NIfTI, NRRD (with `.seg.nrrd`) and MetaImage are known by their endings, DICOM by content. What only
one format has stays in its own file.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Integer, Shaped

from fewmask.core.errors import BadConfig, BadScan, FewmaskError
from fewmask.core.volume import Grid, LabelMap, Volume
from fewmask.io import nifti
from fewmask.io.atomic import writing
from fewmask.io.back import check_back
from fewmask.io.dicommask import is_dicom_mask, open_mask, read_dicom_mask
from fewmask.io.dicomout import is_dicom_prediction
from fewmask.io.header import AS_IS, ReadOptions
from fewmask.io.mark import MAKER, is_mark, mark_of
from fewmask.io.metaimage import metaimage_pieces, read_metaimage
from fewmask.io.nrrd import nrrd_pieces, read_nrrd
from fewmask.io.raster import Raster, check_raster, pick, read_numbers, split
from fewmask.io.segments import Segment, merge, merge_layers, names_of, slicer_segments
from fewmask.io.stream import about
from fewmask.io.voxels import as_labels, as_volume
from fewmask.version import __version__

_Parser = Callable[[Path, ReadOptions, bool], Raster]
"""From a path to its checked header; True: all volumes are wanted, so none has to be chosen."""


_PARSERS: dict[str, _Parser] = {
    ".nrrd": read_nrrd,
    ".nhdr": read_nrrd,
    ".mha": read_metaimage,
    ".mhd": read_metaimage,
}
"""Formats with a text header, by ending."""
ENDINGS = (".nii", ".nii.gz", ".hdr", ".hdr.gz", *_PARSERS)
"""What names of image files end in."""
_OWN = (*ENDINGS, ".img", ".img.gz", ".part")
EXTENSION = re.compile(
    r"(\.(nii|hdr|img)(\.gz)?|(\.seg)?\.nrrd|\.nhdr|\.mha|\.mhd|(\.(seg|rtstruct))?\.dcm)$",
    re.IGNORECASE,
)
"""The part of a file name that is no part of the case."""


def is_image(path: Path) -> bool:
    """Does the name end as an image of one file does? Hidden files do not count."""
    return path.name.lower().endswith(ENDINGS) and not path.name.startswith(".")


def is_dicom_path(path: Path) -> bool:
    """A folder, or a file that no format of ours ends like and that is a DICOM SEG or RTSTRUCT."""
    return path.is_dir() or (not path.name.lower().endswith(_OWN) and is_dicom_mask(path))


def case_id_of(path: Path) -> str:
    """File name without its image ending, without one trailing `_0000` (nnU-Net's first channel)
    and without blanks around the rest, which tables of cases would lose.
    """
    stem = EXTENSION.sub("", path.name) or path.name
    return (stem.removesuffix("_0000") or stem).strip() or stem


def files_of(path: Path) -> list[Path]:
    """The files that an image is stored in: one, or header and voxels. Raises `BadScan` if one of
    them is missing.
    """
    if path.is_dir():
        return sorted(inner for inner in path.rglob("*") if inner.is_file())
    parser = _parser(path)
    if parser is None:
        return [path] if is_dicom_path(path) else nifti.files_of(path)
    return list(dict.fromkeys([path, parser(path, _ANY, True).data]))


def read_grid(path: Path, options: ReadOptions = AS_IS) -> Grid:
    """Shape and affine of a file, from its header alone. Raises as `read_volume`, for what a header
    can show.
    """
    parser = _parser(path)
    if parser is None:
        return nifti.read_grid(path, options)
    raster = parser(path, options, True)
    if not slicer_segments(raster.texts, raster.header.volumes):  # whose volumes are layers
        raster = parser(path, options, False)
    check_raster(raster)
    with about(path):
        return Grid(raster.header.shape, raster.header.affine)


def read_volume(path: Path, options: ReadOptions = AS_IS) -> Volume:
    """A scan with its stored voxels (float64 becomes float32, 64-bit integers 32-bit), slope,
    intercept and notes. Raises as `nifti.read_volume`, whatever the format.
    """
    parser = _parser(path)
    if parser is None:
        return nifti.read_volume(path, options)
    raster = parser(path, options, False)
    with about(path):
        if slicer_segments(raster.texts, raster.header.volumes):
            raise BadScan(
                "this is a segmentation, not a scan",
                fix="put it into labels/, and the scan into images/",
                code="M15",
            )
        return as_volume(raster.header, _chosen(raster), options)


def read_labels(
    path: Path,
    options: ReadOptions = AS_IS,
    *,
    wanted: Mapping[int, str] | None = None,
    grid: Grid | None = None,
) -> LabelMap:
    """A label map as uint8, or uint16 or uint32 where labels need it.

    Segments that overlap and masks with one 0/1 volume per structure become one number per voxel;
    `wanted` says which class the numbers that are asked for are part of: these win over others
    (None: every number is a class). `grid` is the scan's, which DICOM masks of a smaller extent and
    contours are laid on. A label map of one volume belongs to every volume of its scan.
    Raises as `nifti.read_labels`, and `BadScan` (M17) where two classes share voxels.
    """
    if is_dicom_path(path):
        return read_dicom_mask(path, grid, wanted)
    parser = _parser(path)
    raster = _open(path, parser, options)
    header = raster.header
    with about(path):
        segments = slicer_segments(raster.texts, header.volumes)
        if segments:
            layers = split(read_numbers(raster), header, raster.together)
            return as_labels(header, merge_layers(layers, segments, wanted))
        if header.volumes > 1 and options.volume is None:
            return _one_hot(raster, wanted)
    if parser is None:
        return nifti.read_labels(path, options)
    with about(path):
        return as_labels(header, _chosen(raster))


def read_names(path: Path) -> dict[str, int]:
    """What a label file calls its values; empty for formats without names."""
    return names_of(read_segments(path))


def read_segments(path: Path) -> tuple[Segment, ...]:
    """Names, values and colours that a label file holds; empty for formats without."""
    if is_dicom_path(path):
        return () if path.is_dir() else open_mask(path).segments
    parser = _parser(path)
    if parser is None:
        return ()
    raster = parser(path, _ANY, True)
    with about(path):
        return slicer_segments(raster.texts, raster.header.volumes)


def is_prediction(path: Path) -> bool:
    """Did `write_labels` store these very voxels as what a model drew?

    Editors keep the header of a mask that a person corrects, so the voxels must fit it. False for a
    file that cannot be read.
    """
    parser = _parser(path)
    if path.suffix.lower() == ".dcm":
        return is_dicom_prediction(path)
    if parser is None:
        return nifti.is_prediction(path)
    try:
        raster = parser(path, AS_IS, False)
        text = raster.texts.get("fewmask", raster.texts.get("Comment", ""))
        return bool(text) and is_mark(text, _chosen(raster))
    except FewmaskError:
        return False


def write_labels(
    path: Path,
    label_map: LabelMap,
    *,
    predicted: bool = False,
    segments: Sequence[Segment] = (),
) -> None:
    """Write a label map on its own grid, atomically, and read it back; no source header is copied.

    The ending says the format: `.nii`, `.nii.gz`, `.nrrd`, `.seg.nrrd` (names and colours of
    `segments`), `.mha`. `predicted`: a model drew it and can draw it again, see `is_prediction`.
    Raises `BadConfig` (N45) for another ending.
    """
    if _parser(path) is None:
        nifti.write_labels(path, label_map, predicted=predicted)
        return
    array = label_map.to_file_order()
    array = array.astype(np.min_scalar_type(int(array.max())))

    def verify(temp: Path) -> None:
        # The temporary name has another ending.
        raster = _PARSERS[path.suffix.lower()](temp, AS_IS, False)
        header = raster.header
        same = np.array_equal(_chosen(raster), array)
        check_back(path, label_map.grid, Grid(header.shape, header.affine), same)

    mark = (mark_of(array) if predicted else MAKER) + __version__
    with writing(path, verify=verify) as temp, temp.open("wb") as file:
        file.writelines(_pieces(path, label_map.grid, array, mark, segments))


def _pieces(
    path: Path,
    grid: Grid,
    array: Integer[np.ndarray, "i j k"],
    mark: str,
    segments: Sequence[Segment],
) -> Iterator[bytes]:
    name = path.name.lower()
    if name.endswith(".mha"):
        return metaimage_pieces(grid, array, mark)
    if name.endswith(".seg.nrrd"):
        return nrrd_pieces(grid, array, mark, segments or _unnamed(array))
    if name.endswith(".nrrd"):
        return nrrd_pieces(grid, array, mark)
    raise BadConfig(
        f"{path.name}: masks are not written with this ending",
        fix=f"write to {path.stem}.nrrd or {path.stem}.mha",
        code="N45",
    )


def _unnamed(array: Integer[np.ndarray, "i j k"]) -> list[Segment]:
    """A segment per value, for a label map whose names nobody said."""
    return [Segment(f"label {value}", int(value)) for value in np.unique(array) if value]


# --- reading ---

_ANY = ReadOptions(assume_ras=True)
"""For what does not depend on where an image lies."""


def _parser(path: Path) -> _Parser | None:
    """None: NIfTI, which is also what an unknown ending is taken for, and then refused."""
    return _PARSERS.get(path.suffix.lower())


def _open(path: Path, parser: _Parser | None, options: ReadOptions) -> Raster:
    """The header of a label map; one of several volumes is no reason to refuse it."""
    first = replace(options, volume=0)
    raster = nifti.read_raster(path, first) if parser is None else parser(path, first, True)
    if raster.header.volumes == 1 or options.volume is None:
        return raster
    return nifti.read_raster(path, options) if parser is None else parser(path, options, False)


def _chosen(raster: Raster) -> Shaped[np.ndarray, "i j k"]:
    return pick(read_numbers(raster), raster.header, raster.together)


def _one_hot(raster: Raster, wanted: Mapping[int, str] | None) -> LabelMap:
    """A mask with one 0/1 volume per structure: volume n becomes value n, counted from 1, or from 0
    where the first one is the background.
    """
    header = raster.header
    volumes = split(read_numbers(raster), header, raster.together)
    scaled = (header.slope, header.inter) != (1.0, 0.0)
    if scaled or not all(bool(np.isin(volume, (0, 1)).all()) for volume in volumes):
        raise BadScan(
            f"a mask of {header.volumes} volumes that hold other numbers than 0 and 1",
            fix=f"choose one with `volume=0` (up to {header.volumes - 1})",
            code="N25",
        )
    covers = volumes.sum(axis=0, dtype=np.uint32)
    with_background = bool((covers == 1).all())
    first = 0 if with_background else 1
    parts = [Segment("", n + first, layer=n) for n in range(header.volumes) if n + first > 0]
    names = "volume 0 is the background" if with_background else "volume 0 is value 1"
    inside = ((part, volumes[part.layer] > 0) for part in parts)
    labels = as_labels(header, merge(header.shape, inside, wanted))
    note = f"N25: a mask of {header.volumes} volumes, one per structure; {names}"
    return replace(labels, notes=(*labels.notes, note))
