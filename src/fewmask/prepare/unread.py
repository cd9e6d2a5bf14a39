"""Kinds of files that may hold scans or masks and are not read, each with the way out."""

from collections.abc import Iterable

_PICTURES = (
    "pictures have no voxel size, no orientation and no HU: take the DICOM files or NIfTI that "
    "they were made from"
)
_ARRAYS = (
    "arrays have no orientation: in Python, save them with nibabel as "
    "Nifti1Image(array, affine) in .nii.gz"
)
_PACKED = "unpack it"
_NEUROIMAGING = "convert it to NIfTI (.nii.gz), such as with mri_convert or mnc2nii"
UNREAD = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"), _PICTURES),
    **dict.fromkeys((".npz", ".npy", ".h5", ".mat"), _ARRAYS),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar"), _PACKED),
    **dict.fromkeys((".mgz", ".mgh", ".mnc", ".nrrd.gz"), _NEUROIMAGING),
}
"""Ending -> what a person can do."""


def is_unread(name: str) -> bool:
    """May a file of this name hold a scan or a mask that is not read?"""
    return name.lower().endswith(tuple(UNREAD))


def ways_out(names: Iterable[str]) -> list[str]:
    """Per way out one line with the endings that it is for."""
    ways: dict[str, list[str]] = {}
    for ending, way in UNREAD.items():
        if any(name.lower().endswith(ending) for name in names):
            ways.setdefault(way, []).append(ending)
    return [f"{', '.join(endings)}: {way}" for way, endings in ways.items()]
