"""Scans of other kinds on the bench: DICOM series, single slices, other planes."""

import numpy as np
from pydicom.uid import generate_uid

from fewmask.core.volume import Volume
from fewmask.io.image import read_labels
from fewmask.io.nifti import write_volume
from fewmask.prepare.options import ScanOptions
from fewmask.workbench.bench import open_bench
from fewmask.workbench.folder import WorkOptions, key_of
from fewmask.workbench.guard import MASK
from tests.io.test_dicom import write_series
from tests.workbench.data import client

AFFINE = np.array([[-3.0, 0, 0, 9], [0, 1.1, 0.1, 0], [0, -0.1, 1.3, 0], [0, 0, 0, 1]])


def outline_and_read(folder, case, d, **options):
    """Draw a corner of slice d on the page of a folder; the page's words, and what a reader of the
    file finds, in the same plane.
    """
    wanted = WorkOptions(folder / "data", {"liver": ("liver",)}, **options)
    with open_bench(wanted, ahead=False) as bench:
        page = client(bench)
        said = page.get(f"/api/cases/{key_of(case)}").json()
        drawn = np.zeros(said["shape"], np.uint8)
        drawn[d, :3, :2] = 1
        headers = {"If-Match": '"0"', "Content-Type": MASK}
        address = f"/api/cases/{key_of(case)}/outline/{d}"
        assert page.put(address, content=drawn[d].tobytes(), headers=headers).status_code == 200
        bench.outlines.flush()
        path = bench.folder.label_file(case)
        said["next"] = page.get("/api/next").json()
    found = read_labels(path).in_plane(bench.folder.plane).voxels
    np.testing.assert_array_equal(found, drawn)
    return said


def test_a_dicom_series(tmp_path) -> None:
    voxels = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    write_series(tmp_path / "data" / "p0", voxels, SeriesInstanceUID=generate_uid())
    said = outline_and_read(tmp_path, "p0", 1)
    assert said["shape"] == [5, 6, 7] and said["spacing_mm"] == [2.0, 0.5, 0.8]


def test_a_single_slice_has_no_ends_to_tell(tmp_path) -> None:
    (tmp_path / "data").mkdir()
    for case in ("a", "b"):
        voxels = np.arange(48, dtype=np.int16).reshape(6, 8, 1)
        scan = Volume.from_file_order(voxels, np.diag([-1.0, 1.0, 5.0, 1.0]))
        write_volume(tmp_path / "data" / f"{case}.nii.gz", scan)
    assert outline_and_read(tmp_path, "a", 0)["shape"] == [1, 8, 6]
    said = outline_and_read(tmp_path, "b", 0)["next"]["suggestions"]
    assert [one for one in said if one["kind"] == "tags"] == []


def test_sagittal_slices(tmp_path) -> None:
    (tmp_path / "data").mkdir()
    voxels = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    write_volume(tmp_path / "data" / "a.nii.gz", Volume.from_file_order(voxels, AFFINE))
    said = outline_and_read(tmp_path, "a", 3, scans=ScanOptions(plane="sagittal"))
    # i, the slice axis, leads to the left; rows go down, columns to the back.
    assert said["shape"] == [5, 7, 6] and said["spacing_mm"][0] == 3.0
    assert said["edges"]["0"] == ["A", "P", "S", "I"]
